// The grid of synthetic images: controls, one canvas a tile, and a large view.
// Tiles come as raw bytes in messages; the store is shared by all views of a model.
const TAU_SILENT = 6000; // ms without an answer before the page says so
const FULL = { center: 127.5, width: 255 };

function h(tag, props = {}, ...kids) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  // Jupyter asks the focused element itself: without this, `d d` deletes the cell.
  if (/^(button|input|select)$/.test(tag) || 'tabindex' in props) node.dataset.lmSuppressShortcuts = 'true';
  node.append(...kids);
  return node;
}
const word = (value) => (value === true ? 'yes' : value === false ? 'no' : String(value));
const bytes = (view) => (view instanceof DataView
  ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(view));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function describe(store, place) {
  const tile = store.tiles.get(place);
  if (!tile) return `image ${place + 1}, not made yet`;
  const labels = Object.entries(tile.labels)
    .map(([name, value]) => `${name} ${word(value)}${store.drawn.includes(name) ? ' (drawn)' : ''}`);
  return ['synthetic image', `seed ${tile.seed}`, ...labels].join(', ');
}

function paint(canvas, tile, [height, width, channels], { center, width: span }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const lut = Uint8ClampedArray.from({ length: 256 }, (_, v) => ((v - center + span / 2) * 255) / span);
  const image = new ImageData(width, height);
  const rgb = channels >= 3 ? [0, 1, 2] : [0, 0, 0];
  for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
    for (let k = 0; k < 3; k += 1) image.data[to + k] = lut[tile.data[from + rgb[k]]];
    image.data[to + 3] = 255;
  }
  canvas.getContext('2d', { willReadFrequently: true }).putImageData(image, 0, 0);
}

async function unpack(picture) {
  const { shape: [height, width, channels], columns, tiles } = picture;
  const blob = new Blob([bytes(picture.png)], { type: 'image/png' });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const sheet = h('canvas', { width: bitmap.width, height: bitmap.height }).getContext('2d');
  sheet.drawImage(bitmap, 0, 0);
  return tiles.map((tile, place) => {
    const [left, top] = [(place % columns) * width, Math.floor(place / columns) * height];
    const rgba = sheet.getImageData(left, top, width, height).data;
    const data = new Uint8Array(height * width * channels);
    for (let i = 0; i < height * width; i += 1) {
      for (let k = 0; k < channels; k += 1) data[i * channels + k] = rgba[i * 4 + k];
    }
    return { ...tile, data };
  });
}

function newStore(model) {
  const store = { id: 0, total: 0, shape: null, drawn: [], tiles: new Map(), state: 'idle', done: 0,
    rate: 0, seconds: 0, views: new Set(), waiting: new Map(), asked: 0, first: 0, healed: 0 };
  const tell = (what) => store.views.forEach((view) => view(what));
  const hello = () => model.send({ kind: 'hello', id: store.id, have: [...store.tiles.keys()] });
  const fresh = ({ id, total, shape, drawn }) => {
    if (id === store.id) return;
    Object.assign(store, { id, total, shape, drawn, tiles: new Map() });
    tell({ kind: 'fresh' });
  };
  const add = (place, tile) => { store.tiles.set(place, tile); tell({ kind: 'tile', place }); };

  store.restore = async () => {
    const picture = model.get('picture');
    if (!picture?.png || (picture.id === store.id && store.tiles.size >= picture.tiles.length)) return;
    const tiles = await unpack(picture);
    if (picture.id < store.id) return;
    fresh(picture);
    tiles.forEach((tile, place) => store.tiles.has(place) || add(place, tile));
    if (store.state === 'idle') Object.assign(store, { state: 'done', done: tiles.length });
    tell({ kind: 'progress' });
  };
  store.receive = (message, buffers) => {
    if (message.kind !== 'frame') { // an answer to one question of one view
      store.waiting.get(message.nonce)?.(message, buffers);
      store.waiting.delete(message.nonce);
      return;
    }
    if (message.tiles.length) {
      fresh(message);
      if (store.asked && !store.first) store.first = performance.now() - store.asked;
    }
    message.tiles.forEach(({ place, ...tile }, n) => add(place, { ...tile, data: bytes(buffers[n]) }));
    const { state, done, of, rate, seconds } = message;
    Object.assign(store, { state, done, of, rate, seconds });
    tell({ kind: 'progress' });
    const painted = () => model.send({ kind: 'painted', frame: message.frame });
    if (document.hidden) painted(); else requestAnimationFrame(painted);
    if (state === 'done' && store.tiles.size < done && store.healed !== store.id) {
      store.healed = store.id; // a message got lost on its way: ask once for what is missing
      hello();
    }
  };
  store.ask = (content, answer) => {
    const nonce = `${Date.now()}-${Math.random()}`;
    if (answer) store.waiting.set(nonce, answer);
    model.send({ ...content, nonce });
  };
  store.hello = hello;
  return store;
}

