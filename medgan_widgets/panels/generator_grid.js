// The grid of synthetic images: one canvas a tile, the large view, keys, saving. The controls are
// in _grid_controls.js, which comes first.
const MASK = [0, 229, 255]; // seen on every grey, and on skin and mucosa too
const IDLE = 500; // ms after the last frame, until the images go into the saved notebook

// ------------------------------------------------------------ the images, for all views of a model

// A notebook's saved PNG, cut into its tiles again.
async function cut({ png, shape: [height, width, channels] }, columns, shapes) {
  const blob = new Blob([bytes(png)], { type: 'image/png' });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const sheet = h('canvas', { width: bitmap.width, height: bitmap.height }).getContext('2d');
  sheet.drawImage(bitmap, 0, 0);
  return shapes.map((shape, place) => {
    if (!shape) return null;
    const [rows, across, depth] = shape;
    const rgba = sheet.getImageData((place % columns) * width, Math.floor(place / columns) * height, across, rows).data;
    const data = new Uint8Array(rows * across * depth);
    for (let i = 0; i < data.length; i += 1) {
      data[i] = rgba[Math.floor(i / depth) * 4 + Math.min(i % depth, channels - 1)];
    }
    return { shape, data };
  });
}

async function unpack(picture) {
  const { columns, tiles, sheets = {} } = picture;
  const images = await cut(picture, columns, tiles.map(({ shape }) => shape ?? picture.shape));
  const made = tiles.map((tile, place) => ({ ...tile, ...images[place], extra: {} }));
  for (const [name, sheet] of Object.entries(sheets)) {
    const shapes = tiles.map(({ extras = [] }) => extras.find((extra) => extra[0] === name)?.[1]);
    (await cut(sheet, columns, shapes)).forEach((extra, place) => { if (extra) made[place].extra[name] = extra; });
  }
  return made;
}

function newStore(model) {
  const store = { id: 0, total: 0, drawn: [], tiles: new Map(), state: 'idle', question: null, done: 0, of: 0,
    rate: 0, seconds: 0, views: new Set(), clicked: 0, first: 0 };
  const tell = (what, place) => store.views.forEach((view) => view[what]?.(place));
  let idle = 0;
  let healed = 0;
  const hello = () => model.send({ kind: 'hello', request: store.id, have: [...store.tiles.keys()] });
  const fresh = ({ id, total, drawn }) => {
    if (id === store.id) return;
    Object.assign(store, { id, total, drawn, tiles: new Map() });
    tell('fresh');
  };
  const add = (place, tile) => { store.tiles.set(place, tile); tell('tile', place); };
  const restore = async () => {
    const picture = model.get('picture');
    if (!picture?.png || (picture.id === store.id && store.tiles.size >= picture.tiles.length)) return;
    const tiles = await unpack(picture);
    if (picture.id < store.id) return;
    fresh(picture);
    tiles.forEach((tile, place) => store.tiles.has(place) || add(place, tile));
    if (store.state === 'idle') Object.assign(store, { state: 'done', done: tiles.length });
    tell('progress');
  };
  // A frame: how far the newest request is, and the tiles that this page lacks as raw bytes.
  const onFrame = (message, buffers) => {
    if (message.kind !== 'frame') return;
    if (message.tiles.length) {
      fresh(message);
      if (store.clicked && !store.first) store.first = performance.now() - store.clicked;
    }
    let next = 0; // an image, then what came with it
    message.tiles.forEach(({ place, extras = [], ...tile }) => {
      const data = bytes(buffers[next++]);
      const extra = Object.fromEntries(extras.map(([name, shape]) => [name, { shape, data: bytes(buffers[next++]) }]));
      add(place, { ...tile, data, extra });
    });
    const { state, question, done, of, rate, seconds } = message;
    Object.assign(store, { state, question, done, of, rate, seconds });
    tell('progress');
    const painted = () => model.send({ kind: 'painted', frame: message.frame });
    if (document.hidden) painted(); else requestAnimationFrame(painted);
    clearTimeout(idle);
    idle = setTimeout(() => model.send({ kind: 'idle' }), IDLE);
    if (state === 'done' && store.tiles.size < done && healed !== store.id) {
      healed = store.id; // a message got lost on its way: ask once for what is missing
      hello();
    }
  };
  store.talk = newTalk(model, { onNews: onFrame, onSilence: (text) => tell('silence', text) });
  // Asking and being answered changes what Cancel can do.
  store.ask = (content, answer, buffers) => {
    store.talk.ask(content, answer && ((...reply) => { answer(...reply); tell('progress'); }), buffers);
    tell('progress');
  };
  const { open, cancel } = store.talk;
  const making = () => ['queued', 'running'].includes(store.state);
  store.busy = () => making() || open.size > 0;
  store.cancel = () => new Set([...open.keys(), ...(making() ? [store.question] : [])]).forEach(cancel);
  model.on('change:picture', restore);
  restore().catch(() => {}).finally(hello);
  return store;
}

