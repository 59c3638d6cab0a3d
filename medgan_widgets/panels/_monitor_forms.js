// The two forms of the monitor: a new training, and a model made of a run.
let forms = 0;

function newForm(name, rows, submit) {
  const own = `mg-form-${(forms += 1)}`;
  const inputs = {};
  const fields = rows.map(([key, label, { options, list, ...more }]) => {
    const both = { name: key, 'aria-label': label }; // a label around a list would read out all its options
    const input = options ? h('select', both) : h('input', { ...both, type: 'text', autocomplete: 'off', ...more });
    if (options) input.append(...options.map((one) => h('option', { value: one }, one === '' ? '–' : String(one))));
    if (more.value !== undefined && options) input.value = more.value;
    if (list) input.setAttribute('list', `${own}-${key}`);
    inputs[key] = input;
    return h('label', { class: `mg-field mg-field-${key}` }, h('span', {}, label), input,
      list ? h('datalist', { id: `${own}-${key}` }, ...list.map((one) => h('option', { value: one }))) : null);
  });
  const values = () => Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, input.value]));
  const node = h('form', { class: 'mg-form', 'aria-label': name, novalidate: true }, h('div', { class: 'mg-fields' }, ...fields));
  node.addEventListener('submit', (event) => { event.preventDefault(); submit(values()); });
  node.addEventListener('keydown', (event) => { // in a cell, JupyterLab keeps Enter from doing it
    if (event.key !== 'Enter' || event.isComposing || event.target.tagName !== 'INPUT') return;
    event.preventDefault();
    node.requestSubmit();
  });
  return { node, inputs, values };
}

function trainingForm(model) {
  const has = model.get('choices');
  const ask = (kind) => (form) => { if (!model.get('busy')) model.send({ kind, form }); };
  const form = newForm('new training', [
    ['run', 'name', { placeholder: 'e.g. knee-64' }],
    ['data', 'data', { list: has.data, placeholder: 'a path, or brain_mri' }],
    ['preset', 'preset', { options: has.preset }],
    ['size', 'size', { options: has.size, value: 64 }],
    ['kimg', 'kimg', { value: '100', inputmode: 'decimal' }],
    ['labels', 'labels', { placeholder: 'a column, optional' }],
    ['group', 'group', { placeholder: 'e.g. PatientID' }],
    ['start_from', 'start from', { placeholder: 'a run or model, optional' }],
  ], ask('start'));
  const said = h('span', { class: 'mg-estimate', role: 'status' });
  const start = h('button', { type: 'submit', class: 'mg-first' }, 'Start training');
  const measure = h('button', { type: 'button', title: 'runs a few steps and says how long it would take',
    onclick: () => ask('estimate')(form.values()) }, 'Estimate');
  form.node.append(h('div', { class: 'mg-row' }, start, measure, said));
  form.node.addEventListener('input', () => { said.textContent = ''; });
  let run = model.get('shown').run || '';
  const stop = [
    follow(model, ['shown'], () => { // once it is trained, its name is taken
      const now = model.get('shown').run || '';
      if (now === run) return;
      run = now;
      if ((run || '').split(/[\\/]/).pop() !== form.inputs.run.value.trim()) return;
      form.inputs.run.value = said.textContent = '';
    }),
    follow(model, ['estimate'], () => { said.textContent = model.get('estimate'); }),
    follow(model, ['busy'], () => {
      const busy = model.get('busy');
      [start, measure].forEach((one) => one.setAttribute('aria-disabled', String(Boolean(busy))));
      start.textContent = busy === 'start' ? 'Checking…' : 'Start training';
      measure.textContent = busy === 'estimate' ? 'Measuring…' : 'Estimate';
      if (busy === 'estimate') said.textContent = '';
    }),
  ];
  return { node: form.node, stop: () => stop.forEach((end) => end()) };
}

function modelForm(model, close) {
  const has = model.get('choices');
  const unknown = { placeholder: 'UNKNOWN' };
  const form = newForm('make it a model', [
    ['model_id', 'model id', {}],
    ['title', 'title', { placeholder: 'optional' }],
    ['modality', 'modality', { list: has.modality, placeholder: 'MR, CT, … or any word' }],
    ['organ', 'organ', { list: has.organ, placeholder: 'brain, … or any word' }],
    ['region', 'region', { placeholder: 'optional' }],
    ['licence', 'licence', { placeholder: 'of the model, e.g. MIT' }],
    ['statement_source', 'data: source', unknown],
    ['statement_licence', 'data: licence', unknown],
    ['statement_approval', 'data: approval reference', unknown],
    ['statement_deidentification', 'data: de-identification', unknown],
  ], (values) => { if (!model.get('busy')) model.send({ kind: 'model', form: values }); });
  const make = h('button', { type: 'submit', class: 'mg-first' }, 'Make the model');
  form.node.append(h('div', { class: 'mg-row' }, make,
    h('button', { type: 'button', onclick: close }, 'Close'),
    h('span', {}, 'What is left blank about the data prints UNKNOWN on the card.')));
  let offered = {};
  const stop = [
    follow(model, ['shown'], () => { // what somebody has typed stays
      const fresh = model.get('shown').model || {};
      Object.entries(fresh).forEach(([key, value]) => {
        if (form.inputs[key].value === (offered[key] ?? '')) form.inputs[key].value = value;
      });
      offered = fresh;
    }),
    follow(model, ['busy'], () => {
      make.setAttribute('aria-disabled', String(Boolean(model.get('busy'))));
      make.textContent = model.get('busy') === 'model' ? 'Making…' : 'Make the model';
    }),
  ];
  return { node: form.node, inputs: form.inputs, stop: () => stop.forEach((end) => end()) };
}
