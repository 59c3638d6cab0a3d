// What to generate: model, images, columns, seed, factors, truncation. Needs _grid_base.js.

// Styles of another seed: in some layers (style mixing) or a part of the way (interpolation).
function makeMixing(enter) {
  const seed = h('input', { type: 'text', inputmode: 'numeric', class: 'mg-seed', autocomplete: 'off',
    placeholder: 'off', title: 'a seed whose styles the images take; empty: none', ...enter });
  const parts = ['coarse', 'middle', 'fine', 'all'];
  const own = h('option', { value: 'own' }); // layers that somebody named in Python or a recipe
  const part = h('select', { 'aria-label': 'styles to take from that seed' },
    ...parts.map((name) => h('option', { value: name }, `${name} styles`)), own);
  const text = h('output');
  const share = h('input', { type: 'range', min: 0, max: 1, step: 0.05, value: 1,
    'aria-label': 'how much of those styles', oninput: () => draw() });
  const node = h('span', { class: 'mg-field mg-mixing', role: 'group', 'aria-label': 'style mixing' },
    h('label', {}, h('span', {}, 'mix with seed'), seed), part, share, text);
  let layers = 0;
  let named = null;
  const ends = (name) => {
    const [a, b] = [Math.round(layers / 3), Math.round((2 * layers) / 3)];
    return { coarse: [0, a - 1], middle: [a, b - 1], fine: [b, layers - 1], own: named }[name];
  };
  function draw() {
    text.textContent = Number(share.value).toFixed(2);
    own.hidden = own.disabled = !named;
    own.textContent = named ? (named[0] === named[1] ? `layer ${named[0]}` : `layers ${named.join('–')}`) : '';
    [part, share, text].forEach((one) => { one.hidden = !seed.value.trim(); });
  }
  seed.addEventListener('input', draw);
  return {
    node,
    offer: (count) => {
      layers = count;
      node.hidden = count < 3;
      if (named && named[1] >= count) { // another model, with fewer layers
        named = null;
        if (part.value === 'own') part.value = 'coarse';
      }
      draw();
    },
    read: () => {
      if (node.hidden || !seed.value.trim()) return null;
      const taken = ends(part.value); // all: the request names no layers
      return { seed: seed.value.trim(), share: Number(share.value), ...(taken ? { layers: taken } : {}) };
    },
    show: (mix) => {
      seed.value = mix ? mix.seed : '';
      share.step = !mix || Number.isInteger(mix.share * 20) ? 0.05 : 'any'; // else it would round
      share.value = mix ? mix.share : 1;
      const whole = mix && (!mix.layers || String(mix.layers) === String([0, layers - 1]));
      if (!mix) mix = { layers: ends('coarse') }; // what a seed would take first
      const known = whole ? 'all' : parts.find((name) => String(ends(name)) === String(mix.layers));
      named = known ? null : mix.layers;
      draw();
      part.value = known || 'own';
    },
  };
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
  const psiText = h('output');
  const psi = h('input', { type: 'range', min: 0, max: 1, step: 0.05,
    oninput: () => { psiText.textContent = Number(psi.value).toFixed(2); } });
  const options = makeOptions(note);
  const sources = makeSources(model, store, note);
  const psiField = field('truncation', psi);
  psiField.append(psiText);
  const mixing = makeMixing(enter);
  const slots = h('span', { class: 'mg-factors' });
  const cancel = h('button', { type: 'button', class: 'mg-cancel',
    onclick: () => busy() && store.ask({ kind: 'cancel' }) }, 'Cancel');
  const busy = () => ['queued', 'running'].includes(store.state) || store.waiting.size > 0;
  const enable = () => cancel.setAttribute('aria-disabled', String(!busy()));
  const card = () => model.get('models').find(({ id }) => id === select.value);
  let silent = 0;

  function factors(chosen) {
    const known = card() || { condition: {}, truncation: false };
    psiField.hidden = !known.truncation;
    mixing.offer(known.styles || 0);
    options.show(known.options || [], known.id === model.get('controls').model ? model.get('controls').options || {} : {});
    sources.show(known.image);
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
    const own = options.read();
    if (!own) return;
    Object.assign(store, { asked: performance.now(), first: 0 });
    store.ask({ kind: 'generate', model: select.value, images: images.value, seed: seed.value.trim(), condition,
      psi: card()?.truncation ? Number(psi.value) : null, mix: mixing.read(), options: own });
    clearTimeout(silent);
    silent = setTimeout(() => note.say('The kernel has not answered yet: '
      + 'it is busy with a cell, or gone; then run the cells above and this one again.'), SILENT);
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
    mixing.show(wanted.mix);
  }
  const showColumns = () => { columns.value = model.get('columns'); };
  const node = h('div', { class: 'mg-controls', role: 'group', 'aria-label': 'what to generate' },
    field('model', select), field('images', images), field('columns', columns),
    h('span', { class: 'mg-field' }, h('label', {}, h('span', {}, 'seed'), seed), dice), slots, psiField, mixing.node, sources.node, options.node);
  const go = h('button', { type: 'button', class: 'mg-generate', onclick: generate }, 'Generate');
  const progress = () => {
    clearTimeout(silent);
    note.say('');
    enable();
  };
  enable();
  show();
  return { node, buttons: [go, cancel], show, progress, enable, columns: showColumns, sources: () => sources.show(card()?.image) };
}
