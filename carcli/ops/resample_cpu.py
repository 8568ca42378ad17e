"""The fused resampling kernel for the CPU, forwards and backwards, compiled by numba.

Each LR pixel is made in one go: its taps' weights and sampling positions are computed into
a few small buffers (loops that vectorise), then the samples are gathered and summed. Nothing
of size k²·h·w is written besides the gradients. Strips of rows are independent and run on a
thread pool; because a strip's arithmetic never depends on its neighbours, any number of
threads gives the same bits. Gradients of the image overlap between neighbouring strips and
are therefore added in two passes, even strips first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

MODES = {"plain": 0, "clamp": 1, "residual": 2}
STRIP_ROWS = 8  # LR rows a task; two strips of one parity never touch the same HR row

# tanh(x) ≈ x·P(x²)/Q(x²) on |x| ≤ 8.5, relative error 1.2e-8: a least-squares rational fit,
# reweighted towards equal error. A plain formula, so that the loop over taps vectorises.
TANH_LIMIT = 8.5
P0, P1, P2, P3, P4 = (
    0.9999999881869752,
    0.1341324661772243,
    0.003534026491534878,
    2.125103860554076e-05,
    1.4269221288697614e-08,
)
Q1, Q2, Q3, Q4 = 0.46746569353285555, 0.0260227499499447, 0.00033488642141680445, 8.145120394286331e-07
KERNEL_MIN = 1e-6

_jit: Any = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
_inline: Any = numba.njit(nogil=True, fastmath={"contract", "nsz"}, error_model="numpy", inline="always")


@_inline
def _tanh(x: Any, real: Any) -> Any:
    x = x if x < real(TANH_LIMIT) else real(TANH_LIMIT)  # NaN falls to the limit: indices stay in range
    x = x if x > real(-TANH_LIMIT) else real(-TANH_LIMIT)
    u = x * x
    p = (((real(P4) * u + real(P3)) * u + real(P2)) * u + real(P1)) * u + real(P0)
    q = (((real(Q4) * u + real(Q3)) * u + real(Q2)) * u + real(Q1)) * u + real(1.0)
    t = x * p / q
    t = t if t < real(1.0) else real(1.0)
    return t if t > real(-1.0) else real(-1.0)


@_inline
def _unit(x: Any, real: Any) -> Any:
    x = x if x < real(1.0) else real(1.0)
    return x if x > real(-1.0) else real(-1.0)


@_inline
def _fold(index: int, pad: int, size: int) -> int:
    """Mirror an index of the padded image into the image."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    index = (index - pad) % period
    return min(index, period - index)


@_jit
def _positions(offsets: Array, at: int, mode: int, scale: int, line: Array, frac: Array, slope: Array) -> None:
    """Lattice line and fraction of every tap along one axis, and d(position)/d(head)."""
    real = frac.dtype.type
    s, rest = real(scale), real((scale - 1) / 2)
    for t in range(line.size):
        if mode == 0:
            raw = offsets[at + t]
            off = _unit(raw, real)
            slope[t] = s if off == raw else real(0.0)
        else:
            off = _tanh(offsets[at + t], real)
            slope[t] = s * (real(1.0) - off * off)
        moved = off * s + rest
        floor = np.floor(moved)
        frac[t] = moved - floor
        line[t] = np.int32(floor)


@_jit
def _weights(scores: Array, at: int, mode: int, smooth: Array, gain: float, weight: Array) -> float:
    """Tap weights before normalisation of the ``clamp`` mode; returns that normaliser, or 1."""
    real = weight.dtype.type
    n = weight.size
    if mode == 0:
        for t in range(n):
            weight[t] = scores[at + t]
        return real(1.0)
    total = real(0.0)
    if mode == 1:
        for t in range(n):
            score = scores[at + t]
            score = score if score > real(KERNEL_MIN) else real(KERNEL_MIN)
            weight[t] = score if score < real(1.0) else real(1.0)
            total += weight[t]
        return max(total, real(KERNEL_MIN))
    for t in range(n):
        total += scores[at + t]
    mean = total / real(n)
    for t in range(n):
        weight[t] = smooth[t] + real(gain) * (scores[at + t] - mean)
    return real(1.0)


