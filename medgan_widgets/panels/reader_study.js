// One reader's page of a blinded reading: pictures, keys, and the time an answer takes.
// The page gets pixels and nothing else about them; which are synthetic it learns in the review,
// once every answer is saved.

function newReading(model) {
  const store = { stage: 'waiting', told: {}, trial: null, pictures: [], chosen: null, busy: false, note: '',
    feedback: null, review: null, since: 0, hiddenAt: 0, views: new Set() };
  const tell = (what) => store.views.forEach((view) => view(what));
  const say = (text) => { store.note = text; tell('note'); };
  const talk = newTalk(model, { onSilence: () => {
    if (!store.busy) return; // a saved view, whose hello nobody hears
    store.busy = false;
    say('No reply from the kernel yet. Your answer is kept here: press Enter to try again.');
  } });
  const ask = (content) => {
    if (store.busy) return;
    if ([...store.views].some((view) => view.gone())) {
      say('The kernel is gone; what is answered is saved. Run the cells above, then this one, to go on.');
      return;
    }
    store.busy = true;
    talk.ask(content, receive);
    tell('busy');
  };
  const now = () => performance.now();
  store.begin = () => ask({ kind: 'begin' });
  store.page = (page) => ask({ kind: 'review', page });
  store.save = () => ask({ kind: 'save' });
  store.choose = (place) => {
    if (store.stage !== 'trial' || store.busy || store.feedback) return;
    store.chosen = place;
    say('');
    tell('chosen');
  };
  store.goOn = () => {
    if (store.stage !== 'trial') return;
    if (store.feedback) { ask({ kind: 'next', token: store.trial.token }); return; }
    if (store.chosen === null) { say('Choose first.'); return; }
    if (!store.since) return; // not painted yet
    const seconds = (now() - store.since) / 1000 + (store.trial.spent || 0);
    ask({ kind: 'answer', token: store.trial.token, place: store.chosen, seconds });
  };
  store.painted = () => { if (!store.since) store.since = now(); };
  store.visibility = () => { // a page that nobody sees takes no time
    if (document.hidden) store.hiddenAt = now();
    else if (store.hiddenAt) {
      if (store.since) store.since += now() - store.hiddenAt;
      store.hiddenAt = 0;
    }
  };
  const receive = (message, buffers) => {
    store.busy = false;
    const { kind, told, note = '' } = message;
    const pictures = (buffers || []).map((each) => ({ shape: message.shape, data: bytes(each) }));
    if (told) store.told = told;
    if (kind === 'start') Object.assign(store, { stage: 'start', trial: null });
    if (kind === 'trial') {
      Object.assign(store, { stage: 'trial', trial: message, pictures, chosen: message.kept ?? null,
        feedback: null, since: 0, hiddenAt: document.hidden ? now() : 0 });
    }
    if (kind === 'feedback' && message.token === store.trial?.token) store.feedback = message;
    if (kind === 'review') Object.assign(store, { stage: 'review', review: message, pictures });
    store.note = note;
    tell(kind);
    tell('note');
  };
  talk.ask({ kind: 'hello' }, receive);
  store.stop = talk.stop;
  return store;
}

