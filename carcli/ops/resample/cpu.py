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
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carcli.ops.quantise import to_uint8
from carcli.ops.resample.definition import HEADS, KERNEL_MIN, residual_gain, smoothing_kernel
from carcli.runtime.threads import spread

Array = NDArray[Any]

MODES: dict[str, int] = {name: number for number, name in enumerate(HEADS)}
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


def _options(*flags: str) -> dict[str, Any]:
    return {"nogil": True, "fastmath": {"contract", "nsz", *flags}, "error_model": "numpy"}


def _cached(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the machine code: compile in every process
        return numba.njit(**options)(function)


def _jit(function: Callable[..., Any]) -> Any:
    return _cached(function, _options())


def _jit_sums(function: Callable[..., Any]) -> Any:
    """Sums may be reordered, so that they vectorise; the machine code's order is always the same."""
    return _cached(function, _options("reassoc"))


_inline: Any = numba.njit(inline="always", **_options())


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
def _positions(heads: Array, mode: int, scale: int, line: Array, frac: Array, slope: Array, want_slope: bool) -> None:
    """Lattice line and fraction of every tap along one axis, and d(position)/d(head) where wanted."""
    real = frac.dtype.type
    s, rest = real(scale), real((scale - 1) / 2)
    for t in range(line.size):
        off = _unit(heads[t], real) if mode == 0 else _tanh(heads[t], real)
        moved = off * s + rest
        floor = np.floor(moved)
        frac[t] = moved - floor
        line[t] = np.int32(floor)
        if want_slope:
            if mode == 0:
                slope[t] = s if off == heads[t] else real(0.0)
            else:
                slope[t] = s * (real(1.0) - off * off)


@_jit_sums
def _weights(scores: Array, mode: int, smooth: Array, gain: float, weight: Array) -> Any:
    """Tap weights before normalisation of the ``clamp`` mode; returns that normaliser, or 1."""
    real = weight.dtype.type
    n = weight.size
    if mode == 0:
        for t in range(n):
            weight[t] = scores[t]
        return real(1.0)
    total = real(0.0)
    if mode == 1:
        for t in range(n):
            score = scores[t]
            score = score if score > real(KERNEL_MIN) else real(KERNEL_MIN)
            weight[t] = score if score < real(1.0) else real(1.0)
        for t in range(n):
            total += weight[t]
        return max(total, real(KERNEL_MIN))
    for t in range(n):
        total += scores[t]
    mean = total / real(n)
    for t in range(n):
        weight[t] = smooth[t] + real(gain) * (scores[t] - mean)
    return real(1.0)


@_jit
def _neighbours(
    line_y: Array, line_x: Array, tap_y: Array, tap_x: Array, y: int, x: int, k: int, scale: int, height: int, width: int,
    stride_y: int, stride_x: int, base: Array, step_y: Array, step_x: Array,
) -> None:  # fmt: skip
    """Flat index of every tap's first neighbour, and the steps to the next row and column (modulo 2^64)."""
    pad = k // 2
    top, left = y * scale, x * scale
    inside = (
        top - pad >= scale + 1
        and left - pad >= scale + 1
        and top - pad + k + 2 * scale + 1 < height
        and left - pad + k + 2 * scale + 1 < width
    )
    if inside:
        origin = (top - pad) * stride_y + (left - pad) * stride_x
        for t in range(base.size):
            base[t] = np.uint64(origin + (tap_y[t] + line_y[t]) * stride_y + (tap_x[t] + line_x[t]) * stride_x)
            step_y[t] = np.uint64(stride_y)
            step_x[t] = np.uint64(stride_x)
        return
    last_y, last_x = height + 2 * pad - 1, width + 2 * pad - 1
    for t in range(base.size):
        iy = min(max(top + tap_y[t] + line_y[t], 0), last_y)
        ix = min(max(left + tap_x[t] + line_x[t], 0), last_x)
        row, column = _fold(iy, pad, height), _fold(ix, pad, width)
        base[t] = np.uint64(row * stride_y + column * stride_x)
        step_y[t] = np.uint64((_fold(min(iy + 1, last_y), pad, height) - row) * stride_y)
        step_x[t] = np.uint64((_fold(min(ix + 1, last_x), pad, width) - column) * stride_x)


@_jit
def _forward_rows(
    image: Array, stride_c: int, stride_y: int, stride_x: int, height: int, width: int, level: float,
    scores: Array, heads_h: Array, heads_v: Array, head_y: int, head_x: int,
    smooth: Array, gain: float, mode: int, k: int, scale: int, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    n = k * k
    w = out.shape[2]
    real = out.dtype.type
    plane = np.uint64(stride_c)
    ly, lx, tap_y, tap_x = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    base, dy, dx = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    fy, fx, weight = np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype)
    for t in range(n):
        tap_y[t], tap_x[t] = t // k, t % k
    for y in range(first, last):
        for x in range(w):
            at = (y - first) * head_y + x * head_x
            total = _weights(scores[at : at + n], mode, smooth, gain, weight)
            _positions(heads_v[at : at + n], mode, scale, ly, fy, fy, False)
            _positions(heads_h[at : at + n], mode, scale, lx, fx, fx, False)
            _neighbours(ly, lx, tap_y, tap_x, y, x, k, scale, height, width, stride_y, stride_x, base, dy, dx)
            r, g, b = real(0.0), real(0.0), real(0.0)
            for t in range(n):
                lower, right = weight[t] * fy[t], fx[t]
                upper = weight[t] - lower
                w11 = lower * right
                w10 = lower - w11
                w01 = upper * right
                w00 = upper - w01
                i00 = base[t]
                i01, i10 = i00 + dx[t], i00 + dy[t]
                i11 = i10 + dx[t]
                r += (w00 * image[i00] + w01 * image[i01]) + (w10 * image[i10] + w11 * image[i11])
                i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane
                g += (w00 * image[i00] + w01 * image[i01]) + (w10 * image[i10] + w11 * image[i11])
                i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane
                b += (w00 * image[i00] + w01 * image[i01]) + (w10 * image[i10] + w11 * image[i11])
            share = real(level) / total
            to = y - first
            out[0, to, x], out[1, to, x], out[2, to, x] = r * share, g * share, b * share


@_jit_sums
def _normaliser_backward(scores: Array, weight: Array, d_weight: Array, total: Any, gain: float, mode: int, out: Array) -> None:
    """From the gradients of normalised weights to those of the raw scores."""
    real = weight.dtype.type
    n = weight.size
    if mode == 0:
        for t in range(n):
            out[t] = d_weight[t]
    elif mode == 1:
        pulled = real(0.0)
        if total > real(KERNEL_MIN):
            for t in range(n):
                pulled += weight[t] / total * d_weight[t]
        for t in range(n):
            inside = scores[t] >= real(KERNEL_MIN) and scores[t] <= real(1.0)
            out[t] = (d_weight[t] - pulled) / total if inside else real(0.0)
    else:
        mean = real(0.0)
        for t in range(n):
            mean += d_weight[t]
        mean /= real(n)
        for t in range(n):
            out[t] = real(gain) * (d_weight[t] - mean)


@_jit
def _backward_rows(
    image: Array, stride_c: int, stride_y: int, stride_x: int, height: int, width: int, level: float,
    scores: Array, heads_h: Array, heads_v: Array, head_y: int, head_x: int,
    smooth: Array, gain: float, mode: int, k: int, scale: int, grad: Array, first: int, last: int,
    grad_s: Array, grad_h: Array, grad_v: Array, grad_image: Array, want_image: bool,
) -> None:  # fmt: skip
    """``grad_image`` is flat with the strides of ``image``."""
    n = k * k
    w = grad.shape[2]
    real = grad.dtype.type
    plane = np.uint64(stride_c)
    ly, lx, tap_y, tap_x = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    base, dy, dx = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    fy, fx, weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    slope_y, slope_x, d_weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    for t in range(n):
        tap_y[t], tap_x[t] = t // k, t % k
    for y in range(first, last):
        for x in range(w):
            at = (y - first) * head_y + x * head_x
            to = ((y - first) * w + x) * n
            out_s, out_h, out_v = grad_s[to : to + n], grad_h[to : to + n], grad_v[to : to + n]
            total = _weights(scores[at : at + n], mode, smooth, gain, weight)
            _positions(heads_v[at : at + n], mode, scale, ly, fy, slope_y, True)
            _positions(heads_h[at : at + n], mode, scale, lx, fx, slope_x, True)
            _neighbours(ly, lx, tap_y, tap_x, y, x, k, scale, height, width, stride_y, stride_x, base, dy, dx)
            r, g, b = (
                grad[0, y - first, x] * real(level),
                grad[1, y - first, x] * real(level),
                grad[2, y - first, x] * real(level),
            )
            share = real(1.0) / total
            for t in range(n):
                i00 = base[t]
                i01, i10 = i00 + dx[t], i00 + dy[t]
                i11 = i10 + dx[t]
                v00, v01, v10, v11 = r * image[i00], r * image[i01], r * image[i10], r * image[i11]
                i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane
                v00 += g * image[i00]
                v01 += g * image[i01]
                v10 += g * image[i10]
                v11 += g * image[i11]
                i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane
                v00 += b * image[i00]
                v01 += b * image[i01]
                v10 += b * image[i10]
                v11 += b * image[i11]
                a, c = fy[t], fx[t]
                top, bottom = v00 + c * (v01 - v00), v10 + c * (v11 - v10)
                left, right = v00 + a * (v10 - v00), v01 + a * (v11 - v01)
                d_weight[t] = top + a * (bottom - top)
                kernel = weight[t] * share
                out_v[t] = kernel * (bottom - top) * slope_y[t]
                out_h[t] = kernel * (right - left) * slope_x[t]
            _normaliser_backward(scores[at : at + n], weight, d_weight, total, gain, mode, out_s)
            if want_image:
                for t in range(n):
                    lower, right = weight[t] * share * fy[t], fx[t]
                    upper = weight[t] * share - lower
                    w11, w01 = lower * right, upper * right
                    w10, w00 = lower - w11, upper - w01
                    i00 = base[t]
                    i01, i10 = i00 + dx[t], i00 + dy[t]
                    i11 = i10 + dx[t]
                    for value in (r, g, b):
                        grad_image[i00] += w00 * value
                        grad_image[i01] += w01 * value
                        grad_image[i10] += w10 * value
                        grad_image[i11] += w11 * value
                        i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane


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
            _flat(picture), *picture.stride(), self.scale * self.h, self.scale * self.w, self.level,
            *flat, rows[0].stride(1), rows[0].stride(2), self.smooth, self.gain, self.mode, self.size, self.scale,
        )  # fmt: skip

    def last(self, first: int) -> int:
        return min(first + STRIP_ROWS, self.h)


