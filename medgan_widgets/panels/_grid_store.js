// The images that have come, shared by all views of a model, and the talk with the kernel.
// Tiles come as raw bytes in messages. Needs _grid_base.js.

async function cut({ png, shape: [height, width, channels] }, columns, shapes) {
  const blob = new Blob([bytes(png)], { type: 'image/png' });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const sheet = h('canvas', { width: bitmap.width, height: bitmap.height }).getContext('2d');
  sheet.drawImage(bitmap, 0, 0);
  return shapes.map((shape, place) => {
    if (!shape) return null;
    const [rows, across, depth] = shape;
    const [left, top] = [(place % columns) * width, Math.floor(place / columns) * height];
    const rgba = sheet.getImageData(left, top, across, rows).data;
    const data = new Uint8Array(rows * across * depth);
    for (let i = 0; i < rows * across; i += 1) {
      for (let k = 0; k < depth; k += 1) data[i * depth + k] = rgba[i * 4 + Math.min(k, channels - 1)];
    }
    return { shape, data };
  });
}

async function unpack(picture) {
  const { columns, tiles, sheets = {} } = picture;
  const images = await cut(picture, columns, tiles.map((tile) => tile.shape ?? picture.shape));
  const made = tiles.map((tile, place) => ({ ...tile, ...images[place], extra: {} }));
  for (const [name, sheet] of Object.entries(sheets)) {
    const shapes = tiles.map(({ extras = [] }) => extras.find((one) => one[0] === name)?.[1]);
    (await cut(sheet, columns, shapes)).forEach((one, place) => { if (one) made[place].extra[name] = one; });
  }
  return made;
}

function newStore(model) {
  const store = { id: 0, total: 0, shape: null, drawn: [], tiles: new Map(), state: 'idle', done: 0,
    rate: 0, seconds: 0, views: new Set(), waiting: new Map(), asked: 0, first: 0, healed: 0 };
  const tell = (what) => store.views.forEach((view) => view(what));
  const hello = () => model.send({ kind: 'hello', id: store.id, have: [...store.tiles.keys()] });
  const fresh = ({ id, total, shape, drawn }) => {
    if (id === store.id) return;
    Object.assign(store, { id, total, shape, drawn, tiles: new Map() });
    tell({ kind: 'fresh' });
  };
  const add = (place, tile) => { store.tiles.set(place, tile); tell({ kind: 'tile', place }); };

  store.restore = async () => {
    const picture = model.get('picture');
    if (!picture?.png || (picture.id === store.id && store.tiles.size >= picture.tiles.length)) return;
    const tiles = await unpack(picture);
    if (picture.id < store.id) return;
    fresh(picture);
    tiles.forEach((tile, place) => store.tiles.has(place) || add(place, tile));
    if (store.state === 'idle') Object.assign(store, { state: 'done', done: tiles.length });
    tell({ kind: 'progress' });
  };
  store.receive = (message, buffers) => {
    if (message.kind !== 'frame') { // an answer to one question of one view
      store.waiting.get(message.nonce)?.(message, buffers);
      store.waiting.delete(message.nonce);
      tell({ kind: 'saving' });
      return;
    }
    if (message.tiles.length) {
      fresh(message);
      if (store.asked && !store.first) store.first = performance.now() - store.asked;
    }
    let next = 0; // an image, then what came with it
    message.tiles.forEach(({ place, extras = [], shape = message.shape, ...tile }) => {
      const data = bytes(buffers[next++]);
      const extra = Object.fromEntries(extras.map(([name, size]) => [name, { shape: size, data: bytes(buffers[next++]) }]));
      add(place, { ...tile, shape, data, extra });
    });
    const { state, done, of, rate, seconds } = message;
    Object.assign(store, { state, done, of, rate, seconds });
    tell({ kind: 'progress' });
    const painted = () => model.send({ kind: 'painted', frame: message.frame });
    if (document.hidden) painted(); else requestAnimationFrame(painted);
    if (state === 'done' && store.tiles.size < done && store.healed !== store.id) {
      store.healed = store.id; // a message got lost on its way: ask once for what is missing
      hello();
    }
  };
  store.ask = (content, answer) => {
    const nonce = `${Date.now()}-${Math.random()}`;
    if (answer) store.waiting.set(nonce, answer);
    model.send({ ...content, nonce });
    tell({ kind: 'saving' });
  };
  store.hello = hello;
  return store;
}