function makeReader(el, store) {
  const act = (label, run, props = {}) => h('button', { type: 'button', class: 'mg-reader-act', onclick: run, ...props }, label);
  const own = `mg-reader-${Math.random().toString(36).slice(2)}`;
  const banner = h('p', { class: 'mg-reader-banner' });
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'answered' });
  const count = h('span', { class: 'mg-reader-count' });
  const question = h('p', { class: 'mg-reader-question', id: `${own}-question`, role: 'heading', 'aria-level': '4' });
  const single = h('div', { class: 'mg-reader-single' });
  const group = h('div', { class: 'mg-reader-choices', role: 'radiogroup', tabindex: 0, 'aria-labelledby': `${own}-question` });
  const answered = h('p', { class: 'mg-reader-feedback', role: 'status' });
  const go = act('Go on', () => store.goOn(), { class: 'mg-reader-act mg-reader-go' });
  const trial = h('div', { class: 'mg-reader-trial' }, question, single, group, answered);
  const text = h('div', { class: 'mg-reader-text' });
  const begin = act('Begin', () => store.begin(), { class: 'mg-reader-act mg-reader-go mg-reader-begin' });
  const start = h('div', { class: 'mg-reader-start' }, text, begin);
  const rows = h('div', { class: 'mg-reader-rows', tabindex: 0, role: 'region', 'aria-label': 'review' });
  const own_result = h('div', { class: 'mg-reader-text' });
  const back = act('Earlier', () => turn(-1));
  const further = act('Later', () => turn(1));
  const pages = h('span');
  const save = act('Save results', () => store.save());
  const turning = h('div', { class: 'mg-reader-foot' }, back, further, pages, save);
  const review = h('div', { class: 'mg-reader-review' }, own_result, rows, turning);
  const help = h('p', { class: 'mg-reader-help' });
  const note = h('span', { class: 'mg-reader-note', role: 'status' });
  const foot = h('div', { class: 'mg-reader-foot' }, go, note);
  const root = h('div', { class: 'mg-reader', role: 'group', 'aria-label': 'blinded reading' },
    banner, h('div', { class: 'mg-reader-progress' }, bar, count), start, trial, review, foot, help);
  let radios = [];

  const turn = (step) => {
    const next = store.review.page + step;
    if (next >= 0 && next < store.review.pages) store.page(next);
  };
  const canvas = (picture) => {
    const made = h('canvas', { 'aria-hidden': 'true', 'data-jp-suppress-context-menu': 'true' });
    paint(made, picture, FULL);
    return made;
  };
  const mark = () => {
    radios.forEach((radio, place) => {
      const value = place + (store.trial.part === 'rating' ? 1 : 0);
      radio.setAttribute('aria-checked', String(store.chosen === value));
      radio.tabIndex = store.chosen === value ? 0 : -1;
    });
    group.tabIndex = store.chosen === null ? 0 : -1;
  };
  const showTrial = () => {
    const { trial: told, pictures } = store;
    const rating = told.part === 'rating';
    question.textContent = told.question;
    root.dataset.part = told.part;
    group.dataset.count = String(rating ? told.words.length : pictures.length);
    single.replaceChildren(...(rating ? [canvas(pictures[0])] : []));
    radios = (rating ? told.words : pictures).map((each, place) => h('button', {
      type: 'button', role: 'radio', class: 'mg-reader-choice', 'aria-checked': 'false', tabindex: -1,
      'aria-label': rating ? `${place + 1}, ${each}` : `image ${place + 1}`,
      onclick: () => store.choose(place + (rating ? 1 : 0)),
    }, ...(rating ? [h('b', {}, String(place + 1)), h('span', {}, each)]
      : [canvas(each), h('span', { class: 'mg-reader-key' }, h('b', {}, String(place + 1)), h('span', { class: 'mg-reader-truth' }))])));
    group.replaceChildren(...radios);
    answered.textContent = '';
    mark();
    requestAnimationFrame(() => requestAnimationFrame(() => store.painted()));
  };
  const showFeedback = () => {
    answered.textContent = store.feedback.text;
    radios.forEach((radio, place) => {
      radio.querySelector('.mg-reader-truth').textContent = store.feedback.marks[place];
      radio.setAttribute('aria-label', `image ${place + 1}, ${store.feedback.marks[place]}`);
    });
  };
  const showReview = () => {
    const { review: told, pictures } = store;
    let next = 0;
    own_result.replaceChildren(...told.lines.map((line) => h('p', {}, line)));
    rows.replaceChildren(...told.rows.map((row) => h('div', { class: 'mg-reader-row' },
      h('p', {}, h('b', {}, `${row.number}`), ` ${row.text}`),
      h('div', { class: 'mg-reader-row-images' }, ...row.marks.map((truth, place) => h('figure',
        { class: place === row.chosen ? 'mg-reader-picked' : '' }, canvas(pictures[next++]),
        h('figcaption', {}, h('b', {}, truth), place === row.chosen ? h('span', {}, 'your choice') : '')))))));
    pages.textContent = `page ${told.page + 1} of ${told.pages}`;
    back.setAttribute('aria-disabled', String(told.page === 0));
    further.setAttribute('aria-disabled', String(told.page + 1 >= told.pages));
    turning.hidden = !told.pages;
    rows.hidden = !told.pages;
  };
  const keys = () => {
    const { stage, trial: told, feedback } = store;
    if (stage === 'start') return 'Keys: Enter begins. The mouse is never needed.';
    if (stage === 'review') return store.review.pages ? 'Keys: ← and → turn the pages, s saves the results.' : '';
    if (stage !== 'trial') return '';
    if (feedback) return 'Keys: Enter goes on.';
    const last = told.part === 'rating' ? told.words.length : store.pictures.length;
    const arrows = last === 4 ? 'the arrows choose' : '← and → choose';
    return `Keys: 1 to ${last} or ${arrows}, Enter goes on. You may stop at any time and go on later.`;
  };
  const frame = () => {
    const { stage, told, trial: one } = store;
    const inside = root.contains(document.activeElement);
    start.hidden = !['start', 'waiting'].includes(stage);
    begin.hidden = stage !== 'start';
    trial.hidden = stage !== 'trial';
    review.hidden = stage !== 'review';
    go.hidden = stage !== 'trial';
    banner.textContent = told.banner || '';
    const done = one ? one.number - 1 : told.answered ?? 0;
    bar.value = told.of ? (stage === 'review' ? 1 : done / told.of) : 0;
    count.textContent = stage === 'trial' ? `${one.number} of ${told.of}` : told.of ? `${stage === 'review' ? told.of : done} of ${told.of} answered` : '';
    text.replaceChildren(...(told.lines || ['Run the cells above, then this one, to go on with the reading.']).map((line) => h('p', {}, line)));
    begin.textContent = told.answered ? 'Go on' : 'Begin';
    if (stage === 'trial') showTrial();
    if (stage === 'review') showReview();
    help.textContent = keys();
    if (inside) focus();
  };
  const focus = () => {
    const chosen = radios.find((radio) => radio.getAttribute('aria-checked') === 'true');
    const target = { start: begin, trial: chosen || group, review: store.review?.pages ? rows : null }[store.stage];
    target?.focus({ preventScroll: store.stage !== 'trial' });
    if (store.stage === 'trial') root.scrollIntoView({ block: 'nearest' });
  };
  const arrow = (key) => {
    const { trial: told, pictures, chosen } = store;
    const rating = told.part === 'rating';
    const [low, high] = rating ? [1, told.words.length] : [0, pictures.length - 1];
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: high === 3 ? -2 : -1, ArrowDown: high === 3 ? 2 : 1 }[key];
    if (!step) return false;
    if (rating) store.choose(chosen === null ? 3 : clamp(chosen + step, low, high));
    else if (high === 1) store.choose(step < 0 ? 0 : 1);
    else if (chosen === null) store.choose(step < 0 ? high : low);
    else if (chosen + step >= low && chosen + step <= high) store.choose(chosen + step);
    return true;
  };
  root.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { key, repeat, target } = event;
    const button = target.closest('.mg-reader-act');
    if (store.stage === 'review') {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (step) turn(step);
      else if (key === 's') store.save();
      else return;
      event.preventDefault();
      return;
    }
    if (key === 'Enter' && repeat) { event.preventDefault(); return; } // a key held down answers once
    if (store.stage !== 'trial' || (key === 'Enter' && button)) return;
    if (key === 'Enter') store.goOn();
    else if (/^[1-9]$/.test(key)) {
      const last = store.trial.part === 'rating' ? store.trial.words.length : store.pictures.length;
      if (Number(key) <= last) store.choose(Number(key) - (store.trial.part === 'rating' ? 0 : 1));
    } else if (!arrow(key)) return;
    event.preventDefault();
  });

  const hear = (what) => {
    if (['start', 'trial', 'review'].includes(what)) frame();
    else if (what === 'chosen') {
      mark();
      if (root.contains(document.activeElement) && document.activeElement !== go) focus();
    } else if (what === 'feedback') {
      showFeedback();
      help.textContent = keys();
    }
    note.textContent = store.note;
    root.classList.toggle('mg-reader-busy', store.busy);
    go.setAttribute('aria-disabled', String(store.busy || (store.chosen === null && !store.feedback)));
  };
  hear.gone = () => disconnected(el);
  el.append(root);
  store.views.add(hear);
  frame();
  hear('note');
  return () => store.views.delete(hear);
}

export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = newReading(model);
      document.addEventListener('visibilitychange', store.visibility);
      return () => {
        store.stop();
        document.removeEventListener('visibilitychange', store.visibility);
      };
    },
    render({ el }) { return makeReader(el, store); },
  };
};
