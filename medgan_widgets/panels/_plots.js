// What stands above the curves: title, legend with the newest values, and a note.
function render({ model, el }) {
  el.classList.add('mg-curves-caption');
  const node = (name, text = '') => h('span', { class: `mg-curves-${name}` }, text);
  const show = () => {
    const hidden = new Set(model.get('hidden'));
    const own = el.contains(document.activeElement);
    const focused = own ? document.activeElement.dataset.name : null;
    const toggle = (name) => {
      if (!hidden.delete(name)) hidden.add(name);
      model.set('hidden', [...hidden]);
      model.save_changes();
    };
    const title = node('title', model.get('title'));
    title.setAttribute('role', 'heading');
    title.setAttribute('aria-level', '4');
    const entries = model.get('legend').map(([name, colour, dash, value]) => {
      const key = node('key');
      key.style.borderTop = `3px ${dash === 'dash_dotted' ? 'dashed' : dash} ${colour}`;
      return h('button', {
        type: 'button', class: 'mg-curves-entry', 'data-name': name, onclick: () => toggle(name),
        title: hidden.has(name) ? 'show this curve' : 'hide this curve', 'aria-pressed': String(!hidden.has(name)),
      }, key, node('name', name), node('value', value));
    });
    el.replaceChildren(title, ...entries, node('note', model.get('note')));
    entries.find((entry) => entry.dataset.name === focused)?.focus();
  };
  return follow(model, ['title', 'legend', 'note', 'hidden'], show);
}
export default { render };
