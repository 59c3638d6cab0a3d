// The model explorer's page: asks by changing a few traits, shows what comes back.
// Everything a card says is set as text, so markup in a card stays text.
const COLUMNS = [['id', 'model'], ['modality', 'modality'], ['organ', 'organ'], ['makes', 'makes'],
  ['size', 'size'], ['licence', 'licence'], ['score', 'score'], ['runs', 'runs here']];
const FRONT = { modality: null, organ: null, outputs: ['mask'], runs_here: ['now'] }; // null: all
const MORE = ['runs_here', 'outputs', 'function', 'size', 'licence', 'origin'];
const NAMES = { runs_here: 'runs here', outputs: 'makes', function: 'how', size: 'size',
  licence: 'licence', origin: 'from' };

// Questions and answers of one view
function makeAsk(model, note) {
  let timer = 0;
  const silent = (nothing) => () => {
    if (!nothing()) note('No answer from the kernel: it is busy, or gone; then run the cells above and this one again.');
  };
  const wait = (answered) => { clearTimeout(timer); timer = setTimeout(silent(answered), SILENT); };
  const ask = (changes) => {
    const asked = (model.get('asked') || 0) + 1;
    Object.entries(changes).forEach(([name, value]) => model.set(name, value));
    model.set('asked', asked);
    model.save_changes();
    wait(() => (model.get('found').answer ?? 0) >= asked);
  };
  const select = (id) => {
    if (id === model.get('selected')) return;
    model.set('selected', id);
    model.save_changes();
    wait(() => model.get('detail').id === id);
  };
  return { ask, select, wait, stop: () => clearTimeout(timer) };
}

function makeFilters(model, ask) {
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
    ask({ filters });
  };
  const pill = (facet, value, count, on) => {
    const words = (model.get('labels')[facet] || {})[value];
    const short = facet === 'modality' || !words ? value : words;
    return h('button', { class: `mg-pill${count ? '' : ' mg-none'}`, type: 'button',
      'data-key': `${facet}/${value}`, 'aria-pressed': String(on),
      'aria-label': `${words || value}, ${count} models`,
      title: words || value, onclick: () => flip(facet, value) },
    `${short} `, h('span', { class: 'mg-count' }, String(count)));
  };
  const pills = (facet, only) => (model.get('found').facets?.[facet] || [])
    .filter(([value]) => !only || only.includes(value))
    .map(([value, count]) => pill(facet, value, count,
      (model.get('filters')[facet] || []).includes(value)));
  const draw = () => {
    const key = document.activeElement?.dataset?.key; // the pill in use keeps the focus
    const groups = Object.entries(FRONT).map(([facet, only]) => h('span',
      { class: 'mg-group', role: 'group', 'aria-label': facet }, ...pills(facet, only)));
    front.replaceChildren(...groups, open);
    const any = Object.keys(model.get('filters')).length > 0;
    if (any) {
      front.append(h('button', { class: 'mg-pill mg-clear', type: 'button', 'data-key': 'clear',
        onclick: () => ask({ filters: {} }) }, 'clear filters'));
    }
    more.replaceChildren(...MORE.map((facet) => h('div',
      { class: 'mg-group', role: 'group', 'aria-label': NAMES[facet] },
      h('span', { class: 'mg-quiet' }, NAMES[facet]), ...pills(facet, null))));
    if (key) [...front.children, ...front.querySelectorAll('button'), ...more.querySelectorAll('button')]
      .find((one) => one.dataset.key === key)?.focus();
  };
  return { front, more, draw };
}

