// The monitor's page: which run, what to ask of it, two forms, pictures through time, alarms.

function makePicker(model) {
  const attach = (runs) => model.send({ kind: 'attach', runs });
  const select = h('select', { 'aria-label': 'run', onchange: () => attach([select.value]) });
  const boxes = h('div', { class: 'mg-compared', role: 'group', 'aria-label': 'runs to compare with' });
  const compare = h('details', { class: 'mg-compare' }, h('summary', {}, 'compare'), boxes);
  const checked = () => [...boxes.querySelectorAll('input:checked')].map((box) => box.dataset.run);
  compare.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !compare.open) return;
    compare.open = false;
    compare.querySelector('summary').focus();
    event.stopPropagation();
  });
  const closeOutside = ({ target }) => { if (!compare.contains(target)) compare.open = false; };
  document.addEventListener('pointerdown', closeOutside);
  const field = h('label', { class: 'mg-field' }, h('span', {}, 'run'), select);
  let drawn = null;
  const draw = () => {
    const { run, with: others = [] } = model.get('shown');
    const runs = model.get('runs');
    if (same([runs, run, others], drawn)) return;
    drawn = [runs, run, others];
    select.replaceChildren(...runs.map(([path, name, state]) => h('option', { value: path }, `${name} (${state})`)));
    select.value = run;
    const focused = document.activeElement?.dataset?.run; // the box in use keeps the focus
    boxes.replaceChildren(...runs.filter(([path]) => path !== run).map(([path, name]) => h('label', {}, h('input', {
      type: 'checkbox', 'data-run': path, checked: others.includes(path), onchange: () => attach([run, ...checked()]),
    }), name)));
    if (focused) [...boxes.querySelectorAll('input')].find((box) => box.dataset.run === focused)?.focus();
    compare.hidden = runs.length < 2;
    field.hidden = !runs.length;
  };
  const stop = follow(model, ['runs', 'shown'], draw);
  return { field, compare, stop: () => { stop(); document.removeEventListener('pointerdown', closeOutside); } };
}

let forms = 0;

// A form of what `fields` says; `kind` is what it asks for, with what somebody wrote.
function makeForm(model, { kind, name, label, busy, fields, beside }) {
  const id = `mg-form-${(forms += 1)}`;
  const inputs = {};
  const rows = fields.map(([key, text, { options, list, value, ...more }]) => {
    const both = { name: key, 'aria-label': text }; // a label around a list would read out all its options
    const input = options ? h('select', both, ...options.map((one) => h('option', { value: one }, String(one))))
      : h('input', { ...both, type: 'text', autocomplete: 'off', list: list && `${id}-${key}`, ...more });
    if (value !== undefined) input.value = value;
    inputs[key] = input;
    return h('label', { class: 'mg-field' }, h('span', {}, text), input,
      list ? h('datalist', { id: `${id}-${key}` }, ...list.map((one) => h('option', { value: one }))) : null);
  });
  const ask = (what) => {
    const form = Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, input.value]));
    if (!model.get('busy')) model.send({ kind: what, form });
  };
  const submit = h('button', { type: 'submit', class: 'mg-first' }, label);
  const node = h('form', { class: 'mg-form', 'aria-label': name, novalidate: true },
    h('div', { class: 'mg-fields' }, ...rows), h('div', { class: 'mg-row' }, submit, ...beside(ask)));
  node.addEventListener('submit', (event) => { event.preventDefault(); ask(kind); });
  node.addEventListener('keydown', (event) => { // in a cell, JupyterLab keeps Enter from doing it
    if (event.key !== 'Enter' || event.isComposing || event.target.tagName !== 'INPUT') return;
    event.preventDefault();
    node.requestSubmit();
  });
  const stop = follow(model, ['busy'], () => {
    submit.setAttribute('aria-disabled', String(Boolean(model.get('busy'))));
    submit.textContent = model.get('busy') === kind ? busy : label;
  });
  return { node, inputs, stop };
}

