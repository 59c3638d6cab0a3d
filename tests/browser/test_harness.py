"""The tools of the browser tests do what the other tests take for granted."""

from __future__ import annotations

SCRIPT = """
export default () => {
  let hellos = 0;
  return {
    initialize({ model }) { model.send({ kind: 'hello', count: (hellos += 1) }); },
    render({ model, el }) {
      const label = document.createElement('button');
      const show = () => { label.textContent = model.get('text'); };
      model.on('change:text', show); show();
      const heard = (content, buffers) => {
        label.dataset.heard = `${content.kind} ${buffers.map((b) => b.getUint8(0)).join()}`;
      };
      model.on('msg:custom', heard);
      label.onclick = () => { model.set('clicks', model.get('clicks') + 1); model.save_changes(); };
      label.style.background = 'var(--jp-layout-color1)';
      el.append(label);
      return () => model.off('change:text', show);
    },
  };
};
"""


def test_a_widget_file_meets_a_fake_kernel_in_an_empty_page(bare):
    widget = bare(SCRIPT, {"text": "one", "clicks": 0}, dark=True)

    widget.set("text", "two")
    widget.receive({"kind": "tiles"}, [b"\x07", b"\x09"])
    widget.page.get_by_role("button", name="two").click()

    assert widget.sent() == [{"content": {"kind": "hello", "count": 1}, "bytes": []}]
    assert widget.page.locator("button").get_attribute("data-heard") == "tiles 7,9"
    assert (widget.get("clicks"), widget.saved()) == (1, [{"clicks": 1}])
    dark = widget.page.locator("button").evaluate("(e) => getComputedStyle(e).backgroundColor")
    assert dark == "rgb(28, 28, 31)"
    assert widget.errors() == []


def test_a_second_view_shares_the_model(bare):
    widget = bare(SCRIPT, {"text": "one", "clicks": 0})
    widget.add_view()
    widget.set("text", "both")
    assert widget.page.locator("button").all_text_contents() == ["both", "both"]
    widget.close_view(0)
    assert widget.page.locator("button").count() == 1


def test_jupyterlab_runs_the_cells_of_a_notebook(lab):
    opened = lab.open(lab.write("sum.ipynb", "x = 20", "print(x + 22)"))
    opened.run_all()
    assert opened.output(1).strip() == "42"
