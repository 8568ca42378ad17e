// A plane at any other size, in floats: by its cosine transform, or with one of Pillow's kernels.

const SUPPORT = {bicubic: 2, lanczos: 3};
const sinc = x => x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
const KERNELS = {
  bicubic(x) { // a = -0.5
    const d = Math.abs(x);
    return d < 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  },
  lanczos: x => Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0,
};

// (height · width) → (h · w) float32, not clamped.
export function resized(plane, width, height, w, h, kernel) {
  const line = kernel === 'dct' ? byTransform : byKernel(kernel);
  const wide = overLines(plane, width, height, w, line(width, w));
  return transposed(overLines(transposed(wide, w, height), height, w, h, line(height, h)), h, w);
}

function overLines(plane, length, count, to, change) {
  const out = new Float32Array(count * to);
  for (let i = 0; i < count; i++) change(plane.subarray(i * length, (i + 1) * length), out.subarray(i * to, (i + 1) * to));
  return out;
}

function transposed(plane, width, height) {
  const out = new Float32Array(plane.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[x * height + y] = plane[y * width + x];
  return out;
}

// Weights are those of Pillow: the kernel is as much wider as the line becomes shorter, and ends at the borders.
const byKernel = kernel => (from, to) => {
  const scale = from / to, stretch = Math.max(scale, 1), reach = SUPPORT[kernel] * stretch;
  const taps = Array.from({length: to}, (_, i) => {
    const centre = (i + 0.5) * scale, first = Math.max(Math.floor(centre - reach + 0.5), 0), last = Math.min(Math.floor(centre + reach + 0.5), from);
    const weights = Array.from({length: last - first}, (__, k) => KERNELS[kernel]((first + k - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, Float64Array.from(weights, weight => weight / sum)];
  });
  return (line, out) => taps.forEach(([first, weights], i) => {
    let sum = 0;
    for (let k = 0; k < weights.length; k++) sum += line[first + k] * weights[k];
    out[i] = sum;
  });
};

// What the cosine transforms of both lengths have in common.
const byTransform = (from, to) => {
  if (from === to) return (line, out) => out.set(line);
  const forth = cosines(from), back = fromCosines(to), common = Math.min(from, to);
  return (line, out) => {
    const coefficients = new Float64Array(to), all = forth(line);
    for (let k = 0; k < common; k++) coefficients[k] = all[k] * to / from;
    back(coefficients, out);
  };
};

// Σ x[j] cos(π (2j + 1) k / 2N), by one Fourier transform of N values (Makhoul, 1980).
function cosines(length) {
  const transform = fourier(length), re = new Float64Array(length), im = new Float64Array(length), out = new Float64Array(length);
  return line => {
    im.fill(0);
    for (let j = 0; j < length; j++) re[j % 2 ? length - 1 - (j >> 1) : j >> 1] = line[j];
    const [a, b] = transform(re, im);
    for (let k = 0; k < length; k++) out[k] = a[k] * Math.cos(Math.PI * k / (2 * length)) + b[k] * Math.sin(Math.PI * k / (2 * length));
    return out;
  };
}

// The inverse: the spectrum again, and its inverse transform, which is a transform with real and imaginary parts exchanged.
function fromCosines(length) {
  const transform = fourier(length), re = new Float64Array(length), im = new Float64Array(length);
  return (coefficients, out) => {
    for (let k = 0; k < length; k++) {
      const a = coefficients[k], b = k ? -coefficients[length - k] : 0;
      const cos = Math.cos(Math.PI * k / (2 * length)), sin = Math.sin(Math.PI * k / (2 * length));
      re[k] = a * cos - b * sin;
      im[k] = a * sin + b * cos;
    }
    const [, values] = transform(im, re);
    for (let j = 0; j < length; j++) out[j] = values[j % 2 ? length - 1 - (j >> 1) : j >> 1] / length;
  };
}

// (re, im) → their Fourier transform, of any length, by its prime factors.
function fourier(length) {
  const cos = Float64Array.from({length}, (_, k) => Math.cos(2 * Math.PI * k / length));
  const sin = Float64Array.from({length}, (_, k) => -Math.sin(2 * Math.PI * k / length));
  const out = [new Float64Array(length), new Float64Array(length)], spare = [new Float64Array(length), new Float64Array(length)];
  const primes = factors(length);
  function step(re, im, at, stride, n, depth, to) { // n values `stride` apart → the same place of out
    if (n === 1) {
      out[0][to] = re[at];
      out[1][to] = im[at];
      return;
    }
    const p = primes[depth], m = n / p, turn = length / n;
    for (let r = 0; r < p; r++) step(re, im, at + r * stride, stride * p, m, depth + 1, to + r * m);
    for (let k = 0; k < n; k++) {
      let a = 0, b = 0;
      for (let r = 0; r < p; r++) {
        const w = (r * k * turn) % length, x = out[0][to + r * m + k % m], y = out[1][to + r * m + k % m];
        a += x * cos[w] - y * sin[w];
        b += x * sin[w] + y * cos[w];
      }
      spare[0][k] = a;
      spare[1][k] = b;
    }
    out[0].set(spare[0].subarray(0, n), to);
    out[1].set(spare[1].subarray(0, n), to);
  }
  return (re, im) => {
    step(re, im, 0, 1, length, 0, 0);
    return out;
  };
}

function factors(n) {
  const out = [];
  for (let p = 2; n > 1; p++) for (; n % p === 0; n /= p) out.push(p);
  return out;
}
