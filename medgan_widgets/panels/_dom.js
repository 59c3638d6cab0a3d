// What every panel's page shares: elements, traits, files, the clipboard, talk with the kernel.
// `joined` puts it first. What comes from cards, files and people is set as text, so that markup
// in it stays text.
const SILENT = 6000; // ms without an answer before the page says so

function h(tag, props = {}, ...kids) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value);
  }
  node.append(...kids.filter((kid) => kid !== null && kid !== undefined));
  return node;
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const bytes = (view) => (view instanceof DataView
  ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(view));
const disconnected = (node) => Boolean(node.closest('.jupyter-widgets-disconnected'));

// Call `draw` now and whenever one of these traits changes; returns how to stop.
function follow(model, names, draw) {
  const events = names.map((name) => `change:${name}`).join(' ');
  model.on(events, draw);
  draw();
  return () => model.off(events, draw);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http from another machine: only the old way is there
    const area = document.body.appendChild(h('textarea'));
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

function download(name, type, data) {
  const address = URL.createObjectURL(new Blob([data], { type }));
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// Pixels [height, width, channels] on a canvas, seen through a window of grey values.
const FULL = { center: 127.5, width: 255 }; // the window that shows all 256 values
function paint(canvas, { shape: [height, width, channels], data }, { center, width: span } = FULL) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const lut = Uint8ClampedArray.from({ length: 256 }, (_, v) => ((v - center + span / 2) * 255) / span);
  const image = new ImageData(width, height);
  const rgb = channels >= 3 ? [0, 1, 2] : [0, 0, 0];
  for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
    for (let k = 0; k < 3; k += 1) image.data[to + k] = lut[data[from + rgb[k]]];
    image.data[to + 3] = 255;
  }
  canvas.getContext('2d', { willReadFrequently: true }).putImageData(image, 0, 0);
}

// Questions to the kernel are {id, kind, …}, its answers carry the same id, and {kind: 'cancel', id}
// takes a question back. `accepted` only says that it was heard, `refused` ends it. What carries no
// id of ours is news. The other half is Panel.listen in _panel.py.
function newTalk(model, { onSilence = () => {}, onNews = () => {} } = {}) {
  const open = new Map(); // id -> what to do with the answer
  let timer = 0;
  const receive = (message, buffers) => {
    if (!open.has(message.id)) {
      onNews(message, buffers);
      return;
    }
    clearTimeout(timer);
    const answer = open.get(message.id);
    if (message.kind !== 'accepted' || !answer) open.delete(message.id);
    if (message.kind !== 'accepted') answer?.(message, buffers);
  };
  model.on('msg:custom', receive);
  return {
    open,
    ask(content, answer = null, buffers = []) {
      const id = `${Date.now()}-${Math.random()}`;
      open.set(id, answer);
      clearTimeout(timer);
      timer = setTimeout(() => onSilence('No answer from the kernel: it is busy, or gone; '
        + 'then run the cells above and this one again.'), SILENT);
      model.send({ id, ...content }, undefined, buffers);
      return id;
    },
    cancel: (id) => model.send({ kind: 'cancel', id }),
    stop() {
      clearTimeout(timer);
      model.off('msg:custom', receive);
    },
  };
}
