// What the grid's parts share: elements, words, pixels, files. Loaded first; see generator_grid.py.
const FULL = { center: 127.5, width: 255 }; // the window that shows all 256 values

const word = (value) => (value === true ? 'yes' : value === false ? 'no' : String(value));
function describe(store, place) {
  const tile = store.tiles.get(place);
  if (!tile) return `image ${place + 1}, not made yet`;
  const labels = Object.entries(tile.labels)
    .map(([name, value]) => `${name} ${word(value)}${store.drawn.includes(name) ? ' (drawn)' : ''}`);
  const mask = tile.extra.mask ? ['with mask'] : [];
  const source = tile.extra.source ? ['beside its source, which is not synthetic'] : [];
  const note = tile.note ? [tile.note] : [];
  return ['synthetic image', `seed ${tile.seed}`, ...labels, ...mask, ...source, ...note].join(', ');
}

function paint(canvas, tile, { center, width: span }) {
  const [height, width, channels] = tile.shape;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const lut = Uint8ClampedArray.from({ length: 256 }, (_, v) => ((v - center + span / 2) * 255) / span);
  const image = new ImageData(width, height);
  const rgb = channels >= 3 ? [0, 1, 2] : [0, 0, 0];
  for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
    for (let k = 0; k < 3; k += 1) image.data[to + k] = lut[tile.data[from + rgb[k]]];
    image.data[to + 3] = 255;
  }
  canvas.getContext('2d', { willReadFrequently: true }).putImageData(image, 0, 0);
}