function makeControls(model, store, note) {
  const field = (name, input) => h('label', { class: 'mg-field' }, h('span', {}, name), input);
  const enter = { onkeydown: (event) => event.key === 'Enter' && generate() };
  const select = h('select', { onchange: () => factors({}) });
  const images = h('input', { type: 'number', min: 1, max: 64, ...enter });
  const columns = h('input', { type: 'number', min: 1, max: 16, onchange: () => {
    const wanted = clamp(Math.round(Number(columns.value)) || 4, 1, 16);
    columns.value = wanted;
    model.set('columns', wanted);
    model.save_changes();
  } });
  const seed = h('input', { type: 'text', inputmode: 'numeric', class: 'mg-seed', autocomplete: 'off', ...enter });
  const dice = h('button', { type: 'button', class: 'mg-dice', 'aria-label': 'draw a new seed', title: 'draw a new seed',
    onclick: () => { seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]); } }, '⚄');
  const psi = h('input', { type: 'range', min: 0, max: 1, step: 0.05, oninput: () => { psiText.textContent = Number(psi.value).toFixed(2); } });
  const psiText = h('output');
  const psiField = field('truncation', psi);
  psiField.append(psiText);
  const slots = h('span', { class: 'mg-factors' });
  const cancel = h('button', { type: 'button', class: 'mg-cancel', onclick: () => busy() && store.ask({ kind: 'cancel' }) }, 'Cancel');
  const busy = () => ['queued', 'running'].includes(store.state);
  const card = () => model.get('models').find(({ id }) => id === select.value);
  let silent = 0;

  function factors(chosen) {
    const known = card() || { condition: {}, truncation: false };
    psiField.hidden = !known.truncation;
    slots.replaceChildren(...Object.entries(known.condition).map(([name, values]) => {
      const options = values.map((value, n) => h('option', { value: n }, word(value)));
      const list = h('select', { 'data-factor': name }, h('option', { value: '' }, 'any'), ...options);
      const at = values.indexOf(chosen[name]);
      list.value = at < 0 ? '' : String(at);
      return field(name, list);
    }));
  }
  function generate() {
    if (note.disconnected()) return;
    const condition = {};
    slots.querySelectorAll('select').forEach((list) => {
      if (list.value) condition[list.dataset.factor] = card().condition[list.dataset.factor][Number(list.value)];
    });
    Object.assign(store, { asked: performance.now(), first: 0 });
    store.ask({ kind: 'generate', model: select.value, images: images.value, seed: seed.value.trim(), condition,
      psi: card()?.truncation ? Number(psi.value) : null });
    clearTimeout(silent);
    silent = setTimeout(() => note.say('The kernel has not answered yet: it is busy with a cell, or gone; then run the cell again.'), TAU_SILENT);
  }
  function show() {
    const wanted = model.get('controls');
    select.replaceChildren(...model.get('models').map(({ id, title }) => h('option', { value: id, title }, id)));
    select.value = wanted.model;
    images.value = wanted.images;
    seed.value = wanted.seed;
    showColumns();
    psi.value = wanted.psi ?? 1;
    psiText.textContent = Number(psi.value).toFixed(2);
    factors(wanted.condition);
  }
  const showColumns = () => { columns.value = model.get('columns'); };
  const node = h('div', { class: 'mg-controls', role: 'group', 'aria-label': 'what to generate' },
    field('model', select), field('images', images), field('columns', columns),
    h('span', { class: 'mg-field' }, h('label', {}, h('span', {}, 'seed'), seed), dice), slots, psiField);
  const go = h('button', { type: 'button', class: 'mg-generate', onclick: generate }, 'Generate');
  const progress = () => {
    clearTimeout(silent);
    note.say('');
    cancel.setAttribute('aria-disabled', String(!busy()));
  };
  cancel.setAttribute('aria-disabled', String(!busy()));
  show();
  return { node, buttons: [go, cancel], show, progress, columns: showColumns };
}

