// The grid of tiles: cores that cover an image, each with a halo that ends at the image's borders.

// One axis → [{start, stop, first, last}]: of the core, and of the core with its halo.
export function spans(length, tile, halo) {
  const out = [];
  for (let start = 0; start < length; start += tile) {
    const stop = Math.min(start + tile, length);
    out.push({start, stop, first: Math.max(start - halo, 0), last: Math.min(start + tile + halo, length)});
  }
  return out;
}

// The smallest size that a network takes and that is no smaller.
export const padded = (size, {multiple_of: multiple, minimum}) => Math.ceil(Math.max(size, minimum) / multiple) * multiple;

// Rows and columns of every tile. Without a halo, only the whole image is right.
export function tilesOf(width, height, model, side) {
  const [w, h] = [padded(width, model), padded(height, model)];
  const tile = Math.ceil(side / model.multiple_of) * model.multiple_of, halo = model.halo ?? 0;
  const cut = length => spans(length, model.halo === null ? length : tile, halo);
  return cut(h).flatMap(rows => cut(w).map(columns => [rows, columns]));
}

// Places first … last of a line of `size` pixels that is mirrored beyond its end; the edge is not repeated.
export function reflected(first, last, size) {
  const period = 2 * (size - 1);
  return Array.from({length: last - first}, (_, i) => {
    const at = size === 1 ? 0 : (first + i) % period;
    return Math.min(at, size === 1 ? 0 : period - at);
  });
}

// A tile's levels as a network takes them: (inputs, rows, columns) float32 in [0, 1]; one channel is shown as often as there are inputs.
export function cut({pixels, width, height, channels}, rows, columns, inputs) {
  const ys = reflected(rows.first, rows.last, height), xs = reflected(columns.first, columns.last, width);
  const out = new Float32Array(inputs * ys.length * xs.length);
  let to = 0;
  for (let c = 0; c < inputs; c++) {
    for (const y of ys) for (const x of xs) out[to++] = pixels[(y * width + x) * channels + Math.min(c, channels - 1)] / 255;
  }
  return out;
}
