// zlib streams, by what browsers and Node have of them.
const through = (bytes, stream) => new Blob([bytes]).stream().pipeThrough(stream);

// What is packed, at most `limit` bytes of it. Throws where it is damaged, cut, or larger.
export async function unpacked(bytes, limit) {
  const parts = [];
  let length = 0;
  for (const reader = through(bytes, new DecompressionStream('deflate')).getReader(); ;) {
    const {done, value} = await reader.read();
    if (done) return joined(parts, length);
    length += value.length;
    if (length > limit) {
      await reader.cancel();
      throw new RangeError('too large');
    }
    parts.push(value);
  }
}

// The first `length` bytes of what is packed; what follows does not matter. Throws where there are fewer.
export async function unpackedStart(bytes, length) {
  const out = new Uint8Array(length), reader = through(bytes, new DecompressionStream('deflate')).getReader();
  for (let at = 0; at < length;) {
    const {done, value} = await reader.read();
    if (done) throw new RangeError('too short');
    out.set(value.subarray(0, length - at), at);
    at += value.length;
  }
  reader.cancel().catch(() => {});
  return out;
}

export async function packed(bytes) {
  return new Uint8Array(await new Response(through(bytes, new CompressionStream('deflate'))).arrayBuffer());
}

export function joined(parts, length = parts.reduce((sum, part) => sum + part.length, 0)) {
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
