// The grid of synthetic images: controls, one canvas a tile, the large view, keys, saving.
const MASK = [0, 229, 255]; // seen on every grey, and on skin and mucosa too
const [MAX_FILES, MAX_BYTES] = [16, 32 * 2 ** 20];
const IDLE = 500; // ms after the last frame, until the images go into the saved notebook

const word = (value) => (value === true ? 'yes' : value === false ? 'no' : String(value));
const button = (text, onclick, props = {}) => h('button', { type: 'button', onclick, ...props }, text);
const field = (name, ...inputs) => h('label', { class: 'mg-field' }, h('span', {}, name), ...inputs);

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

// ------------------------------------------------------------ controls: what to generate

// Styles of another seed: in some layers (style mixing) or a part of the way (interpolation).
function makeMixing(enter) {
  const seed = h('input', { type: 'text', inputmode: 'numeric', class: 'mg-seed', autocomplete: 'off',
    placeholder: 'off', title: 'a seed whose styles the images take; empty: none', oninput: () => draw(), ...enter });
  const part = h('select', { 'aria-label': 'styles to take from that seed' });
  const text = h('output');
  const share = h('input', { type: 'range', min: 0, max: 1, step: 0.05, value: 1,
    'aria-label': 'how much of those styles', oninput: () => draw() });
  const node = h('span', { class: 'mg-field mg-mixing', role: 'group', 'aria-label': 'style mixing' },
    h('label', {}, h('span', {}, 'mix with seed'), seed), part, share, text);
  let count = 0;
  function draw() {
    text.textContent = Number(share.value).toFixed(2);
    [part, share, text].forEach((each) => { each.hidden = !seed.value.trim(); });
  }
  // An option's value is its first and last layer as JSON; `all` names none. Layers that somebody
  // named in Python or a recipe are an entry of their own, as long as the model has them.
  function offer(layers, named = part.dataset.named && JSON.parse(part.dataset.named)) {
    const [a, b] = [Math.round(layers / 3), Math.round((2 * layers) / 3)];
    const parts = { coarse: [0, a - 1], middle: [a, b - 1], fine: [b, layers - 1], all: null };
    const before = part.selectedOptions[0]?.text;
    const options = Object.entries(parts).map(([name, ends]) => h('option', { value: JSON.stringify(ends) }, `${name} styles`));
    delete part.dataset.named;
    if (named && named[1] < layers && !options.some((option) => option.value === JSON.stringify(named))) {
      part.dataset.named = JSON.stringify(named);
      options.push(h('option', { value: JSON.stringify(named) }, named[0] === named[1] ? `layer ${named[0]}` : `layers ${named.join('–')}`));
    }
    part.replaceChildren(...options);
    part.value = (options.find((option) => option.text === before) ?? options[0]).value;
    count = layers;
    node.hidden = count < 3;
    draw();
  }
  return {
    node,
    offer,
    read: () => {
      if (node.hidden || !seed.value.trim()) return null;
      const layers = JSON.parse(part.value);
      return { seed: seed.value.trim(), share: Number(share.value), ...(layers ? { layers } : {}) };
    },
    show: (mix) => {
      seed.value = mix ? mix.seed : '';
      share.step = !mix || Number.isInteger(mix.share * 20) ? 0.05 : 'any'; // else it would round
      share.value = mix ? mix.share : 1;
      const whole = mix && (!mix.layers || same(mix.layers, [0, count - 1]));
      offer(count, whole ? null : mix?.layers ?? null);
      part.value = mix ? JSON.stringify(whole ? null : mix.layers) : part.options[0].value;
      draw();
    },
  };
}

