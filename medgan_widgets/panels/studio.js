// The Studio's head: title, device line and tabs. Which page shows is decided here, by one
// attribute on the Studio's root, so tabs answer at once even while the kernel is busy.
let made = 0;

function render({ model, el }) {
  const own = `mg-studio-${(made += 1)}`;
  const device = h('span', { class: 'mg-device-name' });
  const hint = h('p', { class: 'mg-studio-hint' });
  const list = h('div', { class: 'mg-tabs', role: 'tablist', 'aria-label': 'MedGAN Studio' });
  el.classList.add('mg-studio-top');
  el.append(
    h('div', { class: 'mg-studio-head' },
      h('span', { class: 'mg-studio-title', role: 'heading', 'aria-level': '2' }, model.get('title')),
      h('span', { class: 'mg-studio-about' }, model.get('about')),
      h('span', { class: 'mg-device', title: 'where images are made' },
        h('span', { class: 'mg-dot', 'aria-hidden': 'true' }), device)),
    list, hint);

  const tabs = model.get('tabs').map((name, index) => {
    const tab = h('button', { type: 'button', role: 'tab', id: `${own}-tab-${index}`, class: 'mg-tab' }, name);
    tab.addEventListener('click', () => choose(index));
    list.append(tab);
    return tab;
  });

  const choose = (index) => { model.set('selected', index); model.save_changes(); };
  const show = () => {
    const selected = model.get('selected');
    tabs.forEach((tab, index) => {
      tab.setAttribute('aria-selected', String(index === selected));
      tab.tabIndex = index === selected ? 0 : -1;
    });
    hint.textContent = model.get('hints')[selected] || '';
    hint.hidden = !hint.textContent;
    const root = el.closest('.mg-studio');
    if (!root) return false;
    root.dataset.mgTab = String(selected);
    tabs.forEach((tab, index) => {
      const page = root.querySelector(`:scope > .mg-page-${index}`);
      page?.setAttribute('role', 'tabpanel');
      page?.setAttribute('aria-labelledby', tab.id);
    });
    return root.querySelectorAll(':scope > .mg-page').length === tabs.length;
  };
  const about = () => { device.textContent = model.get('device'); };

  list.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose((model.get('selected') + step + tabs.length) % tabs.length);
    tabs[model.get('selected')].focus();
  });

  let tries = 0;
  let timer = 0;
  const settle = () => { // the pages are drawn after us
    if (!show() && (tries += 1) < 200) timer = setTimeout(settle, 50);
  };
  model.on('change:selected change:hints', show);
  model.on('change:device', about);
  about();
  settle();
  return () => {
    clearTimeout(timer);
    model.off('change:selected change:hints', show);
    model.off('change:device', about);
  };
}
export default { render };
