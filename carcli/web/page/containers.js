// What files other than PNG say beside their pixels: XMP, colour profile, how many components they have.
import {joined} from './deflate.js';
import {Refused} from './refused.js';

const XAP = 'http://ns.adobe.com/xap/1.0/\0', ICC = 'ICC_PROFILE\0';
const says = (bytes, at, text) => Array.from(text).every((character, i) => bytes[at + i] === character.charCodeAt(0));
const find = (bytes, text, from = 0) => {
  for (let at = bytes.indexOf(text.charCodeAt(0), from); at >= 0; at = bytes.indexOf(text.charCodeAt(0), at + 1)) if (says(bytes, at, text)) return at;
  return -1;
};

// → {xmp, icc, components, notes}; null where there is none.
export function describe(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return ofJpeg(bytes);
  if (says(bytes, 0, 'RIFF') && says(bytes, 8, 'WEBP')) return ofWebp(bytes);
  if (says(bytes, 0, 'GIF8')) return {...NOTHING, notes: ['of a GIF, the first picture']};
  if (says(bytes, 4, 'ftyp')) return {...NOTHING, xmp: packetIn(bytes)}; // AVIF, HEIC: the packet stands in one piece
  return NOTHING;
}

const NOTHING = {xmp: null, icc: null, components: null, notes: []};

function ofJpeg(bytes) {
  const found = {...NOTHING}, profile = [];
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1], length = bytes[at + 2] << 8 | bytes[at + 3], data = bytes.subarray(at + 4, at + 2 + length);
    if (marker === 0xff) { at += 1; continue; }
    if (marker === 0xda || length < 2) break;
    if (marker === 0xe1 && says(data, 0, XAP)) found.xmp ??= data.subarray(XAP.length);
    if (marker === 0xe2 && says(data, 0, ICC)) profile[data[ICC.length] - 1] = data.subarray(ICC.length + 2);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) found.components = data[5];
    at += 2 + length;
  }
  if (profile.length && !profile.includes(undefined)) found.icc = joined(profile);
  return found;
}

function ofWebp(bytes) {
  const found = {...NOTHING}, view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true), data = bytes.subarray(at + 8, at + 8 + length);
    if (says(bytes, at, 'ANIM')) throw new Refused('is an animation; give one frame of it');
    if (says(bytes, at, 'XMP ')) found.xmp ??= data;
    if (says(bytes, at, 'ICCP')) found.icc ??= data;
    at += 8 + length + length % 2;
  }
  return found;
}

function packetIn(bytes) {
  const start = find(bytes, '<x:xmpmeta'), stop = start < 0 ? -1 : find(bytes, '</x:xmpmeta>', start);
  return stop < 0 ? null : bytes.subarray(start, stop + 12);
}
