// The grid's controls: what to generate.
const [MAX_FILES, MAX_BYTES] = [16, 32 * 2 ** 20];

const word = (value) => (value === true ? 'yes' : value === false ? 'no' : String(value));
const button = (text, onclick, props = {}) => h('button', { type: 'button', onclick, ...props }, text);
const field = (name, ...inputs) => h('label', { class: 'mg-field' }, h('span', {}, name), ...inputs);

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