// A package's own arguments: one typed field each; a value that is none stays on screen to be mended.
function makeOptions(note) {
  const rows = h('div', { class: 'mg-option-rows' });
  const head = h('summary', {});
  const node = h('details', { class: 'mg-options' }, head, rows);
  let fields = [];
  // How a default of each type is shown and read.
  const ofChoices = (plain, choices, value) => {
    const all = choices.some((each) => same(each, plain)) ? choices : [plain, ...choices];
    const input = h('select', {}, ...all.map((each, n) => h('option', { value: n }, word(each))));
    const at = all.findIndex((each) => same(each, value));
    input.value = at < 0 ? all.findIndex((each) => same(each, plain)) : at;
    return [input, () => all[Number(input.value)]];
  };
  const ofBoolean = (value) => {
    const input = h('input', { type: 'checkbox' });
    input.checked = value;
    return [input, () => input.checked];
  };
  const ofText = (value) => {
    const input = h('input', { type: 'text', value });
    return [input, () => input.value];
  };
  const ofJson = (name, value) => {
    const input = h('input', { type: 'text', class: 'mg-json', value: JSON.stringify(value) });
    return [input, () => {
      try {
        return JSON.parse(input.value);
      } catch {
        throw new Error(`${name} must be a number, null, "text" in quotes or [a, list], got ${input.value || 'nothing'}.`);
      }
    }];
  };
  const make = ({ name, default: plain, choices = [], help = '' }, value) => {
    const [input, read] = choices.length ? ofChoices(plain, choices, value)
      : typeof plain === 'boolean' ? ofBoolean(value) : typeof plain === 'string' ? ofText(value) : ofJson(name, value);
    const title = help || `default: ${JSON.stringify(plain)}`;
    input.title = input.classList.contains('mg-json') ? `${title}; a number, null, "text" or [a, list]` : title;
    input.setAttribute('aria-label', name);
    return { name, plain, read, node: field(name, input) };
  };
  return {
    node,
    show(options, chosen) {
      fields = options.map((option) => make(option, option.name in chosen ? chosen[option.name] : option.default));
      rows.replaceChildren(...fields.map((each) => each.node));
      node.hidden = !options.length;
      head.textContent = `options (${options.length})`;
    },
    // Only what differs from the default; null, with a sentence, when something cannot be read.
    read() {
      try {
        return Object.fromEntries(fields.map(({ name, plain, read }) => [name, plain, read()])
          .filter(([, plain, value]) => !same(value, plain)).map(([name, , value]) => [name, value]));
      } catch (error) {
        note.say(error.message);
        return null;
      }
    },
  };
}

// Source images: uploaded from this browser, or a path on the kernel's machine.
function makeSources(model, store, note) {
  const send = (content, buffers) => { if (!note.disconnected()) store.ask({ kind: 'sources', ...content }, null, buffers); };
  const files = h('input', { type: 'file', multiple: '', accept: 'image/png,image/jpeg,image/tiff,.tif,.tiff', tabindex: -1,
    'aria-label': 'source images from this computer', onchange: async () => {
      const chosen = [...files.files];
      files.value = '';
      if (chosen.length > MAX_FILES || chosen.some((file) => file.size > MAX_BYTES)) {
        note.say(`At most ${MAX_FILES} images of 32 MB each; for more, give a folder on the kernel's machine.`);
      } else if (chosen.length) {
        send({ names: chosen.map((file) => file.name) }, await Promise.all(chosen.map((file) => file.arrayBuffer())));
      }
    } });
  let sent = ''; // Enter may make a change event of its own, or not: JupyterLab keeps it away
  const take = () => { sent = path.value.trim(); if (sent) send({ path: sent }); };
  const path = h('input', { type: 'text', placeholder: 'or a folder or file path', 'aria-label': 'folder or image on the kernel\'s machine',
    onchange: () => path.value.trim() !== sent && take(), onkeydown: (event) => event.key === 'Enter' && take() });
  const clear = button('Clear', () => send({}));
  const text = h('span', { class: 'mg-quiet', role: 'status' });
  const node = h('div', { class: 'mg-sources', role: 'group', 'aria-label': 'source images' },
    h('span', {}, 'source images'), button('Choose images…', () => files.click()), files, path, text, clear);
  return {
    node,
    show(offered) {
      const { count = 0, names = '' } = model.get('sources') || {};
      node.hidden = !offered;
      text.textContent = count ? `${count} image${count > 1 ? 's' : ''} of yours` : 'samples that come with the model';
      text.title = names;
      clear.hidden = !count;
      if (!count) path.value = sent = '';
    },
  };
}

