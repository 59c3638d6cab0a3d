// What the monitor's two halves share. Loaded first; see _run_page.py.
// Whatever comes from a run directory is set as text, so markup in it stays text.
function h(tag, props = {}, ...kids) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value);
  }
  node.append(...kids.filter((kid) => kid !== null && kid !== undefined));
  return node;
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Call `draw` now and whenever one of these traits changes; returns how to stop.
function follow(model, names, draw) {
  const events = names.map((name) => `change:${name}`).join(' ');
  model.on(events, draw);
  draw();
  return () => model.off(events, draw);
}