function describe(store, place) {
  const tile = store.tiles.get(place);
  if (!tile) return `image ${place + 1}, not made yet`;
  const labels = Object.entries(tile.labels)
    .map(([name, value]) => `${name} ${word(value)}${store.drawn.includes(name) ? ' (drawn)' : ''}`);
  return ['synthetic image', `seed ${tile.seed}`, ...labels, tile.extra.mask && 'with mask',
    tile.extra.source && 'beside its source, which is not synthetic', tile.note].filter(Boolean).join(', ');
}

// ------------------------------------------------------------ masks, sources and other pictures

// A mask lies over its image; what shows is its edge, and a tint inside.
function drawMask(half, mask) {
  let over = half.querySelector('.mg-mask');
  if (!mask) { over?.remove(); return; }
  over ??= half.appendChild(h('canvas', { class: 'mg-pixels mg-mask', 'aria-hidden': 'true' }));
  if (over.shown === mask) return; // window and level leave masks as they are
  over.shown = mask;
  const { shape: [height, width], data } = mask;
  Object.assign(over, { width, height });
  const image = new ImageData(width, height);
  const threshold = data.some((value) => value > 127) ? 127 : 0; // class numbers are small; soft masks have grey levels
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[y * width + x] > threshold;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!inside(x, y)) continue;
      const core = inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1);
      image.data.set([...MASK, core ? 40 : 255], (y * width + x) * 4);
    }
  }
  over.getContext('2d').putImageData(image, 0, 0);
}

// The source goes before the result on a tile; it is no synthetic image, and says so.
function drawSource(node, { extra: { source }, shape: [height, width] }) {
  node.classList.toggle('mg-pair', Boolean(source));
  node.style.setProperty('--mg-ratio', (source ? 2 : 1) * (width / height));
  let from = node.querySelector('.mg-from');
  if (!source) { from?.remove(); return; }
  from ??= node.insertBefore(h('span', { class: 'mg-half mg-from' }, h('canvas', { class: 'mg-pixels' }),
    h('span', { class: 'mg-mark' }, h('b', {}, 'SOURCE'))), node.firstChild);
  if (from.shown !== source) paint(from.firstChild, source);
  from.shown = source;
}

// The large view's further pictures, each with its name.
const drawExtras = (tile) => Object.entries(tile.extra).map(([name, picture]) => {
  const canvas = h('canvas', { role: 'img', 'aria-label': `${name} of seed ${tile.seed}` });
  const classes = name === 'mask' && picture.data.every((value) => value < 16);
  paint(canvas, picture, classes ? { center: 4, width: 8 } : FULL);
  return h('figure', { class: 'mg-other' }, canvas,
    h('span', { class: 'mg-mark' }, name === 'source' ? 'SOURCE, not synthetic' : 'SYNTHETIC'), h('figcaption', {}, name));
});

// ------------------------------------------------------------ one image, large

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

function histogram({ data, shape: [, , channels] }, { center, width }) {
  const bins = new Array(40).fill(0);
  for (let i = 0; i < data.length; i += channels) bins[Math.min(39, Math.floor(data[i] / 6.4))] += 1;
  const top = Math.max(1, ...bins.slice(1)); // the black surround would dwarf the rest
  const bars = bins.map((n, k) => `M${k * 6.4} 48h5.4v${-Math.min(48, (44 * n) / top)}h-5.4z`).join('');
  const line = (x) => `M${clamp(x, 0, 255)} 0V48`;
  return `<svg viewBox="0 0 256 48" preserveAspectRatio="none"><path class="mg-bars" d="${bars}"/>`
    + `<path class="mg-lines" d="${line(center - width / 2)}${line(center + width / 2)}"/></svg>`; // numbers only
}

