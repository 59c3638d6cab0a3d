// One image, large: zoom, pan, window and level, its histogram, its facts. Needs _grid_base.js.

// Zoom, pan, window and level of a look; `aim` shows where it looks, `repaint` its grey values.
function makeLens(look, aim, repaint) {
  const lens = {
    window({ center, width }) {
      look.window = { center: clamp(center, 0, 255), width: clamp(width, 1, 510) };
      repaint();
    },
    zoom(zoom, [px, py]) {
      const next = clamp(zoom, 1, 16);
      look.x = px - ((px - look.x) * next) / look.zoom;
      look.y = py - ((py - look.y) * next) / look.zoom;
      look.zoom = next;
      lens.pan(0, 0);
    },
    pan(dx, dy) {
      look.x = clamp(look.x + dx, 1 - look.zoom, 0);
      look.y = clamp(look.y + dy, 1 - look.zoom, 0);
      aim();
    },
    reset() {
      Object.assign(look, { zoom: 1, x: 0, y: 0 });
      lens.pan(0, 0);
      lens.window(FULL);
    },
  };
  return lens;
}

function makeSide(store, look, act) {
  const canvas = h('canvas', { class: 'mg-pixels' });
  const half = h('span', { class: 'mg-half' }, canvas);
  const further = h('div', { class: 'mg-others' });
  const frame = h('div', { class: 'mg-large', role: 'img', tabindex: 0 }, half, h('span', { class: 'mg-mark' }, 'SYNTHETIC'));
  const facts = h('dl');
  const chart = h('div', { class: 'mg-histogram', 'aria-hidden': 'true' });
  const slider = (name, key, max) => h('input', { type: 'range', min: name === 'window' ? 1 : 0, max,
    'aria-label': name, 'data-key': key, oninput: (event) => act.window({ ...look.window, [key]: Number(event.target.value) }) });
  const sliders = [slider('window', 'width', 510), slider('level', 'center', 255)];
  const values = [h('output'), h('output')];
  const reset = h('button', { type: 'button', onclick: () => act.reset() }, 'Reset W/L');
  const copied = h('span', { class: 'mg-copied', role: 'status' });
  const copy = h('button', { type: 'button', onclick: () => act.recipe(copied) }, 'Copy recipe');
  const close = h('button', { type: 'button', onclick: () => act.open(null) }, 'Close');
  const detail = h('div', { class: 'mg-detail' }, frame, further, facts, chart,
    ...['window', 'level'].map((name, n) => h('label', { class: 'mg-levels' }, h('span', {}, name), sliders[n], values[n])),
    h('div', { class: 'mg-buttons' }, reset, copy, close, copied));
  const hint = h('p', { class: 'mg-hint' });
  const node = h('aside', { class: 'mg-side', 'aria-label': 'one image, large' }, detail, hint);

  function histogram(tile) {
    const bins = new Array(40).fill(0);
    for (let i = 0; i < tile.data.length; i += tile.shape[2]) bins[Math.min(39, Math.floor(tile.data[i] / 6.4))] += 1;
    const top = Math.max(1, ...bins.slice(1)); // the black surround would dwarf the rest
    const bars = bins.map((n, k) => `M${k * 6.4} 48h5.4v${-Math.min(48, (44 * n) / top)}h-5.4z`).join('');
    const line = (x) => `M${clamp(x, 0, 255)} 0V48`;
    const { center, width } = look.window;
    chart.innerHTML = `<svg viewBox="0 0 256 48" preserveAspectRatio="none"><path class="mg-bars" d="${bars}"/>`
      + `<path class="mg-lines" d="${line(center - width / 2)}${line(center + width / 2)}"/></svg>`; // numbers only
  }
  function show() {
    const tile = store.tiles.get(look.open);
    detail.hidden = !tile;
    hint.textContent = tile
      ? 'Wheel zooms, drag pans, right-drag or shift-drag sets window and level, double-click resets; '
        + 'arrows move, space selects, enter opens, escape closes.'
      : store.tiles.size ? 'Click an image, or press Enter on it, to see it large.'
        : 'Press Generate: the images appear here as they are made. All of them are synthetic; none shows a patient.';
    if (!tile) return;
    paint(canvas, tile, look.window);
    dress(half, tile, look);
    if (further.shown !== tile) further.replaceChildren(...others(tile));
    further.shown = tile;
    frame.setAttribute('aria-label', `${describe(store, look.open)}, large`);
    const labels = Object.entries(tile.labels).map(([name, value]) => [name, word(value), store.drawn.includes(name)]);
    const rows = [['seed', tile.seed, false], ...labels];
    facts.replaceChildren(...rows.flatMap(([name, value, drawn]) => [h('dt', {}, name),
      h('dd', {}, value, ...(drawn ? [h('i', {}, ' (drawn)')] : []))]));
    histogram(tile);
    sliders.forEach((input, n) => {
      input.value = look.window[input.dataset.key];
      values[n].textContent = Math.round(look.window[input.dataset.key]);
    });
  }
  return { node, frame, show };
}

// Wheel, pan and window/level, the same on a tile and on the large view.
function watchPointer(node, box, look, act, freeWheel) {
  node.addEventListener('wheel', (event) => {
    const target = box(event.target);
    if (!target || !(freeWheel || event.ctrlKey || event.metaKey)) return; // the page scrolls
    event.preventDefault();
    const edge = target.getBoundingClientRect();
    const at = [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height];
    act.zoom(look.zoom * Math.exp(-event.deltaY * 0.002), at);
  }, { passive: false });
  node.addEventListener('contextmenu', (event) => { event.preventDefault(); event.stopPropagation(); });
  node.addEventListener('dblclick', () => act.reset());
  node.addEventListener('pointerdown', (event) => {
    const target = box(event.target);
    if (!target || event.button === 1) return;
    const leveling = event.button === 2 || event.shiftKey;
    const size = target.clientWidth;
    let [x, y] = [event.clientX, event.clientY];
    let path = 0;
    look.dragged = false;
    const move = (next) => {
      const [dx, dy] = [next.clientX - x, next.clientY - y];
      path += Math.abs(dx) + Math.abs(dy);
      if (path < 4) return;
      if (!look.dragged) node.setPointerCapture(event.pointerId);
      look.dragged = true;
      [x, y] = [next.clientX, next.clientY];
      if (leveling) act.window({ width: look.window.width + dx, center: look.window.center + dy });
      else act.pan(dx / size, dy / size);
    };
    const stop = () => ['pointermove', 'pointerup', 'pointercancel']
      .forEach((name) => node.removeEventListener(name, name === 'pointermove' ? move : stop));
    node.addEventListener('pointermove', move);
    node.addEventListener('pointerup', stop);
    node.addEventListener('pointercancel', stop);
  });
}
