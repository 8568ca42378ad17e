// The tag that `carcli down` writes into a small picture: JSON of a stranger's, checked field by field.
import {Refused} from './refused.js';

const VERSION = 2, MAX_LENGTH = 4096, MAX_SIDE = 1 << 20, MAX_SCALE = 128;
const ID = '[a-z0-9][a-z0-9._-]{0,63}', IDS = new RegExp(`^${ID}(\\+${ID}){0,6}$`), DIGEST = /^([0-9a-f]{64}|)$/;
const KERNELS = ['dct', 'bicubic', 'lanczos'];
const wrong = what => new Refused(`its carcli tag ${what}`, true);

// The tag of a picture of that size. Throws `Refused`, which ignoring the tag gets around.
export function parseTag(text, width, height) {
  if (text.length > MAX_LENGTH) throw wrong(`is longer than ${MAX_LENGTH} characters`);
  let fields;
  try {
    fields = JSON.parse(text);
  } catch (error) {
    throw wrong('is not JSON');
  }
  if (fields === null || typeof fields !== 'object' || Array.isArray(fields)) throw wrong('is not a JSON object');
  const integer = (name, low, high) => {
    const value = fields[name];
    if (!Number.isInteger(value) || value < low || value > high) throw wrong(`has no valid ${name}`);
    return value;
  };
  const among = (name, fits) => {
    if (typeof fields[name] !== 'string' || !fits(fields[name])) throw wrong(`has no valid ${name}`);
    return fields[name];
  };
  const version = integer('version', 1, 2 ** 30);
  if (version > VERSION) throw wrong(`has version ${version}, and this page reads up to ${VERSION}`);
  const tag = {
    checkpoint: among('checkpoint', id => IDS.test(id)),
    digest: among('digest', digest => DIGEST.test(digest)),
    scale: integer('scale', 1, MAX_SCALE),
    width: integer('width', 1, MAX_SIDE),
    height: integer('height', 1, MAX_SIDE),
    grey: fields.grey === true,
    resize: version > 1 ? among('resize', kernel => KERNELS.includes(kernel)) : null,
  };
  const size = version > 1 ? [integer('lr_width', 1, tag.width), integer('lr_height', 1, tag.height)]
    : [Math.ceil(tag.width / tag.scale), Math.ceil(tag.height / tag.scale)];
  if (size[0] !== width || size[1] !== height) {
    throw wrong(`says that it is ${size[0]}×${size[1]}, but it is ${width}×${height}: it was cropped or resized`);
  }
  return tag;
}

// Throws `Refused` where the model is not the one that made the small picture.
export function checkModel(tag, model) {
  if (tag.checkpoint !== model.checkpoint || tag.scale !== model.scale) {
    throw new Refused(`was made with ${tag.checkpoint} at scale ${tag.scale}; this page restores what ${model.checkpoint} made`, true);
  }
  if (tag.digest !== model.digest) {
    throw new Refused(`was made with another version of ${tag.checkpoint} (${tag.digest.slice(0, 12) || 'none'}, here ${model.digest.slice(0, 12)})`, true);
  }
}