@_jit
def _neighbours(
    line_y: Array, line_x: Array, y: int, x: int, k: int, scale: int, height: int, width: int,
    stride_y: int, stride_x: int, row0: Array, row1: Array, col0: Array, col1: Array,
) -> None:  # fmt: skip
    """Flat offsets of the two rows and the two columns that every tap reads."""
    pad = k // 2
    reach = pad + scale + 1
    by, bx = y * scale - pad, x * scale - pad
    inside = (
        by >= scale + 1 and bx >= scale + 1 and by + k + 2 * scale + 1 < height and bx + k + 2 * scale + 1 < width and reach > 0
    )
    last_y, last_x = height + 2 * pad - 1, width + 2 * pad - 1
    t = 0
    if inside:
        for ky in range(k):
            for kx in range(k):
                row0[t] = (by + ky + line_y[t]) * stride_y
                col0[t] = (bx + kx + line_x[t]) * stride_x
                row1[t] = row0[t] + stride_y
                col1[t] = col0[t] + stride_x
                t += 1
        return
    for ky in range(k):
        for kx in range(k):
            iy = min(max(y * scale + ky + line_y[t], 0), last_y)
            ix = min(max(x * scale + kx + line_x[t], 0), last_x)
            row0[t] = _fold(iy, pad, height) * stride_y
            row1[t] = _fold(min(iy + 1, last_y), pad, height) * stride_y
            col0[t] = _fold(ix, pad, width) * stride_x
            col1[t] = _fold(min(ix + 1, last_x), pad, width) * stride_x
            t += 1


@_jit
def _forward_rows(
    image: Array, image_at: int, stride_c: int, stride_y: int, stride_x: int, height: int, width: int, level: float,
    scores: Array, heads_h: Array, heads_v: Array, at_s: int, at_h: int, at_v: int,
    step_y: int, step_x: int, smooth: Array, gain: float, mode: int, k: int, scale: int,
    out: Array, first: int, last: int,
) -> None:  # fmt: skip
    n = k * k
    w = out.shape[2]
    real = out.dtype.type
    ly, lx = np.empty(n, np.int32), np.empty(n, np.int32)
    row0, row1 = np.empty(n, np.int64), np.empty(n, np.int64)
    col0, col1 = np.empty(n, np.int64), np.empty(n, np.int64)
    fy, fx, slope, weight = np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype)
    for y in range(first, last):
        for x in range(w):
            at = (y - first) * step_y + x * step_x
            total = _weights(scores, at_s + at, mode, smooth, gain, weight)
            _positions(heads_v, at_v + at, mode, scale, ly, fy, slope)
            _positions(heads_h, at_h + at, mode, scale, lx, fx, slope)
            _neighbours(ly, lx, y, x, k, scale, height, width, stride_y, stride_x, row0, row1, col0, col1)
            r, g, b = real(0.0), real(0.0), real(0.0)
            for t in range(n):
                lower, right = weight[t] * fy[t], fx[t]
                upper = weight[t] - lower
                w11 = lower * right
                w10 = lower - w11
                w01 = upper * right
                w00 = upper - w01
                i00, i01 = image_at + row0[t] + col0[t], image_at + row0[t] + col1[t]
                i10, i11 = image_at + row1[t] + col0[t], image_at + row1[t] + col1[t]
                r += w00 * image[i00] + w01 * image[i01] + w10 * image[i10] + w11 * image[i11]
                i00, i01, i10, i11 = i00 + stride_c, i01 + stride_c, i10 + stride_c, i11 + stride_c
                g += w00 * image[i00] + w01 * image[i01] + w10 * image[i10] + w11 * image[i11]
                i00, i01, i10, i11 = i00 + stride_c, i01 + stride_c, i10 + stride_c, i11 + stride_c
                b += w00 * image[i00] + w01 * image[i01] + w10 * image[i10] + w11 * image[i11]
            share = real(level) / total
            out[0, y, x], out[1, y, x], out[2, y, x] = r * share, g * share, b * share


