// Our properties in XMP, as attributes or as elements, under whatever prefix stands for our namespace.
const NAMESPACE = 'urn:carcli:1.0/', LARGEST = 1 << 17; // bytes that are looked at
const ENTITIES = {lt: '<', gt: '>', amp: '&', quot: '"', apos: "'"};
const literal = text => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

// → {tag, channels}, each a text where it is there. Throws where there may be some that cannot be read.
export function propertiesOf(bytes) {
  const text = new TextDecoder().decode(bytes.length > LARGEST ? bytes.subarray(0, LARGEST) : bytes);
  if (!text.includes(NAMESPACE)) return {};
  if (bytes.length > LARGEST || text.includes('<!DOCTYPE')) throw new Error('not looked at');
  const prefix = new RegExp(`xmlns:([A-Za-z_][\\w.-]*)\\s*=\\s*["']${literal(NAMESPACE)}["']`).exec(text)?.[1];
  if (!prefix) throw new Error('no prefix');
  const found = {};
  for (const name of ['tag', 'channels']) {
    const of = `${literal(prefix)}:${name}`;
    const match = new RegExp(`\\s${of}\\s*=\\s*(?:"([^"<]*)"|'([^'<]*)')|<${of}(?:\\s[^<>]*)?>([^<]*)</${of}\\s*>`).exec(text);
    if (match) found[name] = plain(match[1] ?? match[2] ?? match[3]);
  }
  return found;
}

function plain(text) {
  return text.replace(/&(#x[0-9a-fA-F]{1,6}|#[0-9]{1,7}|\w+);/g, (whole, name) => {
    if (name[0] !== '#') return ENTITIES[name] ?? whole;
    const code = name[1] === 'x' ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
