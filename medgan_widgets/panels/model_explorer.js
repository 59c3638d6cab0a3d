// The model explorer's page: it gets every row once, and searches, filters, counts and sorts them
// here. What changes something is a message to the kernel; a key press is none.
const COLUMNS = [['id', 'model'], ['modality', 'modality'], ['organ', 'organ'], ['makes', 'makes'],
  ['size', 'size'], ['licence', 'licence'], ['score', 'score'], ['runs', 'runs here']];
const FRONT = { modality: null, organ: null, outputs: ['mask'], runs_here: ['now'] }; // null: all
const MORE = ['runs_here', 'outputs', 'function', 'size', 'licence', 'origin'];
const LABELS = {
  modality: { MR: 'magnetic resonance', MG: 'mammography', DX: 'X-ray', ES: 'endoscopy',
    CT: 'computed tomography', US: 'ultrasound', PT: 'positron emission tomography',
    XA: 'angiography', OT: 'another modality' },
  outputs: { mask: 'with mask', label: 'with label' },
  origin: { local: 'on this machine', medigan: "medigan's" },
  runs_here: { now: 'runs now', consent: 'needs your yes', download: 'after a download',
    image: 'needs your image', packages: 'needs packages', interpreter: 'needs its own Python',
    damaged: 'damaged' }, // in the order in which the table sorts them
};
const NAMES = { runs_here: 'runs here', outputs: 'makes', function: 'how', size: 'size',
  licence: 'licence', origin: 'from' };

// The same search as the catalogue's, vocabulary.py has the words; rows come with all synonyms.
const singular = (word) => (word.length > 3 && /[^sui]s$/.test(word) ? word.slice(0, -1) : word);
function searched(text, known, idle) {
  const one = text.slice(0, 2000).toLowerCase().replace(/(\d+)\s*(?:[x×*]|by)\s*(\d+)/g, '$1x$2');
  const words = (one.match(/[\p{L}\p{N}_-]+/gu) || []).map(singular)
    .flatMap((word) => (known.has(word) ? [word] : word.split(/[-_]/).map(singular)));
  return [...new Set(words)].filter((word) => word && !idle.includes(word));
}
function fit(words, have, known) {
  let total = 0;
  for (const word of words) {
    let weight = have.get(word) || 0;
    if (!known.has(word) && word.length > 1 && !/^\d+$/.test(word)) { // somebody is still typing
      const begun = [...have].filter(([other]) => other.startsWith(word)).map(([, w]) => w);
      weight = 0.5 * Math.max(0, ...begun);
    }
    if (!weight) return 0;
    total += weight;
  }
  return total;
}

// Which rows to show, in which order, and how many models each filter would leave.
function makeFinder(model) {
  let read = null;
  let words = new Map(); // row -> its words with their weights
  let known = new Set();
  const values = (row, facet) => (facet === 'runs_here' ? [model.get('runs')[row.id].kind] : row.facets[facet]);
  const below = (a, b) => Number(a > b) - Number(a < b);
  const column = {
    id: (row) => row.name.toLowerCase(),
    size: (row) => row.area,
    runs: (row) => Object.keys(LABELS.runs_here).indexOf(model.get('runs')[row.id].kind),
    score: (row) => row.scores[model.get('rank_by')]?.[0] ?? null,
  };
  const ordered = (rows, key, down) => { // those without the figure stay last
    const having = rows.filter((row) => key(row) !== null);
    having.sort((a, b) => (down ? below(key(b), key(a)) : below(key(a), key(b))));
    return [...having, ...rows.filter((row) => key(row) === null)];
  };
  return () => {
    const rows = model.get('rows');
    if (rows !== read) {
      const pairs = ([weight, text]) => text.split(' ').map((word) => [word, Number(weight)]);
      words = new Map(rows.map((row) => [row, new Map(Object.entries(row.words).flatMap(pairs))]));
      known = new Set([...words.values()].flatMap((have) => [...have.keys()]));
      read = rows;
    }
    const wanted = searched(model.get('search_text'), known, model.get('idle'));
    const fits = new Map(rows.map((row) => [row, wanted.length ? fit(wanted, words.get(row), known) : 1]));
    const found = ordered(rows.filter((row) => fits.get(row)), (row) => fits.get(row), true);
    const chosen = Object.entries(model.get('filters'));
    const passes = (row, but) => chosen.every(([facet, some]) => facet === but || !some.length
      || values(row, facet)?.some((value) => some.includes(value)));
    const counts = {}; // of each facet among the models that pass all others
    for (const facet of [...Object.keys(rows[0]?.facets || {}), 'runs_here']) {
      const all = rows.flatMap((row) => values(row, facet));
      const left = found.filter((row) => passes(row, facet)).flatMap((row) => values(row, facet));
      const count = (list, value) => list.filter((other) => other === value).length;
      counts[facet] = [...new Set(all)].sort((a, b) => count(all, b) - count(all, a) || below(a, b))
        .map((value) => [value, count(left, value)]);
    }
    const metric = model.get('metrics').find(({ label }) => label === model.get('rank_by'));
    const [by, way] = model.get('sort');
    let hits = found.filter((row) => passes(row, null));
    if (metric) hits = ordered(hits, column.score, metric.higher);
    if (by) hits = ordered(hits, column[by] || ((row) => row[by].toLowerCase()), way === 'descending');
    return { hits, counts, metric };
  };
}