@_jit
def _backward_rows(
    image: Array, image_at: int, stride_c: int, stride_y: int, stride_x: int, height: int, width: int, level: float,
    scores: Array, heads_h: Array, heads_v: Array, at_s: int, at_h: int, at_v: int,
    step_y: int, step_x: int, smooth: Array, gain: float, mode: int, k: int, scale: int,
    grad: Array, first: int, last: int,
    grad_s: Array, grad_h: Array, grad_v: Array, grad_image: Array, want_image: bool,
) -> None:  # fmt: skip
    n = k * k
    w = grad.shape[2]
    real = grad.dtype.type
    plane = height * width
    ly, lx = np.empty(n, np.int32), np.empty(n, np.int32)
    row0, row1 = np.empty(n, np.int64), np.empty(n, np.int64)
    col0, col1 = np.empty(n, np.int64), np.empty(n, np.int64)
    fy, fx, weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    slope_y, slope_x, d_weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    for y in range(first, last):
        for x in range(w):
            at = (y - first) * step_y + x * step_x
            to = ((y - first) * w + x) * n
            total = _weights(scores, at_s + at, mode, smooth, gain, weight)
            _positions(heads_v, at_v + at, mode, scale, ly, fy, slope_y)
            _positions(heads_h, at_h + at, mode, scale, lx, fx, slope_x)
            _neighbours(ly, lx, y, x, k, scale, height, width, stride_y, stride_x, row0, row1, col0, col1)
            r = grad[0, y, x] * real(level)
            g = grad[1, y, x] * real(level)
            b = grad[2, y, x] * real(level)
            pulled = real(0.0)  # for normalisation: the mean of d_weight in the sense of the mode
            for t in range(n):
                i00, i01 = image_at + row0[t] + col0[t], image_at + row0[t] + col1[t]
                i10, i11 = image_at + row1[t] + col0[t], image_at + row1[t] + col1[t]
                v00, v01, v10, v11 = r * image[i00], r * image[i01], r * image[i10], r * image[i11]
                i00, i01, i10, i11 = i00 + stride_c, i01 + stride_c, i10 + stride_c, i11 + stride_c
                v00, v01, v10, v11 = (
                    v00 + g * image[i00], v01 + g * image[i01], v10 + g * image[i10], v11 + g * image[i11],
                )  # fmt: skip
                i00, i01, i10, i11 = i00 + stride_c, i01 + stride_c, i10 + stride_c, i11 + stride_c
                v00, v01, v10, v11 = (
                    v00 + b * image[i00], v01 + b * image[i01], v10 + b * image[i10], v11 + b * image[i11],
                )  # fmt: skip
                a, c = fy[t], fx[t]
                top, bottom = v00 + c * (v01 - v00), v10 + c * (v11 - v10)
                value = top + a * (bottom - top)
                left, right = v00 + a * (v10 - v00), v01 + a * (v11 - v01)
                kernel = weight[t] / total
                d_weight[t] = value
                grad_v[to + t] = kernel * (bottom - top) * slope_y[t]
                grad_h[to + t] = kernel * (right - left) * slope_x[t]
                pulled += kernel * value if mode == 1 else value
            if mode == 0:
                for t in range(n):
                    grad_s[to + t] = d_weight[t]
            elif mode == 1:
                if total <= real(KERNEL_MIN):
                    pulled = real(0.0)
                for t in range(n):
                    score = scores[at_s + at + t]
                    inside = score >= real(KERNEL_MIN) and score <= real(1.0)
                    grad_s[to + t] = (d_weight[t] - pulled) / total if inside else real(0.0)
            else:
                mean = pulled / real(n)
                for t in range(n):
                    grad_s[to + t] = real(gain) * (d_weight[t] - mean)
            if want_image:
                r, g, b = grad[0, y, x], grad[1, y, x], grad[2, y, x]
                for t in range(n):
                    lower, right = weight[t] / total * fy[t], fx[t]
                    upper = weight[t] / total - lower
                    for ky in range(2):
                        row = (row0[t] if ky == 0 else row1[t]) // stride_y * width
                        part = upper if ky == 0 else lower
                        for kx in range(2):
                            i = row + (col0[t] if kx == 0 else col1[t]) // stride_x
                            share = part * (real(1.0) - right if kx == 0 else right)
                            grad_image[i] += share * r
                            grad_image[i + plane] += share * g
                            grad_image[i + 2 * plane] += share * b


_pool_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def _run(task: Callable[[int, int], None], jobs: list[tuple[int, int]]) -> None:
    """Run ``task(batch, strip)`` for every job, on as many threads as torch would use."""
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        for job in jobs:
            task(*job)
        return
    with _pool_lock:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="resample"))
    for future in [pool.submit(task, *job) for job in jobs]:
        future.result()


