// A file → its levels, its tag, and what goes along into the restored file.
import {describe} from './containers.js';
import {decodePng, isPng, profileChunk} from './png.js';
import {MEGAPIXELS, Refused} from './refused.js';
import {parseTag} from './tag.js';
import {propertiesOf} from './xmp.js';

// → {width, height, channels, pixels, alpha, tag, carried, notes}; tag: null where there is none. Throws `Refused`.
export async function open(bytes, ignoreTag = false) {
  if (!bytes.length) throw new Refused('is empty');
  const image = isPng(bytes) ? await decodePng(bytes) : await decodeByBrowser(bytes);
  const properties = propertiesIn(image, ignoreTag);
  const text = image.texts?.carcli ?? properties.tag;
  const tag = text === undefined || ignoreTag ? null : parseTag(text, image.width, image.height);
  if (tag && properties.channels === '1' && image.channels === 3) Object.assign(image, {channels: 1, pixels: averaged(image.pixels)});
  return {...image, tag};
}

function propertiesIn(image, ignoreTag) {
  if (image.damaged?.includes('carcli') && !ignoreTag) throw new Refused('its carcli tag is damaged', true);
  const packet = image.xmp ?? (image.texts?.['XML:com.adobe.xmp'] && new TextEncoder().encode(image.texts['XML:com.adobe.xmp']));
  try {
    return packet ? propertiesOf(packet) : {};
  } catch (error) {
    if (ignoreTag) return {};
    throw new Refused('its carcli tag is in XMP data that is damaged or too large', true);
  }
}

// The mean of three channels, as `carcli up` makes grey of them.
export function averaged(pixels) {
  const out = new Uint8Array(pixels.length / 3);
  for (let i = 0; i < out.length; i++) out[i] = (pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2] + 1) / 3;
  return out;
}

async function decodeByBrowser(bytes) {
  const {xmp, icc, components, notes} = describe(bytes);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), {colorSpaceConversion: 'none', premultiplyAlpha: 'none'});
  } catch (error) {
    throw new Refused('is no picture that this browser can open, or a damaged one');
  }
  const {width, height} = bitmap;
  if (width * height > MEGAPIXELS * 1e6) throw new Refused(`is ${width}×${height}, more than this page takes (${MEGAPIXELS} megapixels)`);
  const levels = levelsOf(bitmap), channels = components === 1 ? 1 : 3;
  const pixels = new Uint8Array(width * height * channels), alpha = new Uint8Array(width * height);
  let opaque = true;
  for (let i = 0; i < alpha.length; i++) {
    for (let c = 0; c < channels; c++) pixels[i * channels + c] = levels[4 * i + c];
    alpha[i] = levels[4 * i + 3];
    opaque &&= alpha[i] === 255;
  }
  const carried = icc && channels === 3 ? [await profileChunk(icc)] : [];
  return {width, height, channels, pixels, alpha: opaque ? null : alpha, xmp, carried, notes};
}

// RGBA of a bitmap, without the rounding that a 2D canvas does to colours beneath transparency.
function levelsOf(bitmap) {
  const {width, height} = bitmap, canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  const drawn = context.getImageData(0, 0, width, height).data;
  for (let i = 3; i < drawn.length; i += 4) if (drawn[i] < 255) return byWebgl(bitmap);
  return drawn;
}

function byWebgl(bitmap) {
  const {width, height} = bitmap, gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new Refused('is partly transparent, and this browser reads such levels exactly of PNG alone');
  }
  const out = new Uint8Array(width * height * 4);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, out);
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  return out;
}