function makeSide(store, look, act) {
  const canvas = h('canvas', { class: 'mg-pixels' });
  const half = h('span', { class: 'mg-half' }, canvas);
  const further = h('div', { class: 'mg-others' });
  const frame = h('div', { class: 'mg-large', role: 'img', tabindex: 0 }, half, h('span', { class: 'mg-mark' }, 'SYNTHETIC'));
  const facts = h('dl');
  const chart = h('div', { class: 'mg-histogram', 'aria-hidden': 'true' });
  const copied = h('span', { class: 'mg-copied', role: 'status' });
  const levels = [['window', 'width', 1, 510], ['level', 'center', 0, 255]].map(([name, key, min, max]) => {
    const value = h('output');
    const slider = h('input', { type: 'range', min, max, 'aria-label': name,
      oninput: () => act.window({ ...look.window, [key]: Number(slider.value) }) });
    const show = () => { slider.value = look.window[key]; value.textContent = Math.round(look.window[key]); };
    return { show, node: h('label', { class: 'mg-levels' }, h('span', {}, name), slider, value) };
  });
  const detail = h('div', { class: 'mg-detail' }, frame, further, facts, chart, ...levels.map(({ node }) => node),
    h('div', { class: 'mg-buttons' }, button('Reset W/L', () => act.reset()),
      button('Copy recipe', () => act.recipe(copied)), button('Close', () => act.open(null)), copied));
  const hint = h('p', { class: 'mg-hint' });
  return {
    node: h('aside', { class: 'mg-side', 'aria-label': 'one image, large' }, detail, hint),
    frame,
    show() {
      const tile = store.tiles.get(look.open);
      detail.hidden = !tile;
      hint.textContent = tile
        ? 'Wheel zooms, drag pans, right-drag or shift-drag sets window and level, double-click resets; '
          + 'arrows move, space selects, enter opens, escape closes.'
        : store.tiles.size ? 'Click an image, or press Enter on it, to see it large.'
          : 'Press Generate: the images appear here as they are made. All of them are synthetic; none shows a patient.';
      if (!tile) return;
      paint(canvas, tile, look.window);
      drawMask(half, look.masks && tile.extra.mask);
      if (further.shown !== tile) further.replaceChildren(...drawExtras(tile));
      further.shown = tile;
      frame.setAttribute('aria-label', `${describe(store, look.open)}, large`);
      facts.replaceChildren(...[['seed', tile.seed], ...Object.entries(tile.labels)].flatMap(([name, value]) => [h('dt', {}, name),
        h('dd', {}, word(value), store.drawn.includes(name) ? h('i', {}, ' (drawn)') : null)]));
      chart.innerHTML = histogram(tile, look.window);
      levels.forEach(({ show }) => show());
    },
  };
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
    let [x, y, path] = [event.clientX, event.clientY, 0];
    look.dragged = false;
    const done = new AbortController();
    node.addEventListener('pointermove', (next) => {
      const [dx, dy] = [next.clientX - x, next.clientY - y];
      path += Math.abs(dx) + Math.abs(dy);
      if (path < 4) return;
      if (!look.dragged) node.setPointerCapture(event.pointerId);
      look.dragged = true;
      [x, y] = [next.clientX, next.clientY];
      if (leveling) act.window({ width: look.window.width + dx, center: look.window.center + dy });
      else act.pan(dx / target.clientWidth, dy / target.clientWidth);
    }, { signal: done.signal });
    for (const end of ['pointerup', 'pointercancel']) node.addEventListener(end, () => done.abort(), { signal: done.signal });
  });
}

// ------------------------------------------------------------ a view of the grid