function makeFilters(model, settle) {
  const front = h('div', { class: 'mg-pills' });
  const more = h('div', { class: 'mg-pills mg-more', id: `mg-more-${Math.random()}` });
  const open = h('button', { class: 'mg-pill', type: 'button', 'aria-expanded': 'false',
    'aria-controls': more.id, onclick: () => toggle(more.hidden) }, 'more filters');
  const toggle = (show) => {
    more.hidden = !show;
    open.setAttribute('aria-expanded', String(show));
  };
  toggle(false);
  const flip = (facet, value) => {
    const filters = { ...model.get('filters') };
    const was = filters[facet] || [];
    const now = was.includes(value) ? was.filter((one) => one !== value) : [...was, value];
    if (now.length) filters[facet] = now; else delete filters[facet];
    model.set('filters', filters);
    settle();
  };
  const pill = (facet, value, count, on) => {
    const words = LABELS[facet]?.[value];
    const short = facet === 'modality' || !words ? value : words;
    return h('button', { class: `mg-pill${count ? '' : ' mg-none'}`, type: 'button',
      'data-key': `${facet}/${value}`, 'aria-pressed': String(on),
      'aria-label': `${words || value}, ${count} models`,
      title: words || value, onclick: () => flip(facet, value) },
    `${short} `, h('span', { class: 'mg-count' }, String(count)));
  };
  let counts = {};
  const pills = (facet, only) => (counts[facet] || [])
    .filter(([value]) => !only || only.includes(value))
    .map(([value, count]) => pill(facet, value, count,
      (model.get('filters')[facet] || []).includes(value)));
  const draw = (found) => {
    counts = found.counts;
    const key = document.activeElement?.dataset?.key; // the pill in use keeps the focus
    const groups = Object.entries(FRONT).map(([facet, only]) => h('span',
      { class: 'mg-group', role: 'group', 'aria-label': facet }, ...pills(facet, only)));
    front.replaceChildren(...groups, open);
    const any = Object.keys(model.get('filters')).length > 0;
    if (any) {
      front.append(h('button', { class: 'mg-pill mg-clear', type: 'button', 'data-key': 'clear',
        onclick: () => { model.set('filters', {}); settle(); } }, 'clear filters'));
    }
    more.replaceChildren(...MORE.map((facet) => h('div',
      { class: 'mg-group', role: 'group', 'aria-label': NAMES[facet] },
      h('span', { class: 'mg-quiet' }, NAMES[facet]), ...pills(facet, null))));
    if (key) [...front.children, ...front.querySelectorAll('button'), ...more.querySelectorAll('button')]
      .find((one) => one.dataset.key === key)?.focus();
  };
  return { front, more, draw };
}

