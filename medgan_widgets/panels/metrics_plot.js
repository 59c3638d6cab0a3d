// One table of the metrics plot under its title and buttons; curves stand below, drawn elsewhere.
// The table is made once and its rows change, so that what is focused or scrolled stays so
// while the numbers move.
function render({ model, el }) {
  el.classList.add('mg-board');
  const [title, columns] = [model.get('title'), model.get('columns')];
  const numbers = new Set(model.get('numbers'));
  const warning = columns.indexOf('warning');
  const said = h('span', { class: 'mg-said', role: 'status', 'aria-live': 'polite' });
  const talk = newTalk(model);
  const button = (label, done, use) => h('button', {
    type: 'button', 'aria-label': `${label}: ${title}`,
    onclick: () => talk.ask({ kind: 'csv' }, async ({ kind, text }) => {
      if (kind !== 'csv') return;
      await use(text);
      say(done);
    }),
  }, label);
  const log = h('input', {
    type: 'checkbox', 'aria-label': `logarithmic: ${title}`,
    onchange: () => { model.set('log', log.checked); model.save_changes(); },
  });
  const cell = (tag, place, scope, text) =>
    h(tag, { scope, class: numbers.has(place) ? 'mg-number' : null }, text);
  const body = h('tbody');
  const head = h('tr', {}, ...columns.map((name, place) => cell('th', place, 'col', name)));
  const region = h('div', {
    class: 'mg-metrics-table', tabindex: '0', role: 'region', 'aria-label': title,
  }, h('table', {}, h('thead', {}, head), body));
  const note = h('p', { class: 'mg-metrics-note' });
  const place = h('section', { class: 'mg-metrics-section' },
    h('div', { class: 'mg-metrics-bar' },
      h('span', { class: 'mg-metrics-title', role: 'heading', 'aria-level': '4' }, title), said,
      h('label', {}, log, 'logarithmic'),
      button('Copy as CSV', 'copied', copyText),
      button('Save as CSV', 'saved', (text) => download(`${model.get('what')}.csv`, 'text/csv', text))),
    region, note);
  el.append(place);

  const draw = () => {
    const rows = model.get('rows');
    place.hidden = !rows.length;
    log.checked = model.get('log');
    note.textContent = model.get('more');
    note.hidden = !note.textContent;
    body.replaceChildren(...rows.map((row) => h('tr', { class: row[warning] ? 'mg-warned' : null },
      ...row.map((text, k) => {
        if (k === warning && text) return h('td', {}, h('span', { class: 'mg-clamp', title: text }, text));
        return k ? cell('td', k, null, text) : cell('th', k, 'row', text);
      }))));
  };
  let forget = 0;
  const say = (text) => {
    said.textContent = text;
    clearTimeout(forget);
    forget = setTimeout(() => { said.textContent = ''; }, 3000);
  };
  const stop = follow(model, ['rows', 'log', 'more'], draw);
  return () => {
    stop();
    clearTimeout(forget);
    talk.stop();
  };
}
export default { render };