function makeSide(store, look, act) {
  const canvas = h('canvas', { class: 'mg-pixels' });
  const frame = h('div', { class: 'mg-large', role: 'img' }, canvas, h('span', { class: 'mg-mark' }, 'SYNTHETIC'));
  const facts = h('dl');
  const chart = h('div', { class: 'mg-histogram', 'aria-hidden': 'true' });
  const slider = (name, key, max) => h('input', { type: 'range', min: name === 'window' ? 1 : 0, max, 'aria-label': name, 'data-key': key,
    oninput: (event) => act.window({ ...look.window, [key]: Number(event.target.value) }) });
  const sliders = [slider('window', 'width', 510), slider('level', 'center', 255)];
  const values = [h('output'), h('output')];
  const reset = h('button', { type: 'button', onclick: () => act.reset() }, 'Reset W/L');
  const copied = h('span', { class: 'mg-copied', role: 'status' });
  const copy = h('button', { type: 'button', onclick: () => act.recipe(copied) }, 'Copy recipe');
  const close = h('button', { type: 'button', onclick: () => act.open(null) }, 'Close');
  const detail = h('div', { class: 'mg-detail' }, frame, facts, chart,
    ...['window', 'level'].map((name, n) => h('label', { class: 'mg-levels' }, h('span', {}, name), sliders[n], values[n])), h('div', { class: 'mg-buttons' }, reset, copy, close, copied));
  const hint = h('p', { class: 'mg-hint' });
  const node = h('aside', { class: 'mg-side', 'aria-label': 'one image, large' }, detail, hint);

  function histogram(tile) {
    const bins = new Array(40).fill(0);
    for (let i = 0; i < tile.data.length; i += store.shape[2]) bins[Math.min(39, Math.floor(tile.data[i] / 6.4))] += 1;
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
      ? 'Wheel zooms, drag pans, right-drag or shift-drag sets window and level, double-click resets; arrows move, space selects, enter opens, escape closes.'
      : store.tiles.size ? 'Click an image, or press Enter on it, to see it large.'
        : 'Press Generate: the images appear here as they are made. All of them are synthetic; none shows a patient.';
    if (!tile) return;
    paint(canvas, tile, store.shape, look.window);
    frame.setAttribute('aria-label', `${describe(store, look.open)}, large`);
    const rows = [['seed', tile.seed, false], ...Object.entries(tile.labels).map(([name, value]) => [name, word(value), store.drawn.includes(name)])];
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

function download(message, buffers) {
  const address = URL.createObjectURL(new Blob([bytes(buffers[0])], { type: message.mime }));
  h('a', { href: address, download: message.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http from another machine: only the old way is there
    const area = document.body.appendChild(h('textarea'));
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

function makeView(model, el, store) {
  const look = { open: null, active: 0, chosen: new Set(), window: { ...FULL }, zoom: 1, x: 0, y: 0, dragged: false };
  const noteText = h('span', { class: 'mg-note', role: 'status' });
  const note = {
    say: (text) => { noteText.textContent = text; },
    disconnected: () => {
      const gone = Boolean(el.closest('.jupyter-widgets-disconnected'));
      if (gone) note.say('The kernel is gone; the images stay. Run the cell again to make new ones.');
      return gone;
    },
  };
  const cells = h('div', { class: 'mg-cells', role: 'grid', 'aria-label': 'synthetic images', 'aria-multiselectable': 'true', 'data-jp-suppress-context-menu': 'true' });
  let nodes = [];
  const act = {
    open(place) {
      const focus = look.open !== null && place === null;
      look.open = place;
      side.show();
      mark();
      if (focus) nodes[look.active]?.focus();
    },
    window({ center, width }) {
      look.window = { center: clamp(center, 0, 255), width: clamp(width, 1, 510) };
      repaint();
    },
    zoom(zoom, [px, py]) {
      const next = clamp(zoom, 1, 16);
      look.x = px - ((px - look.x) * next) / look.zoom;
      look.y = py - ((py - look.y) * next) / look.zoom;
      look.zoom = next;
      act.pan(0, 0);
    },
    pan(dx, dy) {
      look.x = clamp(look.x + dx, 1 - look.zoom, 0);
      look.y = clamp(look.y + dy, 1 - look.zoom, 0);
      for (const key of ['x', 'y', 'zoom']) root.style.setProperty(`--mg-${key}`, look[key]);
      root.classList.toggle('mg-close-up', look.zoom > 3);
    },
    reset() {
      Object.assign(look, { zoom: 1, x: 0, y: 0 });
      act.pan(0, 0);
      act.window(FULL);
    },
    choose(place) {
      if (!look.chosen.delete(place) && store.tiles.has(place)) look.chosen.add(place);
      mark();
    },
    recipe(status) {
      if (note.disconnected()) return;
      store.ask({ kind: 'export', what: 'recipe', id: store.id, tiles: [one()] }, async (message) => {
        if (message.text) await toClipboard(message.text);
        status.textContent = message.text ? 'copied' : '';
        setTimeout(() => { status.textContent = ''; }, 2000);
      });
    },
    save(what) {
      const tiles = what === 'png' ? [one()] : look.chosen.size ? [...look.chosen].sort((a, b) => a - b) : [...store.tiles.keys()];
      if (note.disconnected() || !store.tiles.size) return;
      store.ask({ kind: 'export', what, id: store.id, tiles }, (message, buffers) => message.kind === 'file' && download(message, buffers));
    },
  };
  const one = () => (look.chosen.size && !look.chosen.has(look.active) ? Math.min(...look.chosen) : look.open ?? look.active);
  const controls = makeControls(model, store, note);
  const side = makeSide(store, look, act);
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'images made' });
  const count = h('span');
  const chosen = h('span');
  const timing = h('span', { class: 'mg-timing' });
  const button = (label, title, onclick) => h('button', { type: 'button', title, onclick }, label);
  const foot = h('div', { class: 'mg-foot', role: 'group', 'aria-label': 'save' }, chosen,
    button('PNG', 'one image with its recipe inside', () => act.save('png')),
    button('Zip', 'the selected images, or all, each with its recipe', () => act.save('zip')), timing);
  const root = h('div', { class: 'mg-grid' }, controls.node,
    h('div', { class: 'mg-progress' }, ...controls.buttons, bar, count, noteText),
    h('div', { class: 'mg-body' }, cells, side.node), foot);

  function rebuild() {
    const columns = model.get('columns');
    const total = store.total || Number(model.get('controls').images) || 0;
    cells.style.setProperty('--mg-columns', columns);
    cells.setAttribute('aria-colcount', columns);
    cells.setAttribute('aria-rowcount', Math.ceil(total / columns));
    nodes = Array.from({ length: total }, (_, place) => h('div', { class: 'mg-tile', role: 'gridcell', tabindex: -1, 'data-place': place },
      h('canvas', { class: 'mg-pixels' }), h('span', { class: 'mg-mark' }, h('b', {}, 'SYNTHETIC'), h('span', {}))));
    const rows = [];
    for (let n = 0; n < total; n += columns) rows.push(h('div', { role: 'row' }, ...nodes.slice(n, n + columns)));
    cells.replaceChildren(...rows);
    look.active = Math.min(look.active, Math.max(0, total - 1));
    store.tiles.forEach((_, place) => draw(place));
    mark();
  }
  function draw(place) {
    const [node, tile] = [nodes[place], store.tiles.get(place)];
    if (!node || !tile) return;
    paint(node.firstChild, tile, store.shape, look.window);
    node.style.setProperty('--mg-ratio', store.shape[1] / store.shape[0]);
    node.classList.add('mg-made');
    node.lastChild.lastChild.textContent = `seed ${tile.seed}`;
  }
  function mark() {
    nodes.forEach((node, place) => {
      node.tabIndex = place === look.active ? 0 : -1;
      node.setAttribute('aria-selected', String(look.chosen.has(place)));
      node.setAttribute('aria-label', describe(store, place) + (look.chosen.has(place) ? ', selected' : ''));
      node.classList.toggle('mg-opened', place === look.open);
    });
    foot.querySelectorAll('button').forEach((each) => each.setAttribute('aria-disabled', String(!store.tiles.size)));
    chosen.textContent = look.chosen.size ? `${look.chosen.size} selected` : store.tiles.size ? `none selected, Zip takes all ${store.tiles.size}` : 'no images yet';
  }
  function repaint() { store.tiles.forEach((_, place) => draw(place)); side.show(); }
  function progress() {
    const of = store.of || store.total;
    bar.value = of ? store.done / of : 0;
    const rate = store.rate ? ` · ${Math.round(store.rate)} images/s` : '';
    count.textContent = of ? `${store.done} / ${of}${rate}${store.state === 'cancelled' ? ' · cancelled' : ''}` : '';
    timing.textContent = store.first && store.state === 'done'
      ? `last request ${Math.round(store.first)} ms to first tile · engine ${Math.round(store.seconds * 1000)} ms` : '';
    controls.progress();
    note.disconnected();
  }
  const hear = ({ kind, place }) => {
    if (kind === 'tile') {
      draw(place);
      mark();
      if (place === look.open || store.tiles.size === 1) side.show();
    } else if (kind === 'fresh') {
      look.chosen.clear();
      rebuild();
      side.show();
    } else progress();
  };
  const step = () => ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -model.get('columns'), ArrowDown: model.get('columns'), Home: -look.active, End: nodes.length - 1 - look.active });
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && look.open !== null) { act.open(null); event.stopPropagation(); return; }
    if (!cells.contains(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = step()[event.key];
    if (by !== undefined) {
      if (nodes[look.active + by]) look.active += by;
      mark();
      nodes[look.active]?.focus();
      if (look.open !== null && store.tiles.has(look.active)) act.open(look.active);
    } else if (event.key === ' ') act.choose(look.active);
    else if (event.key === 'Enter') act.open(look.active);
    else if (event.key === '+' || event.key === '-') act.zoom(look.zoom * (event.key === '+' ? 1.25 : 0.8), [0.5, 0.5]);
    else if (event.key === '0') act.reset();
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
  const changes = { 'change:columns': () => { controls.columns(); rebuild(); }, 'change:controls': () => { controls.show(); store.total || rebuild(); },
    'change:models': () => controls.show(),
    // The front end marks the views a moment after it has lost or found the kernel.
    comm_live_update: () => setTimeout(() => note.disconnected() || note.say(''), 100) };
  for (const [name, call] of Object.entries(changes)) model.on(name, call);
  store.views.add(hear);
  el.append(root);
  rebuild();
  side.show();
  progress();
  return () => {
    store.views.delete(hear);
    for (const [name, call] of Object.entries(changes)) model.off(name, call);
  };
}

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = newStore(model);
      model.on('msg:custom', store.receive);
      model.on('change:picture', store.restore);
      store.restore().catch(() => {}).finally(store.hello);
    },
    render: ({ model, el }) => makeView(model, el, store),
  };
};
