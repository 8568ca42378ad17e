// PNG files read and written level by level: a canvas would change them by colour management and by premultiplied alpha.
import {crc32} from './crc.js';
import {joined, packed, unpacked, unpackedStart} from './deflate.js';
import {MEGAPIXELS, Refused} from './refused.js';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}; // a pixel, by colour type
const DEPTHS = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}; // bits a sample
const WHOLE = [[0, 0, 1, 1]]; // first column and row, and steps of both
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const COLOUR = ['iCCP', 'cICP', 'cHRM', 'gAMA', 'sRGB']; // what levels mean
const CARRIED = [...COLOUR, 'pHYs', 'eXIf'];
const MAX_TEXT = 1 << 20; // bytes of one text, unpacked
const TEXTS = ['carcli', 'XML:com.adobe.xmp']; // keywords that are looked at

export const isPng = bytes => SIGNATURE.every((byte, i) => bytes[i] === byte);

// → {width, height, channels: 1 | 3, pixels, alpha, texts, damaged, carried, notes}
// pixels: width · height · channels levels; alpha: width · height levels, or null; texts: by keyword; damaged: keywords whose text
// cannot be read; carried: chunks [kind, data] for a file made of this one. Throws `Refused`.
export async function decodePng(bytes) {
  const chunks = whole(bytes), header = chunks[0];
  if (!header || header.kind !== 'IHDR' || header.data.length !== 13) throw damaged('it has no header');
  if (chunks.some(chunk => chunk.kind === 'acTL')) throw new Refused('is an animation; give one frame of it');
  const view = new DataView(header.data.buffer, header.data.byteOffset, 13);
  const width = view.getUint32(0), height = view.getUint32(4), [depth, type, , , interlaced] = header.data.subarray(8);
  if (!width || !height || !DEPTHS[type]?.includes(depth) || interlaced > 1) throw damaged('its header makes no sense');
  if (width * height > MEGAPIXELS * 1e6) throw new Refused(`is ${width}×${height}, more than this page takes (${MEGAPIXELS} megapixels)`);
  const of = kind => chunks.find(chunk => chunk.kind === kind)?.data;
  const samples = await samplesOf(chunks, {width, height, depth, type, passes: interlaced ? ADAM7 : WHOLE});
  const planes = planesOf(samples, {count: width * height, depth, type, palette: of('PLTE'), transparent: of('tRNS')});
  const carried = chunks.filter((chunk, i) => CARRIED.includes(chunk.kind) && chunks.findIndex(c => c.kind === chunk.kind) === i);
  return {
    width, height, ...planes, ...await textsOf(chunks), carried: carried.map(({kind, data}) => [kind, data]),
    notes: depth === 16 ? ['16 bits a channel were rounded to 8'] : [],
  };
}

const damaged = why => new Refused(`is damaged: ${why}`);

// Every chunk up to IEND. Throws where one that pixels need is cut, or its checksum is wrong.
function whole(bytes) {
  const chunks = [], view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length;) {
    const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8)), stop = at + 8 + length;
    const sound = stop + 4 <= bytes.length && crc32(bytes.subarray(at + 4, stop)) === view.getUint32(stop);
    if (kind === 'IEND') return chunks;
    if (!sound && (stop + 4 > bytes.length || kind[0] < 'a')) throw damaged(stop + 4 > bytes.length ? 'it ends too early' : 'a checksum is wrong');
    chunks.push({kind, data: bytes.subarray(at + 8, stop), sound});
    at = stop + 4;
  }
  if (chunks.some(chunk => chunk.kind === 'IDAT')) return chunks; // only the end is missing
  throw damaged('it ends too early');
}

