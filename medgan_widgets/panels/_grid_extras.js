// What comes with an image: masks over it, its source beside it, other pictures below it;
// and what goes into it besides seeds: source images, a package's own arguments. Needs _grid_base.js.
const MASK = [0, 229, 255]; // seen on every grey, and on skin and mucosa too

function paintMask(canvas, { shape: [height, width], data }) {
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  const half = data.some((value) => value > 127) ? 127 : 0; // class numbers are small; soft masks have grey levels
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[y * width + x] > half;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!inside(x, y)) continue;
      const core = inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1);
      image.data.set([...MASK, core ? 40 : 255], (y * width + x) * 4);
    }
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// A half of a tile or of the large view: the image, and its mask where that is wanted.
function dress(half, tile, look) {
  let over = half.querySelector('.mg-mask');
  if (!tile.extra.mask || !look.masks) {
    over?.remove();
    return;
  }
  over ??= half.appendChild(h('canvas', { class: 'mg-pixels mg-mask', 'aria-hidden': 'true' }));
  if (over.shown === tile.extra.mask) return; // window and level leave masks as they are
  over.shown = tile.extra.mask;
  paintMask(over, tile.extra.mask);
}

// The source goes before the result on a tile; it is no synthetic image, and says so.
function pair(node, tile) {
  const { source } = tile.extra;
  node.classList.toggle('mg-pair', Boolean(source));
  const [height, width] = tile.shape;
  node.style.setProperty('--mg-ratio', (source ? 2 : 1) * (width / height));
  let from = node.querySelector('.mg-from');
  if (!source) {
    from?.remove();
    return;
  }
  from ??= node.insertBefore(h('span', { class: 'mg-half mg-from' }, h('canvas', { class: 'mg-pixels' }),
    h('span', { class: 'mg-mark' }, h('b', {}, 'SOURCE'))), node.firstChild);
  if (from.shown !== source) paint(from.firstChild, source, FULL);
  from.shown = source;
}

// The large view's further pictures, each with its name.
function others(tile) {
  return Object.entries(tile.extra).map(([name, picture]) => {
    const canvas = h('canvas', { role: 'img', 'aria-label': `${name} of seed ${tile.seed}` });
    const few = name === 'mask' && picture.data.every((value) => value < 16); // class numbers
    paint(canvas, picture, few ? { center: 4, width: 8 } : FULL);
    const mark = name === 'source' ? 'SOURCE, not synthetic' : 'SYNTHETIC';
    return h('figure', { class: 'mg-other' }, canvas, h('span', { class: 'mg-mark' }, mark), h('figcaption', {}, name));
  });
}

// A package's own arguments: one typed field each; a value that is none stays on screen to be mended.
function makeOptions(note) {
  const rows = h('div', { class: 'mg-option-rows' });
  const head = h('summary', {});
  const node = h('details', { class: 'mg-options' }, head, rows);
  let fields = [];
  const field = ({ name, default: plain, choices = [], help = '' }, value) => {
    const title = help || `default: ${JSON.stringify(plain)}`;
    let input;
    let read;
    if (choices.length) {
      const same = (one) => (other) => JSON.stringify(one) === JSON.stringify(other);
      const all = choices.some(same(plain)) ? choices : [plain, ...choices]; // untouched, it stays the default
      input = h('select', { title }, ...all.map((one, n) => h('option', { value: n }, word(one))));
      const at = all.findIndex(same(value));
      input.value = String(at < 0 ? all.findIndex(same(plain)) : at);
      read = () => all[Number(input.value)];
    } else if (typeof plain === 'boolean') {
      input = h('input', { type: 'checkbox', title });
      input.checked = value;
      read = () => input.checked;
    } else if (typeof plain === 'string') {
      input = h('input', { type: 'text', title });
      input.value = value;
      read = () => input.value;
    } else {
      input = h('input', { type: 'text', title: `${title}; a number, null, "text" or [a, list]`, class: 'mg-json' });
      input.value = JSON.stringify(value);
      read = () => {
        try {
          return JSON.parse(input.value);
        } catch {
          throw new Error(`${name} must be a number, null, "text" in quotes or [a, list], got ${input.value || 'nothing'}.`);
        }
      };
    }
    input.setAttribute('aria-label', name);
    return { name, plain, read, node: h('label', { class: 'mg-field' }, h('span', {}, name), input) };
  };
  return {
    node,
    show(options, chosen) {
      fields = options.map((one) => field(one, one.name in chosen ? chosen[one.name] : one.default));
      rows.replaceChildren(...fields.map((one) => one.node));
      node.hidden = !options.length;
      head.textContent = `options (${options.length})`;
    },
    // Only what differs from the default; null, with a sentence, when something cannot be read.
    read() {
      const found = {};
      try {
        for (const { name, plain, read } of fields) {
          const value = read();
          if (JSON.stringify(value) !== JSON.stringify(plain)) found[name] = value;
        }
      } catch (error) {
        note.say(error.message);
        return null;
      }
      return found;
    },
  };
}

// Source images: uploaded from this browser, or a path on the kernel's machine.
function makeSources(model, store, note) {
  const [most, limit] = [16, 32 * 2 ** 20];
  const files = h('input', { type: 'file', multiple: '', accept: 'image/png,image/jpeg,image/tiff,.tif,.tiff',
    'aria-label': 'source images from this computer', onchange: async () => {
      const given = [...files.files];
      files.value = '';
      if (!given.length || note.disconnected()) return;
      if (given.length > most || given.some((one) => one.size > limit)) {
        note.say(`At most ${most} images of 32 MB each; for more, give a folder on the kernel's machine.`);
        return;
      }
      const buffers = await Promise.all(given.map((one) => one.arrayBuffer()));
      model.send({ kind: 'sources', names: given.map((one) => one.name) }, undefined, buffers);
    } });
  const choose = h('button', { type: 'button', onclick: () => files.click() }, 'Choose images…');
  files.tabIndex = -1;
  let entered = false; // Enter may make a change event of its own, or not: JupyterLab keeps it away
  const take = (event) => {
    const again = event.type === 'change' && entered;
    entered = event.type === 'keydown';
    if (again || !path.value.trim() || note.disconnected()) return;
    model.send({ kind: 'sources', path: path.value.trim() });
  };
  const path = h('input', { type: 'text', placeholder: 'or a folder or file path', 'aria-label': 'folder or image on the kernel\'s machine',
    onchange: take, onkeydown: (event) => event.key === 'Enter' && take(event), oninput: () => { entered = false; } });
  const clear = h('button', { type: 'button', onclick: () => model.send({ kind: 'sources' }) }, 'Clear');
  const text = h('span', { class: 'mg-quiet', role: 'status' });
  const node = h('div', { class: 'mg-sources', role: 'group', 'aria-label': 'source images' },
    h('span', {}, 'source images'), choose, files, path, text, clear);
  return {
    node,
    show(wanted) {
      const { count = 0, names = '' } = model.get('sources') || {};
      node.hidden = !wanted;
      text.textContent = count ? `${count} image${count > 1 ? 's' : ''} of yours` : 'samples that come with the model';
      text.title = names;
      clear.hidden = !count;
      if (!count) path.value = '';
    },
  };
}