def _flat(tensor: Tensor) -> Array:
    """The memory behind a tensor from its first element on, as a one-dimensional array."""
    size = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    array: Array = tensor.detach().as_strided((size,), (1,)).numpy()
    return array


class _Problem:
    """Shapes, strides and constants of one call, and the arrays of a strip of it."""

    def __init__(self, image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str) -> None:
        self.work = torch.float64 if kernels.dtype == torch.float64 else torch.float32
        if image.dtype not in (torch.uint8, self.work):
            image = image.to(self.work)
        self.level = 1.0 / 255 if image.dtype == torch.uint8 else 1.0
        self.image = image.detach()
        self.heads = tuple(t.detach() for t in (kernels, offsets_h, offsets_v))
        self.batch, self.taps, self.h, self.w = kernels.shape
        self.size = math.isqrt(self.taps)
        self.scale, self.mode = scale, MODES[heads]
        from carcli.ops.resample import residual_gain, smoothing_kernel

        self.smooth = smoothing_kernel(self.size, scale).to(self.work).numpy()
        self.gain = residual_gain(self.size)
        self.jobs = [(b, y) for b in range(self.batch) for y in range(0, self.h, STRIP_ROWS)]

    def arguments(self, b: int, first: int) -> tuple[Any, ...]:
        """What both kernels take up to the output, for rows [first, first + STRIP_ROWS) of image b."""
        picture = self.image[b]
        rows = [t[b, :, first : first + STRIP_ROWS] for t in self.heads]
        steps = {(t.stride(1), t.stride(2)) for t in rows}
        direct = all(t.dtype == self.work and (t.stride(0) == 1 or self.taps == 1) for t in rows) and len(steps) == 1
        if not direct:  # other dtype or layout: a copy of this strip alone, taps innermost
            rows = [t.permute(1, 2, 0).to(self.work).contiguous().permute(2, 0, 1) for t in rows]
        flat = [_flat(t) for t in rows]
        return (
            _flat(picture), 0, *picture.stride(), self.scale * self.h, self.scale * self.w, self.level,
            *flat, 0, 0, 0, rows[0].stride(1), rows[0].stride(2), self.smooth, self.gain, self.mode, self.size, self.scale,
        )  # fmt: skip

    def last(self, first: int) -> int:
        return min(first + STRIP_ROWS, self.h)


def forward(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str) -> Tensor:
    """The LR image, (B, 3, h, w); arguments as those of ``carcli.ops.resample``."""
    problem = _Problem(image, kernels, offsets_h, offsets_v, scale, heads)
    out = torch.empty((problem.batch, 3, problem.h, problem.w), dtype=problem.work)
    planes = out.numpy()

    def strip(b: int, first: int) -> None:
        _forward_rows(*problem.arguments(b, first), planes[b], first, problem.last(first))

    _run(strip, problem.jobs)
    return out


def backward(
    grad: Tensor, image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str,
    want_image: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of image (or None), kernels, offsets_h and offsets_v for ``grad`` (B, 3, h, w)."""
    problem = _Problem(image, kernels, offsets_h, offsets_v, scale, heads)
    shape = (problem.batch, problem.taps, problem.h, problem.w)
    grads = [torch.empty(shape, dtype=t.dtype, memory_format=torch.channels_last) for t in problem.heads]
    planes = grad.to(problem.work).contiguous().numpy()
    d_image = torch.zeros(image.shape, dtype=problem.work) if want_image else torch.zeros((problem.batch, 1), dtype=problem.work)

    def strip(b: int, first: int) -> None:
        last = problem.last(first)
        rows = [g.permute(0, 2, 3, 1)[b, first:last] for g in grads]  # contiguous (rows, w, k²)
        direct = grads[0].dtype == problem.work
        into = rows if direct else [torch.empty(r.shape, dtype=problem.work) for r in rows]
        _backward_rows(
            *problem.arguments(b, first), planes[b], first, last,
            *(r.reshape(-1).numpy() for r in into), d_image[b].reshape(-1).numpy(), want_image,
        )  # fmt: skip
        if not direct:
            for row, strip_grad in zip(rows, into, strict=True):
                row.copy_(strip_grad)

    if want_image:
        for parity in (0, 1):
            _run(strip, [job for job in problem.jobs if job[1] // STRIP_ROWS % 2 == parity])
    else:
        _run(strip, problem.jobs)
    return (d_image.to(image.dtype) if want_image else None), grads[0], grads[1], grads[2]