function makeTable(model, settle, select) {
  const body = h('tbody');
  let found = { hits: [] };
  const tick = (id, on) => {
    const others = model.get('ticked').filter((one) => one !== id);
    model.set('ticked', on ? [...others, id].slice(-6) : others);
  };
  const sortBy = (column) => {
    const [was, direction] = model.get('sort');
    const best = found.metric || model.get('metrics')[0];
    if (column === 'score') model.set('rank_by', best?.label || '');
    const first = column === 'score' && best?.higher ? 'descending' : 'ascending';
    const second = first === 'ascending' ? 'descending' : 'ascending';
    const next = was !== column ? first : direction === first ? second : null;
    model.set('sort', next ? [column, next] : []);
    settle();
  };
  const heads = COLUMNS.map(([column, name]) => h('th', { scope: 'col', class: `mg-c-${column}` },
    h('button', { type: 'button', title: `sort by ${name}`, onclick: () => sortBy(column) }, name)));
  const blank = h('th', { scope: 'col', class: 'mg-c-tick' }, h('span', { class: 'mg-hidden' }, 'compare'));
  const table = h('table', { class: 'mg-models' },
    h('caption', { class: 'mg-hidden' }, 'Models; arrow keys move, Enter shows a model'),
    h('thead', {}, h('tr', {}, blank, ...heads)), body);
  const move = (event, id) => {
    const ids = found.hits.map((row) => row.id);
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -ids.length, End: ids.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = Math.min(ids.length - 1, Math.max(0, ids.indexOf(id) + step));
    select(ids[to]);
    body.querySelectorAll('button.mg-name')[to]?.focus();
  };
  const line = (row) => {
    const { id } = row;
    const runs = model.get('runs')[id];
    const score = found.metric ? row.scores[found.metric.label]?.[1] ?? '–' : row.score;
    const on = id === model.get('selected');
    const box = h('input', { type: 'checkbox', 'aria-label': `compare ${row.name}`,
      tabindex: on ? 0 : -1, onchange: () => tick(id, box.checked) });
    box.checked = model.get('ticked').includes(id);
    const cell = (column, text, props = {}) => h('td', { class: `mg-c-${column}`, ...props }, text);
    return h('tr', { 'data-id': id, 'aria-selected': String(on), class: on ? 'mg-on' : null,
      onclick: (event) => event.target !== box && select(id) },
    h('td', { class: 'mg-c-tick' }, box),
    h('th', { scope: 'row', class: 'mg-c-id' }, h('button', { type: 'button', class: 'mg-name',
      title: `${row.id} — ${row.title}`, tabindex: on ? 0 : -1, 'aria-pressed': String(on),
      onkeydown: (event) => move(event, id), onclick: () => select(id) }, row.name)),
    cell('modality', row.modality), cell('organ', row.organ), cell('makes', row.makes),
    cell('size', row.size),
    cell('licence', row.licence, row.stated ? {} : { class: 'mg-c-licence mg-warn', title: 'licence not stated' }),
    cell('score', score), cell('runs', runs.short, { title: runs.why }));
  };
  const show = (tr) => { // scroll the list, never the page
    const list = table.parentElement;
    if (!tr || !list) return;
    const head = table.tHead.offsetHeight;
    if (tr.offsetTop < list.scrollTop + head) list.scrollTop = tr.offsetTop - head;
    const low = tr.offsetTop + tr.offsetHeight - list.clientHeight;
    if (low > list.scrollTop) list.scrollTop = low;
  };
  let before = '';
  const draw = (now = found) => {
    found = now;
    const focused = document.activeElement;
    const held = body.contains(focused) ? focused.closest('tr')?.dataset.id : null;
    const tag = focused?.tagName;
    const [column, direction] = model.get('sort');
    const ranked = !column && found.metric;
    COLUMNS.forEach(([name], index) => {
      const way = name === column ? direction
        : ranked && name === 'score' ? (found.metric.higher ? 'descending' : 'ascending') : 'none';
      heads[index].setAttribute('aria-sort', way);
    });
    body.replaceChildren(...found.hits.map(line));
    if (!body.querySelector('[tabindex="0"]')) {
      body.querySelector('button.mg-name')?.setAttribute('tabindex', '0');
    }
    const order = JSON.stringify([column, direction, ranked?.label]);
    if (before && order !== before) table.parentElement.scrollTop = 0; // the best first, in sight
    else show(body.querySelector('tr.mg-on'));
    before = order;
    if (held) [...body.children].find((tr) => tr.dataset.id === held)
      ?.querySelector(tag === 'INPUT' ? 'input' : 'button')?.focus({ preventScroll: true });
  };
  return { table, draw };
}

async function drawPreview(place, view, name) {
  place.replaceChildren();
  if (!view?.byteLength) return;
  const bytes = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
  let sheet;
  try {
    sheet = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  } catch { return; } // a damaged picture leaves the card without one
  const side = sheet.height;
  const count = Math.min(8, Math.max(1, Math.floor(sheet.width / side)));
  const tiles = Array.from({ length: count }, (_, n) => {
    const canvas = h('canvas', { width: side, height: side, role: 'img',
      'aria-label': `synthetic image ${n + 1} of ${name}` });
    canvas.getContext('2d').drawImage(sheet, n * side, 0, side, side, 0, 0, side, side);
    return h('div', { class: 'mg-thumb' }, canvas, h('span', { 'aria-hidden': 'true' }, 'SYNTHETIC'));
  });
  place.replaceChildren(...tiles);
}