function makeTable(model, { ask, select }, tick) {
  const body = h('tbody');
  const sortBy = (column) => {
    const [was, direction] = model.get('sort');
    const metrics = model.get('metrics');
    const rank = column === 'score' && !model.get('rank_by') ? { rank_by: metrics[0] || '' } : {};
    const first = column === 'score' && model.get('found').higher ? 'descending' : 'ascending';
    const second = first === 'ascending' ? 'descending' : 'ascending';
    const next = was !== column ? first : direction === first ? second : null;
    ask({ ...rank, sort: next ? [column, next] : [] });
  };
  const heads = COLUMNS.map(([column, name]) => h('th', { scope: 'col', class: `mg-c-${column}` },
    h('button', { type: 'button', title: `sort by ${name}`, onclick: () => sortBy(column) }, name)));
  const blank = h('th', { scope: 'col', class: 'mg-c-tick' }, h('span', { class: 'mg-hidden' }, 'compare'));
  const table = h('table', { class: 'mg-models' },
    h('caption', { class: 'mg-hidden' }, 'Models; arrow keys move, Enter shows a model'),
    h('thead', {}, h('tr', {}, blank, ...heads)), body);
  const move = (event, id) => {
    const ids = model.get('found').ids;
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -ids.length, End: ids.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = Math.min(ids.length - 1, Math.max(0, ids.indexOf(id) + step));
    select(ids[to]);
    body.querySelectorAll('button.mg-name')[to]?.focus();
  };
  const line = (id) => {
    const row = model.get('rows')[id];
    if (!row) return null;
    const score = model.get('found').scores[id] ?? '–';
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
    cell('score', score), cell('runs', row.runs, { title: row.why }));
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
  const draw = () => {
    const focused = document.activeElement;
    const held = body.contains(focused) ? focused.closest('tr')?.dataset.id : null;
    const tag = focused?.tagName;
    const [column, direction] = model.get('sort');
    const ranked = !column && model.get('rank_by');
    COLUMNS.forEach(([name], index) => {
      const way = name === column ? direction
        : ranked && name === 'score' ? (model.get('found').higher ? 'descending' : 'ascending') : 'none';
      heads[index].setAttribute('aria-sort', way);
    });
    body.replaceChildren(...(model.get('found').ids || []).map(line).filter(Boolean));
    if (!body.querySelector('[tabindex="0"]')) {
      body.querySelector('button.mg-name')?.setAttribute('tabindex', '0');
    }
    const order = JSON.stringify([column, direction, ranked]);
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

function makeComparison(model) {
  const place = h('section', { class: 'mg-comparison', 'aria-label': 'models side by side' });
  const draw = () => {
    const { names = [], rows = [] } = model.get('comparison');
    place.hidden = !names.length;
    place.replaceChildren(
      h('div', { class: 'mg-comparison-head' }, h('b', {}, `${names.length} models side by side`),
        h('button', { type: 'button', onclick: () => model.send({ kind: 'compare', ids: [] }) }, 'Close')),
      h('div', { class: 'mg-scroll', tabindex: 0, role: 'group', 'aria-label': 'comparison' },
        h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, ''),
          ...names.map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ...rows.map(({ fact, values, differ }) => h('tr', { class: differ ? 'mg-differ' : null },
          h('th', { scope: 'row' }, fact), ...values.map((value) => h('td', {}, value))))))));
  };
  return { place, draw };
}