def forward(
    image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str, rounded: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The LR image, (B, 3, h, w); arguments as those of ``carcli.ops.resample``. Nothing is kept for ``backward``."""
    problem = _Problem(image, kernels, offsets_h, offsets_v, scale, heads)
    out = torch.empty((problem.batch, 3, problem.h, problem.w), dtype=torch.uint8 if rounded else problem.work)

    def strip(b: int, first: int) -> None:
        last = problem.last(first)
        rows = out[b, :, first:last]
        made = torch.empty(rows.shape, dtype=problem.work) if rounded else rows
        _forward_rows(*problem.arguments(b, first), made.numpy(), first, last)
        if rounded:
            rows.copy_(to_uint8(made))

    spread(strip, problem.jobs)
    return out, ()


def backward(
    grad: Tensor, image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, kept: tuple[Tensor, ...],
    scale: int, heads: str, want_image: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of image (or None), kernels, offsets_h and offsets_v for ``grad`` (B, 3, h, w)."""
    if want_image:
        image = image.contiguous()
    problem = _Problem(image, kernels, offsets_h, offsets_v, scale, heads)
    shape = (problem.batch, problem.taps, problem.h, problem.w)
    grads = [torch.empty(shape, dtype=t.dtype, memory_format=torch.channels_last) for t in problem.heads]
    planes = grad.to(problem.work).contiguous().numpy()
    d_image = torch.zeros(image.shape if want_image else (problem.batch, 1), dtype=problem.work)

    def strip(b: int, first: int) -> None:
        last = problem.last(first)
        rows = [g.permute(0, 2, 3, 1)[b, first:last] for g in grads]  # contiguous (rows, w, k²)
        direct = grads[0].dtype == problem.work
        into = rows if direct else [torch.empty(r.shape, dtype=problem.work) for r in rows]
        _backward_rows(
            *problem.arguments(b, first), planes[b, :, first:last], first, last,
            *(r.reshape(-1).numpy() for r in into), d_image[b].reshape(-1).numpy(), want_image,
        )  # fmt: skip
        if not direct:
            for row, strip_grad in zip(rows, into, strict=True):
                row.copy_(strip_grad)

    if want_image:
        for parity in (0, 1):
            spread(strip, [job for job in problem.jobs if job[1] // STRIP_ROWS % 2 == parity])
    else:
        spread(strip, problem.jobs)
    return (d_image.to(image.dtype) if want_image else None), grads[0], grads[1], grads[2]