// Samples in order, 8 or 16 bits each, palettes as indices.
async function samplesOf(chunks, {width, height, depth, type, passes}) {
  const perPixel = SAMPLES[type], step = Math.max(1, perPixel * depth / 8); // bytes to the pixel on the left
  const areas = passes.map(([x, y, dx, dy]) => ({x, y, dx, dy, w: Math.ceil((width - x) / dx), h: Math.ceil((height - y) / dy)}))
    .filter(({w, h}) => w > 0 && h > 0).map(area => ({...area, row: Math.ceil(area.w * perPixel * depth / 8)}));
  const total = areas.reduce((sum, {row, h}) => sum + (row + 1) * h, 0);
  let data;
  try {
    data = await unpackedStart(joined(chunks.filter(chunk => chunk.kind === 'IDAT').map(chunk => chunk.data)), total);
  } catch (error) {
    throw damaged('its pixels cannot be unpacked');
  }
  const out = depth === 16 ? new Uint16Array(width * height * perPixel) : new Uint8Array(width * height * perPixel);
  let at = 0;
  for (const {x, y, dx, dy, w, h, row} of areas) {
    let above = new Uint8Array(row);
    for (let i = 0; i < h; i++, at += row + 1) {
      const line = data.subarray(at + 1, at + 1 + row);
      unfilter(data[at], line, above, step);
      place(line, out, depth, perPixel, w, ((y + i * dy) * width + x) * perPixel, dx * perPixel);
      above = line;
    }
  }
  return out;
}

function place(line, out, depth, perPixel, count, start, stride) {
  const perByte = 8 / depth, mask = (1 << depth) - 1;
  for (let pixel = 0, i = 0; pixel < count; pixel++) {
    for (let sample = 0, to = start + pixel * stride; sample < perPixel; sample++, i++) {
      if (depth === 8) out[to + sample] = line[i];
      else if (depth === 16) out[to + sample] = line[2 * i] << 8 | line[2 * i + 1];
      else out[to + sample] = line[Math.floor(i / perByte)] >> 8 - depth * (i % perByte + 1) & mask;
    }
  }
}

function unfilter(filter, line, above, step) {
  if (filter > 4) throw damaged('a line has no such filter');
  for (let i = 0; filter && i < line.length; i++) {
    const left = i < step ? 0 : line[i - step];
    line[i] += predicted(filter, left, above[i], i < step ? 0 : above[i - step]);
  }
}

function predicted(filter, left, above, corner) {
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return left + above >> 1;
  const toLeft = Math.abs(above - corner), toAbove = Math.abs(left - corner), toCorner = Math.abs(left + above - 2 * corner);
  return toLeft <= toAbove && toLeft <= toCorner ? left : toAbove <= toCorner ? above : corner;
}

// Samples → 8-bit levels and alpha.
function planesOf(samples, {count, depth, type, palette, transparent}) {
  if (type === 3) return ofPalette(samples, count, palette, transparent);
  const colours = type & 2 ? 3 : 1, perPixel = SAMPLES[type], most = (1 << depth) - 1;
  const level = depth === 8 ? n => n : n => Math.floor((n * 255 + (most >> 1)) / most);
  const pixels = new Uint8Array(count * colours), alpha = type & 4 || transparent?.length >= 2 * colours ? new Uint8Array(count) : null;
  const key = alpha && !(type & 4) ? Array.from({length: colours}, (_, c) => transparent[2 * c] << 8 | transparent[2 * c + 1]) : null;
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < colours; c++) pixels[i * colours + c] = level(samples[i * perPixel + c]);
    if (key) alpha[i] = key.every((value, c) => samples[i * perPixel + c] === value) ? 0 : 255;
    else if (alpha) alpha[i] = level(samples[i * perPixel + colours]);
  }
  return {channels: colours, pixels, alpha};
}

function ofPalette(samples, count, palette, transparent) {
  if (!palette) throw damaged('it has no palette');
  const pixels = new Uint8Array(count * 3), alpha = transparent ? new Uint8Array(count) : null;
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) pixels[i * 3 + c] = palette[samples[i] * 3 + c];
    if (alpha) alpha[i] = transparent[samples[i]] ?? 255;
  }
  return {channels: 3, pixels, alpha};
}