function trainingForm(model) {
  const estimate = h('span', { class: 'mg-estimate', role: 'status' });
  const measure = h('button', { type: 'button', title: 'runs a few steps and says how long it would take' });
  const form = makeForm(model, {
    kind: 'start', name: 'new training', label: 'Start training', busy: 'Checking…', fields: model.get('forms').training,
    beside: (ask) => { measure.addEventListener('click', () => ask('estimate')); return [measure, estimate]; },
  });
  form.node.addEventListener('input', () => { estimate.textContent = ''; });
  let run = model.get('shown').run || '';
  const stop = [form.stop,
    follow(model, ['shown'], () => { // once it is trained, its name is taken
      const before = run;
      run = model.get('shown').run || '';
      if (run !== before && run.split(/[\\/]/).pop() === form.inputs.run.value.trim()) {
        form.inputs.run.value = estimate.textContent = '';
      }
    }),
    follow(model, ['estimate'], () => { estimate.textContent = model.get('estimate'); }),
    follow(model, ['busy'], () => {
      measure.setAttribute('aria-disabled', String(Boolean(model.get('busy'))));
      measure.textContent = model.get('busy') === 'estimate' ? 'Measuring…' : 'Estimate';
      if (model.get('busy') === 'estimate') estimate.textContent = '';
    })];
  return { node: form.node, stop: () => stop.forEach((end) => end()) };
}

function modelForm(model, close) {
  const form = makeForm(model, {
    kind: 'model', name: 'make it a model', label: 'Make the model', busy: 'Making…', fields: model.get('forms').model,
    beside: () => [h('button', { type: 'button', onclick: close }, 'Close'),
      h('span', {}, 'What is left blank about the data prints UNKNOWN on the card.')],
  });
  let offered = {};
  const stop = follow(model, ['shown'], () => { // what somebody has typed stays
    const fresh = model.get('shown').model || {};
    Object.entries(fresh).forEach(([key, value]) => {
      if (form.inputs[key].value === (offered[key] ?? '')) form.inputs[key].value = value;
    });
    offered = fresh;
  });
  return { ...form, stop: () => { form.stop(); stop(); } };
}

// What is known of the run, the buttons, how far it is, and the forms.
function makeControls(model) {
  const picker = makePicker(model);
  const fact = (name) => { const text = h('span', {}); return [text, h('span', { class: 'mg-fact' }, h('i', {}, name), text)]; };
  const [[data, dataBox], [preset, presetBox]] = [fact('data'), fact('preset')];
  const bar = h('progress', { max: 1, 'aria-label': 'training' });
  const words = h('span', {});
  const track = h('div', { class: 'mg-track' }, bar, words);
  const training = trainingForm(model);
  const fresh = h('details', { class: 'mg-new' }, h('summary', {}, 'New training'), training.node);
  const making = h('div', { class: 'mg-making', hidden: true });
  const row = h('div', { class: 'mg-acts', role: 'group', 'aria-label': 'training' });
  const opener = () => row.querySelector('[data-do=model]');
  const open = (yes) => { making.hidden = !yes; opener()?.setAttribute('aria-expanded', String(yes)); };
  const close = () => { open(false); opener()?.focus(); };
  const form = modelForm(model, close);
  making.append(form.node);
  making.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { close(); event.stopPropagation(); }
  });
  const press = ({ currentTarget: { dataset, ariaDisabled } }) => {
    if (ariaDisabled === 'true') return;
    if (dataset.do !== 'model') { model.send({ kind: dataset.do }); return; }
    open(making.hidden);
    if (!making.hidden) form.inputs.model_id.focus();
  };
  const bars = h('div', { class: 'mg-controls' }, picker.field, picker.compare, dataBox, presetBox, row);
  let run = null;
  const draw = () => {
    const shown = model.get('shown');
    const buttons = shown.buttons || [];
    while (row.children.length < buttons.length) row.append(h('button', { type: 'button', onclick: press }));
    buttons.forEach(({ label, on, why, do: what }, place) => { // each stays where it is, and keeps the focus
      const button = row.children[place];
      Object.assign(button, { textContent: label, title: why, ariaDisabled: String(!on) });
      button.dataset.do = what;
      button.classList.toggle('mg-first', what === 'model' && on);
    });
    row.hidden = !buttons.length;
    data.textContent = shown.data || '';
    preset.textContent = shown.preset || '';
    dataBox.title = shown.about || '';
    dataBox.hidden = !shown.data;
    presetBox.hidden = !shown.preset;
    bars.hidden = !shown.run;
    track.hidden = !shown.progress;
    bar.value = shown.share || 0;
    words.textContent = shown.progress || '';
    if (run === shown.run) return;
    if (!run || !shown.run) fresh.open = !shown.run; // folded once a run is shown
    open(false);
    run = shown.run;
  };
  let made = model.get('made');
  const stop = [picker.stop, training.stop, form.stop, follow(model, ['shown'], draw), follow(model, ['made'], () => {
    if (model.get('made') !== made) open(false);
    made = model.get('made');
  })];
  return { nodes: [bars, track, making, fresh], stop: () => stop.forEach((end) => end()) };
}

