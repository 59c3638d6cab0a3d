// The monitor's upper half: which run, what to ask of it, how far it is, and two forms.

function makePicker(model) {
  const attach = (runs) => model.send({ kind: 'attach', runs });
  const select = h('select', { 'aria-label': 'run', onchange: () => attach([select.value]) });
  const boxes = h('div', { class: 'mg-compared', role: 'group', 'aria-label': 'runs to compare with' });
  const compare = h('details', { class: 'mg-compare' }, h('summary', {}, 'compare'), boxes);
  compare.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !compare.open) return;
    compare.open = false;
    compare.querySelector('summary').focus();
    event.stopPropagation();
  });
  const away = ({ target }) => { if (!compare.contains(target)) compare.open = false; };
  document.addEventListener('pointerdown', away);
  const field = h('label', { class: 'mg-field' }, h('span', {}, 'run'), select);
  let drawn = null;
  const draw = () => {
    const { run, with: others = [] } = model.get('shown');
    const runs = model.get('runs');
    const now = [runs, run, others];
    if (same(now, drawn)) return;
    drawn = now;
    select.replaceChildren(...runs.map(([path, name, state]) => h('option', { value: path }, `${name} (${state})`)));
    select.value = run;
    const key = document.activeElement?.dataset?.run; // the box in use keeps the focus
    boxes.replaceChildren(...runs.filter(([path]) => path !== run).map(([path, name]) => {
      const box = h('input', { type: 'checkbox', 'data-run': path });
      box.checked = others.includes(path);
      box.addEventListener('change', () => attach([run,
        ...[...boxes.querySelectorAll('input')].filter((one) => one.checked).map((one) => one.dataset.run)]));
      return h('label', {}, box, name);
    }));
    if (key) [...boxes.querySelectorAll('input')].find((one) => one.dataset.run === key)?.focus();
    compare.hidden = runs.length < 2;
    field.hidden = !runs.length;
  };
  const stop = follow(model, ['runs', 'shown'], draw);
  return { field, compare, stop: () => { stop(); document.removeEventListener('pointerdown', away); } };
}

function makeButtons(model, act) {
  const node = h('div', { class: 'mg-acts', role: 'group', 'aria-label': 'training' });
  const made = new Map();
  const draw = () => {
    const wanted = model.get('shown').buttons || [];
    wanted.forEach(({ label, on, why, do: what }, place) => {
      if (!made.has(place)) {
        made.set(place, h('button', { type: 'button', onclick: () => act(made.get(place).dataset) }));
        node.append(made.get(place));
      }
      const button = made.get(place);
      button.textContent = label;
      button.title = why;
      Object.assign(button.dataset, { what, on: String(on) });
      button.classList.toggle('mg-first', what === 'model' && on);
      button.setAttribute('aria-disabled', String(!on));
    });
    node.hidden = !wanted.length;
  };
  return { node, button: (what) => [...made.values()].find((one) => one.dataset.what === what), stop: follow(model, ['shown'], draw) };
}

function render({ model, el }) {
  el.classList.add('mg-desk');
  const picker = makePicker(model);
  const data = h('span', { class: 'mg-fact' });
  const preset = h('span', { class: 'mg-fact' });
  const bar = h('progress', { max: 1, 'aria-label': 'training' });
  const words = h('span', { class: 'mg-progress-words' });
  const track = h('div', { class: 'mg-track' }, bar, words);
  const training = trainingForm(model);
  const fresh = h('details', { class: 'mg-new' }, h('summary', {}, 'New training'), training.node);
  const shut = () => { making.hidden = true; buttons.button('model')?.setAttribute('aria-expanded', 'false'); };
  const making = h('div', { class: 'mg-making' });
  const form = modelForm(model, () => { shut(); buttons.button('model')?.focus(); });
  making.append(form.node);
  const act = ({ what, on }) => {
    if (on !== 'true') return;
    if (what !== 'model') { model.send({ kind: what }); return; }
    making.hidden = !making.hidden;
    buttons.button('model').setAttribute('aria-expanded', String(!making.hidden));
    if (!making.hidden) form.inputs.model_id.focus();
  };
  const buttons = makeButtons(model, act);
  making.hidden = true;
  making.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { shut(); buttons.button('model')?.focus(); event.stopPropagation(); }
  });
  const controls = h('div', { class: 'mg-controls' }, picker.field, picker.compare, data, preset, buttons.node);
  el.append(controls, track, making, fresh);

  let run = null;
  const draw = () => {
    const shown = model.get('shown');
    data.replaceChildren(h('i', {}, 'data'), shown.data || '');
    data.title = shown.about || '';
    data.hidden = !shown.data;
    preset.replaceChildren(h('i', {}, 'preset'), shown.preset || '');
    preset.hidden = !shown.preset;
    controls.hidden = !shown.run;
    track.hidden = !shown.progress;
    bar.value = shown.share || 0;
    words.textContent = shown.progress || '';
    if (run !== shown.run) {
      if (run === null || !run || !shown.run) fresh.open = !shown.run; // folded once a run is shown
      if (run) shut();
      run = shown.run;
    }
  };
  let made = model.get('made');
  const stop = [picker.stop, buttons.stop, training.stop, form.stop, follow(model, ['shown'], draw),
    follow(model, ['made'], () => {
      if (model.get('made') !== made) shut();
      made = model.get('made');
    })];
  return () => stop.forEach((end) => end());
}
export default { render };
