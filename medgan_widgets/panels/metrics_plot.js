// The metrics plot's tables and buttons; the curves stand below them, drawn elsewhere.
const SCORES = ['model or folder', 'at', 'metric', 'value', '95 % interval', 'floor', 'n real / synthetic',
  'extractor', 'against', 'warning'];
const WORK_NUMBERS = new Set([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
const SCORE_NUMBERS = new Set([3, 4, 5, 6]);

// One table under its title and buttons. It is made once and its rows change, so that what
// is focused or scrolled stays so while the numbers move.
function makeSection(title, columns, numbers, ask) {
  const said = h('span', { class: 'mg-said', role: 'status', 'aria-live': 'polite' });
  const button = (how, label) => h('button', {
    type: 'button', 'aria-label': `${label}: ${title}`, onclick: () => ask(how), 'data-lm-suppress-shortcuts': 'true',
  }, label);
  const body = h('tbody');
  const head = h('tr', {}, ...columns.map((name, place) =>
    h('th', { scope: 'col', class: numbers.has(place) ? 'mg-number' : null }, name)));
  const region = h('div', { class: 'mg-metrics-table', tabindex: '0', role: 'region', 'aria-label': title,
    'data-lm-suppress-shortcuts': 'true' }, h('table', {}, h('thead', {}, head), body));
  const place = h('section', { class: 'mg-metrics-section' },
    h('div', { class: 'mg-metrics-bar' }, h('span', { class: 'mg-metrics-title', role: 'heading', 'aria-level': '4' }, title),
      said, button('copy', 'Copy as CSV'), button('file', 'Save as CSV')), region);
  let forget = 0;
  return {
    place,
    rows: (rows, warned) => {
      place.hidden = !rows.length;
      body.replaceChildren(...rows.map((row) => h('tr', { class: warned && row[row.length - 1] ? 'mg-warned' : null },
        ...row.map((cell, k) => h(k ? 'td' : 'th', { scope: k ? null : 'row', class: numbers.has(k) ? 'mg-number' : null }, cell)))));
    },
    say: (text) => {
      said.textContent = text;
      clearTimeout(forget);
      forget = setTimeout(() => { said.textContent = ''; }, 3000);
    },
    end: () => clearTimeout(forget),
  };
}

function render({ model, el }) {
  el.classList.add('mg-board');
  const ask = (what) => (how) => model.send({ kind: 'csv', what, how });
  const tables = {
    speed: makeSection('speed and memory', model.get('columns'), WORK_NUMBERS, ask('speed')),
    scores: makeSection('quality', SCORES, SCORE_NUMBERS, ask('scores')),
  };
  const log = h('input', { type: 'checkbox', onchange: () => { model.set('log', log.checked); model.save_changes(); } });
  const note = h('p', { class: 'mg-metrics-note' });
  const axes = h('div', { class: 'mg-metrics-bar mg-metrics-axes' }, h('label', {}, log, 'logarithmic axes'));
  el.append(tables.speed.place, tables.scores.place, note, axes);

  const draw = () => {
    log.checked = model.get('log');
    tables.speed.rows(model.get('rows'));
    tables.scores.rows(model.get('scores'), true);
    axes.hidden = !model.get('rows').length && !model.get('scores').length;
    note.textContent = model.get('more');
    note.hidden = !note.textContent;
  };
  const answer = async (content) => {
    if (content.kind !== 'csv' || !tables[content.what]) return;
    const table = tables[content.what];
    if (content.how === 'copy') {
      await copyText(content.text);
      table.say('copied');
      return;
    }
    const link = h('a', { href: URL.createObjectURL(new Blob([content.text], { type: 'text/csv' })),
      download: `${content.what}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    table.say('saved');
  };
  model.on('msg:custom', answer);
  const stop = follow(model, ['rows', 'scores', 'log', 'more'], draw);
  return () => {
    stop();
    model.off('msg:custom', answer);
    Object.values(tables).forEach((one) => one.end());
  };
}
export default { render };