function makeView(model, el, store) {
  const look = { open: null, active: 0, chosen: new Set(), window: { ...FULL }, zoom: 1, x: 0, y: 0, dragged: false, masks: true };
  const noteText = h('span', { class: 'mg-note', role: 'status' });
  const note = {
    say: (text) => { noteText.textContent = text; },
    disconnected: () => {
      const gone = disconnected(el);
      if (gone) note.say('No kernel is behind these images: run the cells above, then this one, to make new ones.');
      return gone;
    },
  };
  const cells = h('div', { class: 'mg-cells', role: 'grid', 'aria-label': 'synthetic images',
    'aria-multiselectable': 'true', 'data-jp-suppress-context-menu': 'true' });
  let nodes = [];
  const aim = () => {
    for (const key of ['x', 'y', 'zoom']) root.style.setProperty(`--mg-${key}`, look[key]);
    root.classList.toggle('mg-close-up', look.zoom > 3);
  };
  // The one image that PNG and Copy recipe take.
  const one = () => (look.chosen.size && !look.chosen.has(look.active)
    ? Math.min(...look.chosen) : look.open ?? look.active);
  const ask = (content, answer) => {
    if (!note.disconnected() && store.tiles.size) store.ask({ request: store.id, ...content }, answer);
  };
  const repaint = () => { store.tiles.forEach((_, place) => draw(place)); side.show(); };
  const act = {
    ...makeLens(look, aim, () => repaint()),
    open(place) {
      const [opened, closed] = [look.open === null && place !== null, look.open !== null && place === null];
      look.open = place;
      side.show();
      mark();
      if (opened) side.frame.scrollIntoView({ block: 'nearest' }); // in a narrow cell it lies below
      if (closed) nodes[look.active]?.focus();
    },
    choose(place) {
      if (!look.chosen.delete(place) && store.tiles.has(place)) look.chosen.add(place);
      mark();
    },
    recipe(status) {
      ask({ kind: 'recipe', tiles: [one()] }, async ({ text }) => {
        if (text) await copyText(text);
        status.textContent = text ? 'copied' : '';
        setTimeout(() => { status.textContent = ''; }, 2000);
      });
    },
    save(what) {
      const many = look.chosen.size ? [...look.chosen].sort((a, b) => a - b) : [...store.tiles.keys()];
      ask({ kind: 'save', what, tiles: what === 'png' ? [one()] : many }, ({ kind, name, mime }, [data]) => {
        if (kind === 'file') download(name, mime, bytes(data));
      });
    },
  };
  const controls = makeControls(model, store, note);
  const side = makeSide(store, look, act);
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'images made' });
  const [count, chosen, timing] = [h('span'), h('span'), h('span', { class: 'mg-timing' })];
  const masks = button('Masks', () => { look.masks = !look.masks; repaint(); mark(); },
    { class: 'mg-masks', title: 'masks over the images (m)' });
  const foot = h('div', { class: 'mg-foot', role: 'group', 'aria-label': 'save' }, chosen,
    button('PNG', () => act.save('png'), { title: 'one image with its recipe inside' }),
    button('Zip', () => act.save('zip'), { title: 'the selected images, or all, each with its recipe' }), masks, timing);
  const root = h('div', { class: 'mg-grid', tabindex: -1 }, controls.node,
    h('div', { class: 'mg-progress' }, ...controls.buttons, bar, count, noteText),
    h('div', { class: 'mg-body' }, cells, side.node), foot);

  function rebuild() {
    const columns = model.get('columns');
    const total = store.total || Number(model.get('controls').images) || 0;
    cells.style.setProperty('--mg-columns', columns);
    cells.setAttribute('aria-colcount', columns);
    cells.setAttribute('aria-rowcount', Math.ceil(total / columns));
    nodes = Array.from({ length: total }, (_, place) => h('div',
      { class: 'mg-tile', role: 'gridcell', tabindex: -1, 'data-place': place },
      h('span', { class: 'mg-half mg-result' }, h('canvas', { class: 'mg-pixels' })),
      h('span', { class: 'mg-mark' }, h('b', {}, 'SYNTHETIC'), h('span', {}))));
    const rows = [];
    for (let n = 0; n < total; n += columns) rows.push(h('div', { role: 'row' }, ...nodes.slice(n, n + columns)));
    const focused = cells.contains(document.activeElement);
    cells.replaceChildren(...rows);
    look.active = Math.min(look.active, Math.max(0, total - 1));
    store.tiles.forEach((_, place) => draw(place));
    mark();
    if (focused) nodes[look.active]?.focus({ preventScroll: true });
  }
  function draw(place) {
    const [node, tile] = [nodes[place], store.tiles.get(place)];
    if (!node || !tile) return;
    drawSource(node, tile);
    const half = node.querySelector('.mg-result');
    paint(half.firstChild, tile, look.window);
    drawMask(half, look.masks && tile.extra.mask);
    node.classList.add('mg-made');
    const { label } = tile.labels;
    node.lastChild.lastChild.textContent = [`seed ${tile.seed}`, label === undefined ? '' : word(label), tile.note]
      .filter(Boolean).join(' · ');
  }
  function mark() {
    const { size } = store.tiles;
    nodes.forEach((node, place) => {
      const selected = look.chosen.has(place);
      node.tabIndex = place === look.active ? 0 : -1;
      node.setAttribute('aria-selected', String(selected));
      node.setAttribute('aria-label', describe(store, place) + (selected ? ', selected' : ''));
      node.classList.toggle('mg-opened', place === look.open);
    });
    foot.querySelectorAll('button').forEach((each) => each.setAttribute('aria-disabled', String(!size)));
    masks.hidden = ![...store.tiles.values()].some((tile) => tile.extra.mask);
    masks.setAttribute('aria-pressed', String(look.masks));
    const png = `PNG takes seed ${store.tiles.get(one())?.seed ?? '–'}`;
    chosen.textContent = look.chosen.size ? `${look.chosen.size} selected: ${png}`
      : size ? `none selected: ${png}, Zip all ${size}` : 'no images yet';
  }
  function progress() {
    const of = store.of || store.total;
    bar.value = of ? store.done / of : 0;
    const rate = store.rate ? ` · ${Math.round(store.rate)} images/s` : '';
    count.textContent = of ? `${store.done} / ${of}${rate}${store.state === 'cancelled' ? ' · cancelled' : ''}` : '';
    timing.textContent = store.first && store.state === 'done'
      ? `last request ${Math.round(store.first)} ms to first tile · engine ${Math.round(store.seconds * 1000)} ms` : '';
    controls.progress();
    mark();
    note.disconnected() || note.say('');
  }
  const moves = () => ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -model.get('columns'), ArrowDown: model.get('columns'),
    Home: -look.active, End: nodes.length - 1 - look.active });
  root.addEventListener('keydown', (event) => {
    const { key, target } = event;
    if (key === 'Escape' && look.open !== null) { act.open(null); event.stopPropagation(); return; }
    const onTile = cells.contains(target);
    if (!(onTile || target === root || target === side.frame)) return; // a field, a button
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = moves()[key];
    if (by !== undefined) {
      if (nodes[look.active + by]) look.active += by;
      mark();
      if (onTile) nodes[look.active]?.focus();
      if (look.open !== null && store.tiles.has(look.active)) act.open(look.active);
    } else if (key === ' ') act.choose(look.active);
    else if (key === 'Enter') act.open(look.active);
    else if (key === '+' || key === '-') act.zoom(look.zoom * (key === '+' ? 1.25 : 0.8), [0.5, 0.5]);
    else if (key === '0') act.reset();
    else if (key === 'm' && !masks.hidden) masks.click();
    else return;
    event.preventDefault();
  });
  cells.addEventListener('click', (event) => {
    const tile = event.target.closest('.mg-tile');
    if (!tile || look.dragged) return;
    look.active = Number(tile.dataset.place);
    if (event.ctrlKey || event.metaKey || event.shiftKey) act.choose(look.active);
    else act.open(look.active);
    tile.focus({ preventScroll: true });
  });
  watchPointer(cells, (node) => node.closest('.mg-tile'), look, act, false);
  watchPointer(side.frame, () => side.frame, look, act, true);
  const view = {
    tile: (place) => { draw(place); if (place === look.open || store.tiles.size === 1) side.show(); },
    fresh: () => { look.chosen.clear(); rebuild(); side.show(); },
    progress,
    silence: note.say,
  };
  const changes = {
    'change:columns': () => { controls.columns(); rebuild(); },
    'change:controls': () => { controls.show(); store.total || rebuild(); },
    'change:models': controls.models,
    'change:sources': controls.sources,
    // The front end marks the views a moment after it has lost or found the kernel.
    comm_live_update: () => setTimeout(() => note.disconnected() || note.say(''), 100),
  };
  for (const [name, call] of Object.entries(changes)) model.on(name, call);
  store.views.add(view);
  el.append(root);
  rebuild();
  side.show();
  progress();
  return () => {
    store.views.delete(view);
    for (const [name, call] of Object.entries(changes)) model.off(name, call);
  };
}

export default () => {
  let store;
  return {
    initialize({ model }) { store = newStore(model); },
    render: ({ model, el }) => makeView(model, el, store),
  };
};
