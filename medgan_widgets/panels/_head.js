// The lines at the top of a panel, and what a panel needs of its notebook.
// No plain key pressed inside reaches the notebook, where `m` turns the panel's cell into text and
// `d d` deletes it; Ctrl+S and the like do. Jupyter passes over an element with this mark; it asks
// the focused one itself, at the document, first of all: so it is set or taken at the window.
function guard(root) {
  root.tabIndex = -1; // a click anywhere inside keeps the focus inside
  const mark = (event) => {
    if (!root.contains(event.target)) return;
    const passes = (event.ctrlKey || event.metaKey) && event.key !== 'Enter'; // which runs the cell
    event.target.toggleAttribute('data-lm-suppress-shortcuts', !passes);
  };
  window.addEventListener('keydown', mark, true);
  return () => window.removeEventListener('keydown', mark, true);
}

// JupyterLab keeps a panel in the file only where a setting says so, and without it the reopened
// notebook says "model not found" in its place. Other front ends have no such context.
function keep(manager) {
  const { context } = manager;
  if (context.mgKept) return;
  context.mgKept = true;
  context.saveState.connect((_, now) => {
    if (now !== 'started') return;
    const kept = manager.get_state_sync({ drop_defaults: true });
    if (!Object.keys(kept.state).length) return; // without a kernel: what is in the file stays
    context.model.setMetadata?.('widgets', { 'application/vnd.jupyter.widget-state+json': kept });
  });
}

// A kernel that is shut down takes the panel's other half with it; Jupyter marks a restart alone.
function watchKernel(manager, root) {
  const session = manager.context.sessionContext;
  const hear = (_, { newValue }) => {
    if (!newValue) root.classList.add('jupyter-widgets-disconnected');
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