function makeControls(model, store, note) {
  const enter = { onkeydown: (event) => event.key === 'Enter' && generate() };
  const select = h('select', { onchange: () => factors({}) });
  const images = h('input', { type: 'number', min: 1, max: 64, ...enter });
  const columns = h('input', { type: 'number', min: 1, max: 16, onchange: () => {
    columns.value = clamp(Math.round(Number(columns.value)) || 4, 1, 16);
    model.set('columns', Number(columns.value));
    model.save_changes();
  } });
  const seed = h('input', { type: 'text', inputmode: 'numeric', class: 'mg-seed', autocomplete: 'off', ...enter });
  const dice = button('⚄', () => { seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]); },
    { class: 'mg-dice', 'aria-label': 'draw a new seed', title: 'draw a new seed' });
  const psiText = h('output');
  const psi = h('input', { type: 'range', min: 0, max: 1, step: 0.05, oninput: () => showPsi(psi.value) });
  const showPsi = (value) => { psi.value = value; psiText.textContent = Number(psi.value).toFixed(2); };
  const psiField = field('truncation', psi, psiText);
  const [options, sources, mixing] = [makeOptions(note), makeSources(model, store, note), makeMixing(enter)];
  const slots = h('span', { class: 'mg-factors' });
  const cancel = button('Cancel', () => store.busy() && store.cancel(), { class: 'mg-cancel' });
  const card = () => model.get('models').find(({ id }) => id === select.value);
  let clicked = null; // the controls as they were at this view's last click

  function factors(chosen) {
    const known = card() || { condition: {}, truncation: false };
    const shown = model.get('controls');
    psiField.hidden = !known.truncation;
    mixing.offer(known.styles || 0);
    options.show(known.options || [], (known.id === shown.model && shown.options) || {});
    sources.show(known.image);
    slots.replaceChildren(...Object.entries(known.condition).map(([name, values]) => {
      const list = h('select', { 'data-factor': name }, h('option', { value: '' }, 'any'),
        ...values.map((value, n) => h('option', { value: n }, word(value))));
      const at = values.indexOf(chosen[name]);
      list.value = at < 0 ? '' : at;
      return field(name, list);
    }));
  }
  function generate() {
    if (note.disconnected()) return;
    const condition = {};
    slots.querySelectorAll('select').forEach(({ value, dataset: { factor } }) => {
      if (value) condition[factor] = card().condition[factor][Number(value)];
    });
    const own = options.read();
    if (!own) return;
    const controls = { model: select.value, images: images.value, seed: seed.value.trim(), condition,
      psi: card()?.truncation ? Number(psi.value) : null, mix: mixing.read(), options: own };
    Object.assign(store, { clicked: performance.now(), first: 0 });
    store.ask({ kind: 'generate', controls }, ({ kind }) => {
      if (kind !== 'started') return;
      clicked = controls;
      model.set('controls', controls); // other views and the saved notebook show them too
    });
  }
  function show() {
    const wanted = model.get('controls');
    if (wanted === clicked) return; // this view has them, or what was changed since
    select.replaceChildren(...model.get('models').map(({ id, title }) => h('option', { value: id, title }, id)));
    select.value = wanted.model;
    images.value = wanted.images;
    seed.value = wanted.seed;
    columns.value = model.get('columns');
    showPsi(wanted.psi ?? 1);
    factors(wanted.condition);
    mixing.show(wanted.mix);
  }
  const node = h('div', { class: 'mg-controls', role: 'group', 'aria-label': 'what to generate' },
    field('model', select), field('images', images), field('columns', columns),
    h('span', { class: 'mg-field' }, h('label', {}, h('span', {}, 'seed'), seed), dice), slots, psiField, mixing.node, sources.node, options.node);
  show();
  return {
    node,
    buttons: [button('Generate', generate, { class: 'mg-generate' }), cancel],
    show,
    models: () => { clicked = null; show(); },
    columns: () => { columns.value = model.get('columns'); },
    sources: () => sources.show(card()?.image),
    progress: () => cancel.setAttribute('aria-disabled', String(!store.busy())),
  };
}

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
