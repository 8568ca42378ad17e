// A small picture, brought back: what `carcli up` does, tile by tile.
import {filled} from './fill.js';
import {averaged} from './open.js';
import {MEGAPIXELS, Refused} from './refused.js';
import {resized} from './resize.js';
import {checkModel} from './tag.js';
import {cut, tilesOf} from './tiles.js';

export const TILE = 256; // LR pixels a side at most: what a browser's memory holds many times over, and progress is seen

// `run` (values, channels, height, width) → the network's values, (channels_out, height · scale, width · scale).
// `tell` hears how many tiles of how many are done. → {width, height, channels, pixels, alpha, carried}. Throws `Refused`.
export async function restore(image, model, run, tell = () => {}, anyway = false) {
  const {tag, alpha} = image, scale = model.scale;
  if (tag) checkModel(tag, model);
  else if (!model.ordinary && !anyway) {
    throw new Refused(`has no carcli tag, and ${model.checkpoint} brings back only what carcli made small with it`, true);
  }
  if (model.channels_in === 1 && image.channels !== 1) throw new Refused(`has three channels; ${model.checkpoint} restores the colours of grey pictures`);
  const full = [image.width * scale, image.height * scale], [width, height] = tag ? [tag.width, tag.height] : full;
  if (Math.max(full[0] * full[1], width * height) > MEGAPIXELS * 1e6) {
    throw new Refused(`would become ${width}×${height}, more than this page makes (${MEGAPIXELS} megapixels); restore it with carcli up`);
  }
  const lr = {...image, pixels: filled(image.pixels, alpha, image.width, image.height, image.channels)};
  const enlarged = await computed(lr, model, run, tell, tag?.resize ? Float32Array : Uint8ClampedArray);
  let {pixels, channels} = tag?.resize ? resizedTo(enlarged, width, height, tag.resize) : cropped(enlarged, width, height);
  if (tag?.grey && channels === 3) [pixels, channels] = [averaged(pixels), 1];
  const carried = channels === 3 || image.channels === 1 ? image.carried : image.carried.filter(([kind]) => kind !== 'iCCP');
  return {width, height, channels, pixels, alpha: alpha && restoredAlpha(image, full, width, height), carried};
}

// Every tile in its place: levels in a clamped array, which rounds halves to even, or floats in [0, 1] and beyond.
async function computed(lr, model, run, tell, Kind) {
  const {scale} = model, inputs = model.channels_in || lr.channels, grey = lr.channels === 1 && inputs === 3;
  const channels = grey ? 1 : model.channels_out || lr.channels, width = lr.width * scale, height = lr.height * scale;
  const pixels = new Kind(width * height * channels), factor = Kind === Float32Array ? 1 : 255;
  const tiles = tilesOf(lr.width, lr.height, model, Math.min(model.tile, TILE));
  for (const [number, [rows, columns]] of tiles.entries()) {
    tell(number, tiles.length);
    const h = rows.last - rows.first, w = columns.last - columns.first;
    const values = await run(cut(lr, rows, columns, inputs), inputs, h, w), plane = h * w * scale * scale;
    const bottom = Math.min(rows.stop * scale, height), right = Math.min(columns.stop * scale, width);
    for (let y = rows.start * scale; y < bottom; y++) {
      for (let x = columns.start * scale; x < right; x++) {
        const from = (y - rows.first * scale) * w * scale + x - columns.first * scale, to = (y * width + x) * channels;
        if (grey) pixels[to] = Math.fround(Math.fround((values[from] + values[from + plane] + values[from + 2 * plane]) / 3) * factor);
        else for (let c = 0; c < channels; c++) pixels[to + c] = Math.fround(values[from + c * plane] * factor);
      }
    }
  }
  tell(tiles.length, tiles.length);
  return {pixels, channels, width, height};
}

function cropped(image, width, height) {
  const {channels} = image, out = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) out.set(image.pixels.subarray(y * image.width * channels, (y * image.width + width) * channels), y * width * channels);
  return {pixels: out, channels};
}

function resizedTo(image, width, height, kernel) {
  const {channels} = image, out = new Uint8ClampedArray(width * height * channels), plane = new Float32Array(image.width * image.height);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < plane.length; i++) plane[i] = image.pixels[i * channels + c];
    const values = resized(plane, image.width, image.height, width, height, kernel);
    for (let i = 0; i < values.length; i++) out[i * channels + c] = values[i] * 255;
  }
  return {pixels: new Uint8Array(out.buffer), channels};
}

function restoredAlpha({alpha, width, height, tag}, full, w, h) {
  const [toWidth, toHeight] = tag?.resize ? [w, h] : full, plane = Float32Array.from(alpha, level => level / 255);
  const values = resized(plane, width, height, toWidth, toHeight, 'bicubic');
  return cropped({pixels: Uint8ClampedArray.from(values, value => value * 255), channels: 1, width: toWidth}, w, h).pixels;
}
