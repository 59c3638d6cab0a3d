// Whether somebody can see the panel: the tab is in front, and the panel scrolled into view.
export default () => {
  const seen = new Map(); // one entry a view: the same panel may be on the page twice
  const render = ({ model, el }) => {
    let inside = false;
    el.classList.add('mg-visibility');
    const tell = () => {
      seen.set(el, inside && document.visibilityState !== 'hidden');
      const visible = [...seen.values()].some(Boolean);
      if (visible === model.get('visible')) return;
      model.set('visible', visible);
      model.save_changes();
    };
    const leave = () => { inside = false; tell(); };
    const watch = new IntersectionObserver((entries) => {
      inside = entries[entries.length - 1].isIntersecting;
      tell();
    });
    const find = setInterval(() => { // it is rendered before it is put into its panel
      const panel = el.closest('.mg-panel');
      if (!panel) return;
      clearInterval(find);
      watch.observe(panel);
    }, 50);
    document.addEventListener('visibilitychange', tell);
    window.addEventListener('pagehide', leave);
    return () => {
      clearInterval(find);
      watch.disconnect();
      document.removeEventListener('visibilitychange', tell);
      window.removeEventListener('pagehide', leave);
      leave();
      seen.delete(el);
    };
  };
  return { render };
};
