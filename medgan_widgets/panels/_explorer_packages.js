// The explorer's share in medigan's packages: the one next step of the selected model,
// and what lies in the cache.
function makePackages(model, ask) {
  const tell = (kind, id, more = {}) => ask({ kind, model: id, ...more });
  const [step, cache] = [makeStep(model, tell), makeCache(model, tell)];
  return { step, cache, draw: () => { step.draw(); cache.draw(); } };
}

function makeStep(model, tell) {
  const place = h('section', { class: 'mg-step', 'aria-label': 'what this model needs next' });
  const declined = new Set(); // packages whose code somebody said no to, in this view
  const key = (detail) => `${detail.id} ${detail.step.sha256}`;
  const button = (name, act, props = {}) => h('button', { type: 'button', onclick: act, ...props }, name);
  const quiet = (name, act) => button(name, act, { class: 'mg-link mg-soft' });

  const code = (text) => {
    const said = h('span', { class: 'mg-quiet', role: 'status' });
    const copy = button('Copy', async () => {
      await copyText(text);
      said.textContent = 'copied';
      setTimeout(() => { said.textContent = ''; }, 2000);
      copy.focus();
    });
    return h('div', { class: 'mg-code' },
      h('pre', { class: 'mg-scroll', tabindex: 0, role: 'group', 'aria-label': 'lines to type' }, h('code', {}, text)),
      h('div', { class: 'mg-code-side' }, copy, said));
  };
  const needs = ({ kind, missing = [], type }) => [
    h('p', {}, kind === 'packages' ? 'Type this in a terminal, then press Refresh:'
      : `Missing: ${missing.join(', ')}. Type this in a terminal, its last line in a notebook, then press Refresh:`),
    type ? code(type) : null];
  const download = (id, size, first) => button(size ? `Download ${size}` : 'Download',
    () => tell('download', id), { class: first ? 'mg-use' : null });
  const question = (detail) => {
    const { id, step } = detail;
    const about = h('div', { id: `mg-asks-${Math.random()}` },
      ...step.text.split('\n').map((line) => h('p', {}, line)));
    const box = h('input', { type: 'checkbox' });
    const yes = button('Yes, run its code', () => tell('trust', id,
      { sha256: step.sha256, pickle: Boolean(step.pickle) && box.checked }), { class: 'mg-use' });
    const no = button('No', () => { declined.add(key(detail)); draw(); });
    return h('div', { class: 'mg-asks', role: 'group', tabindex: -1, 'data-first': '',
      'aria-label': 'do you agree to run its code?', 'aria-describedby': about.id }, about,
    step.pickle ? h('label', { class: 'mg-pickle' }, box,
      h('span', {}, 'also read its weights as whole pickles (runs code in them)')) : null,
    h('div', { class: 'mg-row' }, yes, no));
  };
  const again = (detail) => h('div', { class: 'mg-row' }, h('span', { class: 'mg-quiet' }, 'You said no; nothing runs.'),
    button('Read it again', () => { declined.delete(key(detail)); draw(); }, { 'data-first': '' }));

  const bar = (id, { cancel }) => {
    const text = h('span', { class: 'mg-so-far' });
    const line = h('progress', { max: 1, 'aria-label': `package of ${id}` });
    const node = h('div', { class: 'mg-row mg-transfer', tabindex: -1, 'data-first': '', role: 'group',
      'aria-label': `package of ${id}` }, line, text,
    cancel ? button('Cancel', () => tell('stop', id)) : null);
    const fill = (now) => {
      text.textContent = now.text;
      if (now.part === null) line.removeAttribute('value'); else line.value = now.part;
    };
    return { node, fill };
  };

  const parts = (detail) => {
    const { id, step } = detail;
    const { kind } = step;
    const aside = [
      step.cached ? quiet(`Remove download (${step.cached})`, () => tell('remove', id)) : null,
      step.agreed && step.cached ? quiet('Withdraw consent', () => tell('withdraw', id)) : null,
    ].filter(Boolean);
    return [
      kind === 'download' ? h('div', { class: 'mg-row' }, download(id, step.size, true)) : null,
      kind === 'consent' ? (declined.has(key(detail)) ? again : question)(detail) : null,
      ...(kind === 'packages' || kind === 'interpreter' ? needs(step) : []),
      kind === 'interpreter' && !step.cached ? h('div', { class: 'mg-row' },
        h('span', {}, 'The last line needs the package downloaded:'), download(id, step.size, false)) : null,
      step.note ? h('p', { class: 'mg-warn' }, step.note) : null,
      aside.length ? h('div', { class: 'mg-row' }, ...aside) : null,
    ].filter(Boolean);
  };

  let shown = ''; // what is drawn, so that a bar only fills and nobody loses the focus
  let filling = null;
  const draw = () => {
    const detail = model.get('detail');
    const now = detail.step ? model.get('transfers')[detail.id] : undefined;
    const wanted = JSON.stringify([detail.id, detail.step, now && now.cancel, declined.has(detail.step && key(detail))]);
    if (wanted !== shown) {
      const held = place.contains(document.activeElement);
      shown = wanted;
      filling = now ? bar(detail.id, now) : null;
      const nodes = filling ? [filling.node] : detail.step?.kind ? parts(detail) : [];
      place.replaceChildren(...nodes);
      place.hidden = !nodes.length;
      if (held) { // the next thing to do, where there is one; never a button that deletes
        (place.querySelector('[data-first], .mg-use') || place.parentElement?.querySelector('.mg-buttons .mg-use'))
          ?.focus({ preventScroll: true });
      }
    }
    if (filling && now) filling.fill(now);
  };
  return { place, draw };
}