function makeDetail(model) {
  const pane = h('aside', { class: 'mg-detail', 'aria-label': 'the selected model' });
  const shots = h('div', { class: 'mg-shots' });
  const entry = ({ term, text, note, tone, whole }) => [h('dt', {}, term),
    h('dd', {}, h('span', { class: tone === 'warn' ? 'mg-warn' : null }, text),
      note ? h('span', { class: 'mg-quiet', title: whole || null },
      `${note.startsWith('[') ? ' ' : ' · '}${note}`) : null)];
  const corrected = (notes) => h('details', {}, h('summary', {},
    `${notes.length} ${notes.length > 1 ? 'corrections' : 'correction'} to the published facts`),
  h('ul', {}, ...notes.map((n) => h('li', {}, h('b', {}, n.field), `: ${n.published} → ${n.corrected}`,
    h('div', { class: 'mg-quiet' }, n.reason)))));
  const draw = () => {
    const card = model.get('detail');
    if (!card.id) {
      pane.replaceChildren(h('p', { class: 'mg-quiet' }, 'Choose a model to see its card.'));
      return;
    }
    const name = card.id.split(/(?<=[_-])/).flatMap((part) => [part, h('wbr')]); // long ids break here
    pane.replaceChildren(h('h4', {}, ...name),
      card.title !== card.id ? h('p', {}, card.title) : '',
      h('p', { class: 'mg-quiet mg-about' }, card.about), shots,
      h('dl', {}, ...card.lines.flatMap(entry)),
      card.corrections.length ? corrected(card.corrections) : '',
      /^https?:\/\//.test(card.source) ? h('p', {}, h('a', { href: card.source, target: '_blank',
        rel: 'noopener noreferrer' }, 'where it was published')) : '',
      h('p', { class: 'mg-marks' }, ...card.marks.map((mark) => h('span', { class: 'mg-mark' }, mark))));
  };
  const paint = () => drawPreview(shots, model.get('preview'), model.get('selected'));
  return { pane, draw, paint };
}

function makeComparison(model, ask) {
  const place = h('section', { class: 'mg-comparison', 'aria-label': 'models side by side' });
  const draw = () => {
    const { names = [], rows = [] } = model.get('comparison');
    place.hidden = !names.length;
    place.replaceChildren(
      h('div', { class: 'mg-comparison-head' }, h('b', {}, `${names.length} models side by side`),
        h('button', { type: 'button', onclick: () => ask({ kind: 'compare', ids: [] }) }, 'Close')),
      h('div', { class: 'mg-scroll', tabindex: 0, role: 'group', 'aria-label': 'comparison' },
        h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, ''),
          ...names.map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ...rows.map(({ fact, values, differ }) => h('tr', { class: differ ? 'mg-differ' : null },
          h('th', { scope: 'row' }, fact), ...values.map((value) => h('td', {}, value))))))));
  };
  return { place, draw };
}

function makeButtons(model, ask, settle) {
  const why = h('span', { class: 'mg-why mg-quiet', id: `mg-why-${Math.random()}` });
  const use = h('button', { type: 'button', class: 'mg-use', 'aria-describedby': why.id,
    onclick: () => model.get('detail').runs && ask({ kind: 'use' }) }, 'Use this model');
  const compare = h('button', { type: 'button', onclick: () => model.get('ticked').length > 1
    && ask({ kind: 'compare', ids: model.get('ticked') }) });
  const rank = h('select', { 'aria-label': 'rank by', onchange: () => {
    model.set({ rank_by: rank.value, sort: [] });
    settle();
  } });
  const note = h('span', { class: 'mg-note mg-quiet' });
  const refresh = h('button', { type: 'button', title: 'read the model folders again',
    onclick: () => ask({ kind: 'refresh' }) }, 'Refresh');
  const place = h('div', { class: 'mg-buttons' }, use, compare,
    h('label', { class: 'mg-rank' }, h('span', { class: 'mg-quiet' }, 'Rank by '), rank), refresh, note, why);
  const draw = (found = null) => {
    const { runs, why: reason } = model.get('detail');
    use.setAttribute('aria-disabled', String(!runs));
    use.title = runs ? 'open it in Generate' : reason || '';
    why.textContent = runs || !reason ? '' : `${reason.split('. ')[0].replace(/\.$/, '')}.`;
    why.hidden = Boolean(runs) || !reason;
    const ticked = model.get('ticked').length;
    compare.textContent = ticked ? `Compare ${ticked}…` : 'Compare…';
    compare.setAttribute('aria-disabled', String(ticked < 2));
    compare.title = ticked < 2 ? 'tick two or more models in the table' : 'side by side';
    const options = ['', ...model.get('metrics').map(({ label }) => label)];
    if (!same([...rank.options].map((one) => one.value), options)) {
      rank.replaceChildren(...options.map((one) => h('option', { value: one }, one || 'as listed')));
    }
    rank.value = model.get('rank_by');
    if (found) note.textContent = found.metric?.note || 'Scores of different extractors (FD, FID) do not compare.';
  };
  return { place, draw };
}