async function textsOf(chunks) {
  const texts = {}, damaged = [];
  for (const {kind, data, sound} of chunks) {
    if (!['iTXt', 'zTXt', 'tEXt'].includes(kind)) continue;
    const [keyword, rest] = split(data);
    const name = latin(keyword);
    if (!TEXTS.includes(name) || name in texts || damaged.includes(name)) continue;
    try {
      if (!sound) throw new Error('checksum');
      texts[name] = await textOf(kind, rest);
    } catch (error) {
      damaged.push(name);
    }
  }
  return {texts, damaged};
}

async function textOf(kind, rest) {
  if (kind === 'tEXt') return latin(rest);
  if (kind === 'zTXt') return latin(await unpacked(rest.subarray(1), MAX_TEXT));
  const isPacked = rest[0] === 1, text = split(split(rest.subarray(2))[1])[1]; // behind the language and the translated keyword
  return new TextDecoder('utf-8', {fatal: true}).decode(isPacked ? await unpacked(text, MAX_TEXT) : text);
}

function split(bytes) {
  const end = bytes.indexOf(0);
  return end < 0 ? [bytes, bytes.subarray(bytes.length)] : [bytes.subarray(0, end), bytes.subarray(end + 1)];
}

const latin = bytes => Array.from(bytes, byte => String.fromCharCode(byte)).join('');

// The chunk of a colour profile: another file's, which was none.
export const profileChunk = async icc => ['iCCP', joined([latin1('profile'), Uint8Array.of(0, 0), await packed(icc)])];

const latin1 = text => Uint8Array.from(text, character => character.charCodeAt(0));

// A PNG of 8 bits a sample, grey or RGB, with alpha or without; `carried` stands before its pixels. → Uint8Array
export async function encodePng({width, height, channels, pixels, alpha, carried = []}) {
  const perPixel = channels + (alpha ? 1 : 0), header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, (channels === 3 ? 2 : 0) + (alpha ? 4 : 0)], 8);
  const body = await packed(filtered(alpha ? interleaved(pixels, alpha, channels) : pixels, width * perPixel, height, perPixel));
  return joined([
    Uint8Array.from(SIGNATURE), chunk('IHDR', header), ...carried.map(([kind, data]) => chunk(kind, data)),
    chunk('IDAT', body), chunk('IEND', new Uint8Array(0)),
  ]);
}

function interleaved(pixels, alpha, channels) {
  const out = new Uint8Array(pixels.length + alpha.length);
  for (let i = 0; i < alpha.length; i++) {
    for (let c = 0; c < channels; c++) out[i * (channels + 1) + c] = pixels[i * channels + c];
    out[i * (channels + 1) + channels] = alpha[i];
  }
  return out;
}

// Lines, each behind its filter: the one whose differences are smallest in sum.
function filtered(pixels, row, height, step) {
  const out = new Uint8Array((row + 1) * height), tried = [0, 1, 2, 3, 4].map(() => new Uint8Array(row));
  let above = new Uint8Array(row);
  for (let y = 0; y < height; y++) {
    const line = pixels.subarray(y * row, (y + 1) * row);
    let best = 0, least = Infinity;
    for (let filter = 0; filter < 5; filter++) {
      let sum = 0;
      for (let i = 0; i < row; i++) {
        const left = i < step ? 0 : line[i - step], corner = i < step ? 0 : above[i - step];
        const difference = tried[filter][i] = line[i] - (filter && predicted(filter, left, above[i], corner));
        sum += Math.abs(difference << 24 >> 24);
      }
      if (sum < least) [best, least] = [filter, sum];
    }
    out[y * (row + 1)] = best;
    out.set(tried[best], y * (row + 1) + 1);
    above = line;
  }
  return out;
}

function chunk(kind, data) {
  const out = new Uint8Array(data.length + 12), view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(latin1(kind), 4);
  out.set(data, 8);
  view.setUint32(data.length + 8, crc32(out.subarray(4, data.length + 8)));
  return out;
}