function makeCache(model, tell) {
  const total = h('summary', {});
  const body = h('tbody');
  const note = h('span', { class: 'mg-quiet', role: 'status' });
  const lock = h('button', { type: 'button', onclick: () => tell('lock', ''),
    title: 'pins hashes and consents beside your notebook, for runs where nobody can be asked' }, 'Write models.lock');
  const heads = ['model', 'size', 'SHA-256', 'source', 'consent', ''];
  const place = h('details', { class: 'mg-cache' }, total,
    h('div', { class: 'mg-scroll', tabindex: 0, role: 'group', 'aria-label': 'downloaded packages' },
      h('table', {}, h('thead', {}, h('tr', {}, ...heads.map((name) => h('th', { scope: 'col' },
        name || h('span', { class: 'mg-hidden' }, 'remove'))))), body)),
    h('div', { class: 'mg-row' }, lock, note));
  const sum = (packages) => {
    const bytes = packages.reduce((all, one) => all + one.bytes, 0);
    if (packages.length === 1) return packages[0].size;
    return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
  };
  const where = (address) => {
    try { return new URL(address).host || address; } catch { return address; }
  };
  const line = ({ id, size, sha256, source, consent }) => h('tr', {}, h('th', { scope: 'row', title: `${source} SHA-256 ${sha256}` }, id),
    h('td', {}, size), h('td', {}, h('code', { title: sha256 }, `${sha256.slice(0, 12)}…`)),
    h('td', { title: source }, where(source)), h('td', {}, consent),
    h('td', {}, h('button', { type: 'button', class: 'mg-link mg-soft', 'aria-label': `remove ${id}`,
      'aria-disabled': String(id in model.get('transfers')), onclick: () => tell('remove', id) }, 'Remove')));
  const draw = () => {
    const packages = model.get('packages');
    const held = body.contains(document.activeElement);
    place.hidden = !packages.length;
    total.textContent = `Downloaded: ${packages.length} package${packages.length === 1 ? '' : 's'}, ${sum(packages)}`;
    body.replaceChildren(...packages.map(line));
    note.textContent = model.get('lock_note');
    if (held && packages.length) total.focus({ preventScroll: true });
  };
  return { place, draw };
}