// What fixed seeds show through time.
function makePictures(model) {
  const picture = h('img', { alt: '' });
  const caption = h('figcaption');
  const figure = h('figure', { class: 'mg-fixed' }, picture, caption);
  const ask = (kimg) => { model.set('asked', kimg); model.save_changes(); };
  const slider = h('input', { type: 'range', min: 0, step: 1, 'aria-label': 'fixed seeds through time', oninput: () => {
    const kimgs = model.get('kimgs');
    ask(Number(slider.value) >= kimgs.length - 1 ? -1 : kimgs[Number(slider.value)]);
  } });
  const where = h('output');
  const newest = h('button', { type: 'button', title: 'follow the newest picture', onclick: () => ask(-1) }, 'Newest');
  const node = h('section', { class: 'mg-through-time', 'aria-label': 'fixed seeds through time' },
    h('div', { class: 'mg-row' }, h('span', {}, 'fixed seeds through time'), slider, where, newest), figure);
  const words = (kimg) => `${Number(kimg.toFixed(3))} kimg`;
  const show = () => {
    const [kimgs, asked] = [model.get('kimgs'), model.get('asked')];
    const last = kimgs.length - 1;
    node.hidden = last < 0;
    if (last < 0) return;
    slider.max = String(last);
    slider.hidden = newest.hidden = last < 1;
    const place = asked < 0 ? last : kimgs.reduce((best, one, n) => (
      Math.abs(one - asked) < Math.abs(kimgs[best] - asked) ? n : best), 0);
    if (Number(slider.value) !== place) slider.value = String(place);
    slider.setAttribute('aria-valuetext', words(kimgs[place]));
    where.textContent = words(kimgs[place]);
    newest.setAttribute('aria-pressed', String(asked < 0));
  };
  let address = '';
  const draw = () => {
    const png = model.get('picture');
    const old = address;
    address = png?.byteLength ? URL.createObjectURL(new Blob([png], { type: 'image/png' })) : '';
    figure.hidden = !address;
    if (address) picture.src = address;
    setTimeout(() => URL.revokeObjectURL(old), 1000);
    const at = model.get('at');
    caption.textContent = at < 0 ? '' : `SYNTHETIC, fixed seeds, ${words(at)}`;
    picture.alt = at < 0 ? '' : `synthetic images of fixed seeds after ${words(at)}`;
  };
  const stop = [follow(model, ['kimgs', 'asked'], show), follow(model, ['picture', 'at'], draw)];
  return { node, stop: () => { stop.forEach((end) => end()); URL.revokeObjectURL(address); } };
}

function makeAlarms(model) {
  const node = h('ul', { class: 'mg-alarms', 'aria-label': 'alarms, newest first' });
  let [run, known] = ['', []];
  const row = (alarm, fresh) => h('li', { class: alarm.stops ? 'mg-stops' : '', role: fresh ? 'alert' : null },
    h('span', { class: 'mg-sign', 'aria-hidden': 'true' }, '▲'),
    h('span', {}, h('b', {}, alarm.text), ` ${Number(alarm.kimg.toFixed(1))} kimg: ${alarm.evidence}. `,
      alarm.advice ? h('span', { class: 'mg-advice' }, `Try ${alarm.advice}.`) : null));
  const stop = follow(model, ['alarms', 'shown'], () => {
    const alarms = model.get('alarms');
    const before = run === model.get('shown').run ? known : null; // what was there at first is not announced
    run = model.get('shown').run;
    known = alarms.map((alarm) => JSON.stringify(alarm));
    if (before && same(before, known)) return;
    node.replaceChildren(...alarms.map((alarm, n) => row(alarm, before !== null && !before.includes(known[n]))));
    node.hidden = !alarms.length;
  });
  return { node, stop };
}

function render({ model, el }) {
  el.classList.add('mg-run');
  const [controls, pictures, alarms] = [makeControls(model), makePictures(model), makeAlarms(model)];
  const text = h('span', {});
  const line = h('div', { class: 'mg-state-line' }, h('span', { class: 'mg-dot', 'aria-hidden': 'true' }), text);
  el.append(...controls.nodes, pictures.node, alarms.node, line);
  const stop = follow(model, ['state_line', 'shown'], () => {
    text.textContent = model.get('state_line');
    line.dataset.state = model.get('shown').state;
    line.hidden = !model.get('shown').run;
  });
  return () => [{ stop }, controls, pictures, alarms].forEach((part) => part.stop());
}
export default { render };
