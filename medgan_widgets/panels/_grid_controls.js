// What to generate: model, images, columns, seed, factors, truncation. Needs _grid_base.js.
const SILENT = 6000; // ms without an answer before the page says so

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
  const slots = h('span', { class: 'mg-factors' });
  const cancel = h('button', { type: 'button', class: 'mg-cancel',
    onclick: () => busy() && store.ask({ kind: 'cancel' }) }, 'Cancel');
  const busy = () => ['queued', 'running'].includes(store.state);
  const card = () => model.get('models').find(({ id }) => id === select.value);
  let silent = 0;

  function factors(chosen) {
    const known = card() || { condition: {}, truncation: false };
    psiField.hidden = !known.truncation;
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
      psi: card()?.truncation ? Number(psi.value) : null, options: own });
    clearTimeout(silent);
    silent = setTimeout(() => note.say('The kernel has not answered yet: '
      + 'it is busy with a cell, or gone; then run the cell again.'), SILENT);
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
    h('span', { class: 'mg-field' }, h('label', {}, h('span', {}, 'seed'), seed), dice), slots, psiField, sources.node, options.node);
  const go = h('button', { type: 'button', class: 'mg-generate', onclick: generate }, 'Generate');
  const progress = () => {
    clearTimeout(silent);
    note.say('');
    cancel.setAttribute('aria-disabled', String(!busy()));
  };
  cancel.setAttribute('aria-disabled', String(!busy()));
  show();
  return { node, buttons: [go, cancel], show, progress, columns: showColumns, sources: () => sources.show(card()?.image) };
}
