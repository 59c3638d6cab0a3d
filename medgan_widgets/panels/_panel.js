// The lines at the top of a panel, and what a panel needs of its notebook.
// No plain key pressed inside reaches the notebook, where `m` turns the panel's cell into text and
// `d d` deletes it; saving and the like do. Jupyter passes over what is below an element with this
// mark, but asks the focused one first, at the document: so it is set or taken at the window.
function guard(root) {
  root.tabIndex = -1; // a click anywhere inside keeps the focus inside
  const passes = ({ ctrlKey, metaKey, shiftKey, key }) => (ctrlKey || metaKey)
    && (/^[spb]$/i.test(key) || (shiftKey && /^c$/i.test(key))); // save, print, side bar, palette
  const mark = (event) => {
    if (!root.contains(event.target)) return;
    const pass = passes(event);
    event.target.toggleAttribute('data-lm-suppress-shortcuts', !pass);
    for (let node = event.target; pass && node !== root.parentElement; node = node.parentElement) {
      node.removeAttribute('data-lm-suppress-shortcuts');
    }
  };
  window.addEventListener('keydown', mark, true);
  return () => window.removeEventListener('keydown', mark, true);
}

const STATE = 'application/vnd.jupyter.widget-state+json';
const VIEW = 'application/vnd.jupyter.widget-view+json';

// All models that some of them lead to.
function reached(ids, states) {
  const found = new Set();
  const next = [...ids];
  while (next.length) {
    const id = next.pop();
    if (found.has(id) || !states[id]) continue;
    found.add(id);
    next.push(...[...JSON.stringify(states[id].state).matchAll(/IPY_MODEL_([\w-]+)/g)].map(([, one]) => one));
  }
  return found;
}

// Source images may show patients, and their names may name them: a file that travels has neither.
function withoutSources(model) {
  const { picture, sources } = model.state;
  if (!sources && !picture) return model;
  const sheets = { ...picture?.sheets };
  delete sheets.source;
  return { ...model, state: { ...model.state, sources: {}, ...(picture && { picture: { ...picture, sheets } }) },
    buffers: (model.buffers || []).filter(({ path }) => !path.includes('source')) };
}

// JupyterLab keeps widgets in the file only where a setting says so; without, a reopened notebook
// says "model not found" in a panel's place. Ours are kept, nobody else's; what an earlier session
// left stays as long as some output shows it.
function keep(manager) {
  const { context } = manager;
  if (context.mgKept) return;
  context.mgKept = true;
  context.saveState.connect((_, now) => {
    if (now !== 'started' || !context.model.setMetadata) return;
    const before = context.model.getMetadata('widgets')?.[STATE]?.state || {};
    const { state: live, ...format } = manager.get_state_sync({ drop_defaults: true });
    const panels = Object.keys(live).filter((id) => live[id].state._dom_classes?.includes('mg-panel'));
    if (!panels.length) return;
    const all = { ...before };
    reached(panels, live).forEach((id) => { all[id] = withoutSources(live[id]); });
    const views = context.model.toJSON().cells.flatMap((cell) => cell.outputs || [])
      .map((output) => output.data?.[VIEW]?.model_id);
    const shown = reached(views, all);
    const state = Object.fromEntries(Object.entries(all).filter(([id]) => shown.has(id) || live[id]));
    context.model.setMetadata('widgets', { [STATE]: { ...format, state } });
  });
}

// A kernel that is shut down or changed takes the panel's other half with it; Jupyter marks a
// restart alone.
function watchKernel(manager, root) {
  const session = manager.context.sessionContext;
  const hear = (_, { oldValue, newValue }) => {
    if (!newValue || oldValue) root.classList.add('jupyter-widgets-disconnected');
  };
  session.kernelChanged.connect(hear);
  return () => session.kernelChanged.disconnect(hear);
}

function render({ model, el }) {
  el.classList.add('mg-head');
  const line = (tag, name, attributes) => {
    const node = document.createElement(tag);
    node.className = `mg-${name}`;
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    const show = () => {
      node.textContent = model.get(name);
      node.classList.toggle('mg-empty', !model.get(name));
    };
    model.on(`change:${name}`, show);
    show();
    el.append(node);
    return () => model.off(`change:${name}`, show);
  };
  const stop = [
    line('div', 'title', { role: 'heading', 'aria-level': '3' }),
    line('div', 'status', { role: 'status', 'aria-live': 'polite' }),
    line('div', 'error', { role: 'alert', 'aria-live': 'assertive' }),
  ];
  let tries = 0;
  const find = () => {
    const root = el.closest('.mg-panel');
    if (!root) {
      if (tries++ < 100) setTimeout(find, 50);
      return;
    }
    stop.push(guard(root));
    const manager = model.widget_manager;
    if (!manager?.context?.sessionContext) return;
    keep(manager);
    stop.push(watchKernel(manager, root));
  };
  find();
  return () => stop.forEach((end) => end());
}
export default { render };
