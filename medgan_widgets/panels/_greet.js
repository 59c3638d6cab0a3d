// The kernel hears a widget's clicks while a cell runs, once it has answered one that came by
// JupyterLab's thread for them; the first may be sent before that thread is there. See _page.py.
function greet(model) {
  let said = 0;
  const say = () => {
    said += 1;
    try { model.send({ kind: 'greet' }); } catch { /* a saved view */ }
  };
  model.on('msg:custom', ({ kind }) => { if (kind === 'welcome' && said < 2) say(); });
  say();
}
