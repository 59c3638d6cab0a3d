// The metrics plot's tables and buttons; the curves stand below them, drawn elsewhere.
const SCORES = ['model or folder', 'at', 'metric', 'value', '95 % interval', 'floor', 'n real / synthetic',
  'extractor', 'against', 'warning'];

function makeTable(title, columns, rows, numbers) {
  const head = h('tr', {}, ...columns.map((name) => h('th', { scope: 'col' }, name)));
  const body = rows.map((row) => h('tr', {}, ...row.map((cell, place) =>
    h(place ? 'td' : 'th', { scope: place ? null : 'row', class: numbers.has(place) ? 'mg-number' : null }, cell))));
  return h('div', { class: 'mg-metrics-table', tabindex: '0', role: 'region', 'aria-label': title,
    'data-lm-suppress-shortcuts': 'true' },
  h('table', {}, h('caption', {}, title), h('thead', {}, head), h('tbody', {}, ...body)));
}

function render({ model, el }) {
  el.classList.add('mg-board');
  const log = h('input', { type: 'checkbox', onchange: () => { model.set('log', log.checked); model.save_changes(); } });
  const said = h('span', { class: 'mg-said', role: 'status', 'aria-live': 'polite' });
  const button = (how, label) => h('button', { type: 'button', onclick: () => model.send({ kind: 'csv', how }) }, label);
  const bar = h('div', { class: 'mg-metrics-bar', role: 'group', 'aria-label': 'scores' },
    h('label', {}, log, 'logarithmic quality'), button('copy', 'Copy as CSV'), button('file', 'Save as CSV'), said);
  const tables = h('div', { class: 'mg-metrics-tables' });
  const note = h('p', { class: 'mg-metrics-note' });
  el.append(bar, tables, note);

  const draw = () => {
    log.checked = model.get('log');
    const rows = model.get('rows');
    const scores = model.get('scores');
    const made = [];
    if (rows.length) made.push(makeTable('speed and memory', model.get('columns'), rows, new Set([2, 3, 4, 5, 6, 7, 8, 10, 11])));
    if (scores.length) made.push(makeTable('quality', SCORES, scores, new Set([3, 4, 5, 6])));
    const at = [...tables.children].map((one) => [one.scrollLeft, one.scrollTop]);
    const place = [...tables.children].indexOf(document.activeElement);
    tables.replaceChildren(...made);
    made.forEach((one, k) => { if (at[k]) [one.scrollLeft, one.scrollTop] = at[k]; });
    if (place >= 0) made[place]?.focus();
    bar.querySelectorAll('button').forEach((one) => one.setAttribute('aria-disabled', String(!scores.length)));
    note.textContent = model.get('more');
    note.hidden = !note.textContent;
  };
  const answer = async (content) => {
    if (content.kind !== 'csv') return;
    if (content.how === 'copy') {
      await copyText(content.text);
      said.textContent = 'copied';
    } else {
      const link = h('a', { href: URL.createObjectURL(new Blob([content.text], { type: 'text/csv' })), download: 'scores.csv' });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      said.textContent = 'saved';
    }
    setTimeout(() => { said.textContent = ''; }, 3000);
  };
  model.on('msg:custom', answer);
  const stop = follow(model, ['rows', 'scores', 'log', 'more'], draw);
  return () => { stop(); model.off('msg:custom', answer); };
}
export default { render };