function makeButtons(model, ask) {
  const why = h('span', { class: 'mg-why mg-quiet', id: `mg-why-${Math.random()}` });
  const use = h('button', { type: 'button', class: 'mg-use', 'aria-describedby': why.id,
    onclick: () => model.get('detail').runs && model.send({ kind: 'use' }) }, 'Use this model');
  const compare = h('button', { type: 'button', onclick: () => model.get('ticked').length > 1
    && model.send({ kind: 'compare', ids: model.get('ticked') }) });
  const rank = h('select', { 'aria-label': 'rank by', onchange: () => ask({ rank_by: rank.value, sort: [] }) });
  const note = h('span', { class: 'mg-note mg-quiet' });
  const refresh = h('button', { type: 'button', title: 'read the model folders again',
    onclick: () => model.send({ kind: 'refresh' }) }, 'Refresh');
  const place = h('div', { class: 'mg-buttons' }, use, compare,
    h('label', { class: 'mg-rank' }, h('span', { class: 'mg-quiet' }, 'Rank by '), rank), refresh, note, why);
  const draw = () => {
    const { runs, why: reason } = model.get('detail');
    use.setAttribute('aria-disabled', String(!runs));
    use.title = runs ? 'open it in Generate' : reason || '';
    why.textContent = runs || !reason ? '' : `${reason.split('. ')[0].replace(/\.$/, '')}.`;
    why.hidden = Boolean(runs) || !reason;
    const ticked = model.get('ticked').length;
    compare.textContent = ticked ? `Compare ${ticked}…` : 'Compare…';
    compare.setAttribute('aria-disabled', String(ticked < 2));
    compare.title = ticked < 2 ? 'tick two or more models in the table' : 'side by side';
    const options = ['', ...model.get('metrics')];
    if (!same([...rank.options].map((one) => one.value), options)) {
      rank.replaceChildren(...options.map((one) => h('option', { value: one }, one || 'as listed')));
    }
    rank.value = model.get('rank_by');
    note.textContent = model.get('found').note || '';
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
  const asking = makeAsk(model, say);
  const tick = (id, on) => {
    const others = model.get('ticked').filter((one) => one !== id);
    model.set('ticked', on ? [...others, id].slice(-6) : others);
    model.save_changes();
  };
  const filters = makeFilters(model, asking.ask);
  const table = makeTable(model, asking, tick);
  const detail = makeDetail(model);
  const comparison = makeComparison(model);
  const buttons = makeButtons(model, asking.ask);
  const broken = makeBroken(model);
  const { step, shelf, draw: going } = makePackages(model, asking.wait, say);
  let typing = 0;
  const send = () => { clearTimeout(typing); if (search.value !== model.get('search_text')) asking.ask({ search_text: search.value }); };
  const search = h('input', { type: 'search', class: 'mg-search', 'aria-label': 'search models',
    placeholder: 'breast mri, polyp mask, 128', maxlength: 200, spellcheck: 'false',
    oninput: () => { clearTimeout(typing); typing = setTimeout(send, 120); },
    onkeydown: (event) => {
      if (event.key === 'Enter') send();
      if (event.key === 'ArrowDown') { event.preventDefault(); table.table.querySelector('button[tabindex="0"]')?.focus(); }
    } });
  const count = h('span', { class: 'mg-total' });
  const nearest = h('p', { class: 'mg-nearest' });
  const root = h('div', { class: 'mg-explorer' },
    h('div', { class: 'mg-bar' }, search, filters.front, count), filters.more, message,
    h('div', { class: 'mg-split' },
      h('div', { class: 'mg-left' }, nearest, h('div', { class: 'mg-scroll mg-list' }, table.table),
        buttons.place, step.place, comparison.place, broken.place, shelf.place), detail.pane));
  const found = () => {
    say('');
    const { ids = [], nearest: near = {} } = model.get('found');
    if (document.activeElement !== search) search.value = model.get('search_text');
    count.textContent = `${ids.length} of ${Object.keys(model.get('rows')).length}`;
    nearest.hidden = ids.length > 0;
    table.table.hidden = !ids.length;
    nearest.replaceChildren(near.sentence || 'No model fits.');
    if (near.search) nearest.append(' ', h('button', { type: 'button', class: 'mg-link',
      onclick: () => { search.value = near.search; send(); } }, `search “${near.search}”`));
    [filters, table, buttons].forEach((part) => part.draw());
  };
  const chosen = () => { say(''); [detail, buttons, step].forEach((part) => part.draw()); };
  const heard = [['found rows metrics', found], ['selected ticked', () => { table.draw(); buttons.draw(); }],
    ['detail', chosen], ['preview', detail.paint], ['comparison', comparison.draw], ['broken', broken.draw], ['transfers packages lock_note', going]]
    .flatMap(([names, act]) => names.split(' ').map((name) => [`change:${name}`, act]));
  heard.forEach(([name, act]) => model.on(name, act));
  el.append(root);
  found();
  [chosen, detail.paint, comparison.draw, broken.draw, shelf.draw].forEach((draw) => draw());
  return () => {
    clearTimeout(typing);
    asking.stop();
    heard.forEach(([name, act]) => model.off(name, act));
  };
}
export default { render };