function makeBroken(model) {
  const place = h('details', { class: 'mg-broken' });
  const draw = () => {
    const broken = model.get('broken');
    place.hidden = !broken.length;
    place.replaceChildren(h('summary', {}, `${broken.length} that could not be read`),
      h('ul', {}, ...broken.map(({ path, reason }) => h('li', {}, h('b', {}, path), ` ${reason}`))));
  };
  return { place, draw };
}

function render({ model, el }) {
  const message = h('p', { class: 'mg-message', role: 'status', hidden: '' });
  const say = (text) => { message.textContent = text; message.hidden = !text; };
  const heard = () => say('');
  const talk = newTalk(model, { onSilence: say });
  const ask = (content) => {
    model.save_changes(); // what was typed and ticked meanwhile travels along
    talk.ask(content);
  };
  const select = (id) => {
    if (id === model.get('selected')) return;
    model.set('selected', id);
    ask({ kind: 'select', model: id });
  };
  const find = makeFinder(model);
  const settle = () => { // done typing or filtering: the card follows the first hit
    const { hits } = find();
    if (hits.length && !hits.some((row) => row.id === model.get('selected'))) select(hits[0].id);
    else model.save_changes();
  };
  const filters = makeFilters(model, settle);
  const table = makeTable(model, settle, select);
  const detail = makeDetail(model);
  const comparison = makeComparison(model, ask);
  const buttons = makeButtons(model, ask, settle);
  const broken = makeBroken(model);
  const { step, cache, draw: drawPackages } = makePackages(model, ask);
  const search = h('input', { type: 'search', class: 'mg-search', 'aria-label': 'search models',
    placeholder: 'breast mri, polyp mask, 128', maxlength: 200, spellcheck: 'false',
    oninput: () => model.set('search_text', search.value), onchange: settle,
    onkeydown: (event) => {
      if (event.key === 'ArrowDown') { event.preventDefault(); table.table.querySelector('button[tabindex="0"]')?.focus(); }
    } });
  const count = h('span', { class: 'mg-total', role: 'status' });
  const nothing = h('p', { class: 'mg-nearest' }, 'No model fits all of this. ',
    h('button', { type: 'button', class: 'mg-link', onclick: () => {
      model.set({ search_text: '', filters: {} });
      settle();
    } }, 'Clear search and filters'));
  el.append(h('div', { class: 'mg-explorer' },
    h('div', { class: 'mg-bar' }, search, filters.front, count), filters.more, message,
    h('div', { class: 'mg-split' },
      h('div', { class: 'mg-left' }, nothing, h('div', { class: 'mg-scroll mg-list' }, table.table),
        buttons.place, step.place, comparison.place, broken.place, cache.place), detail.pane)));
  const drawRows = () => {
    const found = find();
    if (search.value !== model.get('search_text')) search.value = model.get('search_text');
    count.textContent = `${found.hits.length} of ${model.get('rows').length}`;
    nothing.hidden = found.hits.length > 0;
    table.table.hidden = !found.hits.length;
    [filters, table, buttons].forEach((part) => part.draw(found));
  };
  model.on('msg:custom', heard);
  const stops = [
    follow(model, ['search_text', 'filters', 'rank_by', 'sort', 'rows', 'runs', 'metrics'], drawRows),
    follow(model, ['selected', 'ticked'], () => { table.draw(); buttons.draw(); }),
    follow(model, ['detail'], () => { heard(); [detail, buttons, step].forEach((part) => part.draw()); }),
    follow(model, ['preview'], detail.paint),
    follow(model, ['comparison'], comparison.draw),
    follow(model, ['broken'], broken.draw),
    follow(model, ['transfers', 'packages', 'lock_note'], drawPackages),
    talk.stop,
    () => model.off('msg:custom', heard),
  ];
  return () => stops.forEach((stop) => stop());
}
export default { render };
