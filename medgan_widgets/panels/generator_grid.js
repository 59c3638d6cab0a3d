// The grid of synthetic images: one canvas a tile, keyboard, selection, saving.
// Joined by generator_grid.py behind _grid_base.js, _grid_store.js, _grid_controls.js, _large_view.js.

function makeView(model, el, store) {
  const look = { open: null, active: 0, chosen: new Set(), window: { ...FULL }, zoom: 1, x: 0, y: 0, dragged: false, masks: true };
  const noteText = h('span', { class: 'mg-note', role: 'status' });
  const note = {
    say: (text) => { noteText.textContent = text; },
    disconnected: () => {
      const gone = Boolean(el.closest('.jupyter-widgets-disconnected'));
      if (gone) note.say('No kernel is behind these images: run the cells above, then this one, to make new ones.');
      return gone;
    },
  };
  const cells = h('div', { class: 'mg-cells', role: 'grid', 'aria-label': 'synthetic images',
    'aria-multiselectable': 'true', 'data-jp-suppress-context-menu': 'true' });
  let nodes = [];
  const aim = () => {
    for (const key of ['x', 'y', 'zoom']) root.style.setProperty(`--mg-${key}`, look[key]);
    root.classList.toggle('mg-close-up', look.zoom > 3);
  };
  const act = {
    ...makeLens(look, aim, () => repaint()),
    open(place) {
      const focus = look.open !== null && place === null;
      const opened = look.open === null && place !== null;
      look.open = place;
      side.show();
      mark();
      if (opened) side.frame.scrollIntoView({ block: 'nearest' }); // in a narrow cell it lies below
      if (focus) nodes[look.active]?.focus();
    },
    choose(place) {
      if (!look.chosen.delete(place) && store.tiles.has(place)) look.chosen.add(place);
      mark();
    },
    recipe(status) {
      if (note.disconnected()) return;
      store.ask({ kind: 'export', what: 'recipe', id: store.id, tiles: [one()] }, async (message) => {
        if (message.text) await copyText(message.text);
        status.textContent = message.text ? 'copied' : '';
        setTimeout(() => { status.textContent = ''; }, 2000);
      });
    },
    save(what) {
      const many = look.chosen.size ? [...look.chosen].sort((a, b) => a - b) : [...store.tiles.keys()];
      const tiles = what === 'png' ? [one()] : many;
      if (note.disconnected() || !store.tiles.size) return;
      store.ask({ kind: 'export', what, id: store.id, tiles }, (message, buffers) => {
        if (message.kind === 'file') download(message.name, message.mime, bytes(buffers[0]));
      });
    },
  };
  const one = () => (look.chosen.size && !look.chosen.has(look.active)
    ? Math.min(...look.chosen) : look.open ?? look.active);
  const controls = makeControls(model, store, note);
  const side = makeSide(store, look, act);
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'images made' });
  const count = h('span');
  const chosen = h('span');
  const timing = h('span', { class: 'mg-timing' });
  const button = (label, title, onclick) => h('button', { type: 'button', title, onclick }, label);
  const masks = h('button', { type: 'button', class: 'mg-masks', 'aria-pressed': 'true', title: 'masks over the images (m)',
    onclick: () => { look.masks = !look.masks; repaint(); mark(); } }, 'Masks');
  const foot = h('div', { class: 'mg-foot', role: 'group', 'aria-label': 'save' }, chosen,
    button('PNG', 'one image with its recipe inside', () => act.save('png')),
    button('Zip', 'the selected images, or all, each with its recipe', () => act.save('zip')), masks, timing);
  const root = h('div', { class: 'mg-grid', tabindex: -1 }, controls.node,
    h('div', { class: 'mg-progress' }, ...controls.buttons, bar, count, noteText),
    h('div', { class: 'mg-body' }, cells, side.node), foot);

  function rebuild() {
    const columns = model.get('columns');
    const total = store.total || Number(model.get('controls').images) || 0;
    cells.style.setProperty('--mg-columns', columns);
    cells.setAttribute('aria-colcount', columns);
    cells.setAttribute('aria-rowcount', Math.ceil(total / columns));
    nodes = Array.from({ length: total }, (_, place) => h('div',
      { class: 'mg-tile', role: 'gridcell', tabindex: -1, 'data-place': place },
      h('span', { class: 'mg-half mg-result' }, h('canvas', { class: 'mg-pixels' })),
      h('span', { class: 'mg-mark' }, h('b', {}, 'SYNTHETIC'), h('span', {}))));
    const rows = [];
    for (let n = 0; n < total; n += columns) rows.push(h('div', { role: 'row' }, ...nodes.slice(n, n + columns)));
    const focused = cells.contains(document.activeElement);
    cells.replaceChildren(...rows);
    look.active = Math.min(look.active, Math.max(0, total - 1));
    store.tiles.forEach((_, place) => draw(place));
    mark();
    if (focused) nodes[look.active]?.focus({ preventScroll: true });
  }
  function draw(place) {
    const [node, tile] = [nodes[place], store.tiles.get(place)];
    if (!node || !tile) return;
    pair(node, tile);
    const half = node.querySelector('.mg-result');
    paint(half.firstChild, tile, look.window);
    dress(half, tile, look);
    node.classList.add('mg-made');
    const { label } = tile.labels;
    node.lastChild.lastChild.textContent = [`seed ${tile.seed}`, label === undefined ? '' : word(label), tile.note]
      .filter(Boolean).join(' · ');
  }
  function mark() {
    nodes.forEach((node, place) => {
      node.tabIndex = place === look.active ? 0 : -1;
      node.setAttribute('aria-selected', String(look.chosen.has(place)));
      node.setAttribute('aria-label', describe(store, place) + (look.chosen.has(place) ? ', selected' : ''));
      node.classList.toggle('mg-opened', place === look.open);
    });
    foot.querySelectorAll('button').forEach((each) => each.setAttribute('aria-disabled', String(!store.tiles.size)));
    masks.hidden = ![...store.tiles.values()].some((tile) => tile.extra.mask);
    masks.setAttribute('aria-pressed', String(look.masks));
    const png = `PNG takes seed ${store.tiles.get(one())?.seed ?? '–'}`;
    const none = store.tiles.size ? `none selected: ${png}, Zip all ${store.tiles.size}` : 'no images yet';
    chosen.textContent = look.chosen.size ? `${look.chosen.size} selected: ${png}` : none;
  }
  function repaint() { store.tiles.forEach((_, place) => draw(place)); side.show(); }
  function progress() {
    const of = store.of || store.total;
    bar.value = of ? store.done / of : 0;
    const rate = store.rate ? ` · ${Math.round(store.rate)} images/s` : '';
    count.textContent = of ? `${store.done} / ${of}${rate}${store.state === 'cancelled' ? ' · cancelled' : ''}` : '';
    timing.textContent = store.first && store.state === 'done'
      ? `last request ${Math.round(store.first)} ms to first tile · engine ${Math.round(store.seconds * 1000)} ms` : '';
    controls.progress();
    note.disconnected();
  }
  const hear = ({ kind, place }) => {
    if (kind === 'tile') {
      draw(place); // marks come once a message, with its progress
      if (place === look.open || store.tiles.size === 1) side.show();
    } else if (kind === 'fresh') {
      look.chosen.clear();
      rebuild();
      side.show();
    } else if (kind === 'saving') controls.enable();
    else {
      mark();
      progress();
    }
  };
  const step = () => ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -model.get('columns'), ArrowDown: model.get('columns'),
    Home: -look.active, End: nodes.length - 1 - look.active });
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && look.open !== null) { act.open(null); event.stopPropagation(); return; }
    const onTile = cells.contains(event.target);
    if (!(onTile || event.target === root || event.target === side.frame)) return; // a field, a button
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = step()[event.key];
    if (by !== undefined) {
      if (nodes[look.active + by]) look.active += by;
      mark();
      if (onTile) nodes[look.active]?.focus();
      if (look.open !== null && store.tiles.has(look.active)) act.open(look.active);
    } else if (event.key === ' ') act.choose(look.active);
    else if (event.key === 'Enter') act.open(look.active);
    else if (event.key === '+' || event.key === '-') act.zoom(look.zoom * (event.key === '+' ? 1.25 : 0.8), [0.5, 0.5]);
    else if (event.key === '0') act.reset();
    else if (event.key === 'm' && !masks.hidden) masks.click();
    else return;
    event.preventDefault();
  });
  cells.addEventListener('click', (event) => {
    const tile = event.target.closest('.mg-tile');
    if (!tile || look.dragged) return;
    look.active = Number(tile.dataset.place);
    if (event.ctrlKey || event.metaKey || event.shiftKey) act.choose(look.active);
    else act.open(look.active);
    tile.focus({ preventScroll: true });
  });
  watchPointer(cells, (node) => node.closest('.mg-tile'), look, act, false);
  watchPointer(side.frame, () => side.frame, look, act, true);
  const changes = {
    'change:columns': () => { controls.columns(); rebuild(); },
    'change:controls': () => { controls.show(); store.total || rebuild(); },
    'change:models': () => controls.show(),
    'change:sources': () => controls.sources(),
    // The front end marks the views a moment after it has lost or found the kernel.
    comm_live_update: () => setTimeout(() => note.disconnected() || note.say(''), 100),
  };
  for (const [name, call] of Object.entries(changes)) model.on(name, call);
  store.views.add(hear);
  el.append(root);
  rebuild();
  side.show();
  progress();
  return () => {
    store.views.delete(hear);
    for (const [name, call] of Object.entries(changes)) model.off(name, call);
  };
}

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = newStore(model);
      model.on('msg:custom', store.receive);
      model.on('change:picture', store.restore);
      store.restore().catch(() => {}).finally(store.hello);
    },
    render: ({ model, el }) => makeView(model, el, store),
  };
};
