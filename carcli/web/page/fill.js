// Colours beneath full transparency become those that are seen nearby: a network would let black bleed into edges.
export function filled(pixels, alpha, width, height, channels) {
  if (!alpha || !alpha.includes(0)) return pixels;
  const weight = Float32Array.from(alpha, level => Math.min(level, 1));
  return Uint8Array.from(mixed(Float32Array.from(pixels), weight, width, height, channels), evenly);
}

// To the nearest whole number, halves to even.
function evenly(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

// Each pixel by its weight, and the rest of it from the mean of the smallest square around it in which anything is seen.
function mixed(pixels, weight, width, height, channels) {
  if (Math.max(width, height) === 1) return weight[0] > 0 ? pixels : new Float32Array(channels);
  const w = Math.ceil(width / 2), h = Math.ceil(height / 2), means = new Float32Array(w * h * channels), weights = new Float32Array(w * h);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = y * width + x, to = (y >> 1) * w + (x >> 1);
      weights[to] += weight[from];
      for (let c = 0; c < channels; c++) means[to * channels + c] += pixels[from * channels + c] * weight[from];
    }
  }
  for (let i = 0; i < weights.length; i++) {
    for (let c = 0; c < channels; c++) means[i * channels + c] /= Math.max(weights[i], 1e-12);
    weights[i] = Math.min(weights[i], 1);
  }
  const coarse = mixed(means, weights, w, h, channels), out = new Float32Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = y * width + x, around = (y >> 1) * w + (x >> 1);
      for (let c = 0; c < channels; c++) {
        out[from * channels + c] = pixels[from * channels + c] * weight[from] + coarse[around * channels + c] * (1 - weight[from]);
      }
    }
  }
  return out;
}
