// What the page in the browser does without a browser: tags, XMP, PNG, tiles and resizing. PAGE names the folder of its modules,
// and CASES a JSON file with what carcli itself makes of the same.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';
import {pathToFileURL} from 'node:url';

const cases = JSON.parse(readFileSync(process.env.CASES, 'utf8'));
const load = name => import(new URL(name, pathToFileURL(`${process.env.PAGE}/`)));
const {parseTag} = await load('tag.js'), {propertiesOf} = await load('xmp.js'), {decodePng, encodePng} = await load('png.js');
const {tilesOf, cut} = await load('tiles.js'), {resized} = await load('resize.js'), {filled} = await load('fill.js');
const {restore} = await load('restore.js'), {open} = await load('open.js'), {Refused} = await load('refused.js');
const bytesOf = text => new Uint8Array(Buffer.from(text, 'base64'));

test('a tag is taken or refused as carcli takes and refuses it', () => {
  for (const {text, size, fields} of cases.tags) {
    if (fields === null) assert.throws(() => parseTag(text, ...size), error => error instanceof Refused && error.anyway, text);
    else for (const [name, value] of Object.entries(parseTag(text, ...size))) assert.equal(value, fields[name] ?? null, name);
  }
});

test('properties are found in XMP however it was rewritten', () => {
  for (const {xmp, properties} of cases.xmp) {
    if (properties === null) assert.throws(() => propertiesOf(bytesOf(xmp)));
    else assert.deepEqual(propertiesOf(bytesOf(xmp)), properties);
  }
});

test('every kind of PNG has the levels that Pillow reads', async () => {
  for (const {name, file, pixels, alpha, channels, width, height} of cases.pngs) {
    const image = await decodePng(bytesOf(file));
    assert.deepEqual([image.width, image.height, image.channels], [width, height, channels], name);
    assert.ok(Buffer.from(image.pixels).equals(Buffer.from(pixels, 'base64')), name);
    assert.equal(image.alpha && Buffer.from(image.alpha).toString('base64'), alpha, name);
  }
});

test('what is written is read again, with what is carried along', async () => {
  for (const {name, file} of cases.pngs) {
    const image = await decodePng(bytesOf(file)), again = await decodePng(await encodePng(image));
    assert.deepEqual([again.pixels, again.alpha, again.carried], [image.pixels, image.alpha, image.carried], name);
  }
});

test('a damaged PNG is refused, wherever the damage is', async () => {
  const {file} = cases.pngs[0], whole = bytesOf(file);
  for (let length = 0; length < whole.length - 12; length += 7) await assert.rejects(open(whole.subarray(0, Math.max(length, 0))), Refused);
  for (let at = 8; at < whole.length - 12; at += 11) {
    const changed = whole.slice();
    changed[at] ^= 0x55;
    await open(changed, true).catch(error => assert.ok(error instanceof Refused, `${at}: ${error}`));
  }
});

test('tiles are those of carcli', () => {
  for (const {size, model, tile, grid, inputs} of cases.tiles) {
    const [width, height] = size, pixels = Uint8Array.from({length: width * height}, (_, i) => i % 251);
    const tiles = tilesOf(width, height, model, tile);
    assert.deepEqual(tiles.map(spans => spans.map(({start, stop, first, last}) => [start, stop, first, last])), grid);
    const sums = tiles.map(([rows, columns]) => Math.round(255 * cut({pixels, width, height, channels: 1}, rows, columns, 1).reduce((a, b) => a + b, 0)));
    assert.deepEqual(sums, inputs);
  }
});

test('a plane is resized as carcli resizes it', () => {
  for (const {kernel, size, to, values} of cases.resized) {
    const plane = Float32Array.from({length: size[0] * size[1]}, (_, i) => (i * 37 % 101) / 100);
    resized(plane, ...size, ...to, kernel).forEach((value, i) => assert.ok(Math.abs(value - values[i]) < 2e-6, `${kernel} ${size} ${to} ${i}`));
  }
});

test('colours beneath transparency are those seen nearby', () => {
  for (const {size, alpha, pixels, filled: wanted} of cases.filled) {
    assert.deepEqual([...filled(Uint8Array.from(pixels), Uint8Array.from(alpha), ...size, 3)], wanted);
  }
});

const MODEL = {checkpoint: 'a', digest: '', scale: 2, multiple_of: 1, minimum: 1, halo: 1, tile: 4, channels_in: 3, channels_out: 3, ordinary: false};
const TAG = {checkpoint: 'a', digest: '', scale: 2, width: 13, height: 9, grey: false, resize: null};
const picture = more => ({width: 7, height: 5, channels: 3, pixels: Uint8Array.from({length: 105}, (_, i) => 2 * i), alpha: null, tag: TAG, carried: [], notes: [], ...more});
const twice = (values, channels, h, w) => Float32Array.from({length: channels * h * w * 4}, (_, i) => {
  const x = i % (2 * w), y = Math.floor(i / (2 * w)) % (2 * h), c = Math.floor(i / (4 * w * h));
  return values[(c * h + (y >> 1)) * w + (x >> 1)];
});

test('tiles are put together without a seam, and cropped to the size of the original', async () => {
  const told = [], {width, height, pixels} = await restore(picture(), MODEL, twice, (done, total) => told.push([done, total]));
  assert.deepEqual([width, height, pixels.length], [13, 9, 351]);
  for (let y = 0; y < 9; y++) for (let x = 0; x < 13; x++) assert.equal(pixels[(y * 13 + x) * 3], 2 * 3 * ((y >> 1) * 7 + (x >> 1)));
  assert.deepEqual(told.at(-1), [4, 4]);
});

test('a grey original comes back grey, and transparency goes along', async () => {
  const {channels, pixels, alpha} = await restore(picture({tag: {...TAG, grey: true}, alpha: new Uint8Array(35).fill(200)}), MODEL, twice);
  assert.deepEqual([channels, pixels[0], alpha.length, alpha[50]], [1, 2, 117, 200]);
});

test('what cannot be restored is refused in words', async () => {
  const words = async (more, model = MODEL) => restore(picture(more), model, twice).then(() => null, error => error.message);
  assert.match(await words({tag: null}), /no carcli tag/);
  assert.match(await words({tag: {...TAG, checkpoint: 'b'}}), /was made with b/);
  assert.match(await words({tag: {...TAG, digest: 'f'.repeat(64)}}), /another version of a/);
  assert.match(await words({tag: {...TAG, width: 1 << 20, height: 1 << 20}}), /more than this page makes/);
  assert.match(await words({}, {...MODEL, channels_in: 1}), /three channels/);
  assert.equal(await words({tag: null}, {...MODEL, ordinary: true}), null);
});
