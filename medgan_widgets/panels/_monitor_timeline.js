// The monitor's lower half: what fixed seeds show through time, the alarms, and who trains.

function makePictures(model) {
  const picture = h('img', { alt: '' });
  const caption = h('figcaption');
  const figure = h('figure', { class: 'mg-fixed' }, picture, caption);
  const slider = h('input', { type: 'range', min: 0, step: 1, 'aria-label': 'fixed seeds through time' });
  const where = h('output', {});
  const newest = h('button', { type: 'button', title: 'follow the newest picture' }, 'Newest');
  const node = h('section', { class: 'mg-through-time', 'aria-label': 'fixed seeds through time' },
    h('div', { class: 'mg-row' }, h('span', {}, 'fixed seeds through time'), slider, where, newest), figure);
  const ask = (kimg) => { model.set('asked', kimg); model.save_changes(); show(); };
  const words = (kimg) => `${Number(kimg.toFixed(3))} kimg`;
  slider.addEventListener('input', () => {
    const kimgs = model.get('kimgs');
    ask(Number(slider.value) >= kimgs.length - 1 ? -1 : kimgs[Number(slider.value)]);
  });
  newest.addEventListener('click', () => ask(-1));
  function show() {
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
  }
  let address = '';
  const draw = () => {
    const bytes = model.get('picture');
    const old = address;
    address = bytes?.byteLength ? URL.createObjectURL(new Blob([bytes], { type: 'image/png' })) : '';
    figure.hidden = !address;
    if (address) picture.src = address;
    if (old) setTimeout(() => URL.revokeObjectURL(old), 1000);
  };
  const tell = () => {
    const at = model.get('at');
    caption.textContent = at < 0 ? '' : `SYNTHETIC, fixed seeds, ${words(at)}`;
    picture.alt = at < 0 ? '' : `synthetic images of fixed seeds after ${words(at)}`;
  };
  const stop = [follow(model, ['kimgs', 'asked'], show), follow(model, ['picture'], draw), follow(model, ['at'], tell)];
  return { node, stop: () => { stop.forEach((end) => end()); URL.revokeObjectURL(address); } };
}

function makeAlarms(model) {
  const list = h('ul', { class: 'mg-alarms', 'aria-label': 'alarms, newest first' });
  const key = (one) => `${model.get('run')}|${one.name}|${one.kimg}|${one.text}`;
  let known = null; // what was there before is not announced
  let run = null;
  const row = (one, fresh) => h('li', { class: one.stops ? 'mg-stops' : '', role: fresh ? 'alert' : null },
    h('span', { class: 'mg-sign', 'aria-hidden': 'true' }, '▲'),
    h('span', {}, h('b', {}, one.text), ' ', h('span', {}, `${Number(one.kimg.toFixed(1))} kimg: ${one.evidence}.`), ' ',
      one.advice ? h('span', { class: 'mg-advice' }, `Try ${one.advice}.`) : null));
  const show = () => {
    const alarms = model.get('alarms');
    if (run !== model.get('run')) { known = null; run = model.get('run'); }
    const keys = alarms.map(key);
    if (known && same(keys, known)) return;
    list.replaceChildren(...alarms.map((one) => row(one, known !== null && !known.includes(key(one)))));
    list.hidden = !alarms.length;
    known = keys;
  };
  return { node: list, stop: follow(model, ['alarms', 'run'], show) };
}

function render({ model, el }) {
  el.classList.add('mg-timeline');
  const [pictures, alarms] = [makePictures(model), makeAlarms(model)];
  const dot = h('span', { class: 'mg-dot', 'aria-hidden': 'true' });
  const text = h('span', {});
  const line = h('div', { class: 'mg-state-line' }, dot, text);
  el.append(pictures.node, alarms.node, line);
  const stop = follow(model, ['state_line', 'state', 'run'], () => {
    text.textContent = model.get('state_line');
    line.dataset.state = model.get('state');
    line.hidden = !model.get('run') || model.get('run') === '.';
  });
  return () => { stop(); pictures.stop(); alarms.stop(); };
}
export default { render };
