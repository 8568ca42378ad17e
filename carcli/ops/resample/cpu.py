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
from dataclasses import replace
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carcli.ops.quantise import to_uint8
from carcli.ops.resample.definition import HEADS, KERNEL_MIN, Resampling, residual_gain, smoothing_kernel
from carcli.runtime.threads import spread

Array = NDArray[Any]

MODES: dict[str, int] = {name: number for number, name in enumerate(HEADS)}
SUMS = 0  # nothing is kept for ``backward``
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


class _Picture(NamedTuple):
    """One image of the batch."""

    values: Array  # the memory from its first value on, flat
    stride_c: int
    stride_y: int
    stride_x: int
    height: int
    width: int
    level: float  # what one unit of a value is worth: 1/255 where they are uint8


class _Strip(NamedTuple):
    """The heads of LR rows [first, last), flat, taps innermost."""

    scores: Array
    offsets_h: Array
    offsets_v: Array
    step_y: int  # between LR rows
    step_x: int  # between LR pixels
    first: int
    last: int


class _Semantics(NamedTuple):
    """How heads are meant."""

    smooth: Array  # (k²,), see ``smoothing_kernel``
    gain: float
    mode: int  # see MODES
    k: int
    scale: int


class _Lattice(NamedTuple):
    """Of every tap (k²,): its row and column in the kernel, and the lattice lines its offsets add."""

    tap_y: Array
    tap_x: Array
    line_y: Array
    line_x: Array


class _Places(NamedTuple):
    """Of every tap (k²,) uint64: its first neighbour in ``_Picture.values``, and the steps to the next ones."""

    base: Array
    step_y: Array
    step_x: Array


class _Gradients(NamedTuple):
    """What the backward pass writes: of a strip's heads (rows·w·k²,), and of the whole picture."""

    scores: Array
    offsets_h: Array
    offsets_v: Array
    image: Array  # flat, with the strides of ``_Picture``
    want_image: bool


def _options(*flags: str) -> dict[str, Any]:
    return {"nogil": True, "fastmath": {"contract", "nsz", *flags}, "error_model": "numpy"}


def _cached(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the machine code: compile in every process
        return numba.njit(**options)(function)


def is_compiled() -> bool:
    """Whether machine code of these kernels lies in numba's cache, as far as numba tells; it keeps it for each processor."""
    try:
        return bool(_forward_rows._cache._cache_file._load_index())
    except Exception:  # no cache, or another numba's
        return False


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
def _positions(heads: Array, how: _Semantics, line: Array, frac: Array, slope: Array, want_slope: bool) -> None:
    """Lattice line and fraction of every tap along one axis, and d(position)/d(head) where wanted."""
    real = frac.dtype.type
    s, rest = real(how.scale), real((how.scale - 1) / 2)
    for t in range(line.size):
        off = _unit(heads[t], real) if how.mode == 0 else _tanh(heads[t], real)
        moved = off * s + rest
        floor = np.floor(moved)
        frac[t] = moved - floor
        line[t] = np.int32(floor)
        if want_slope:
            if how.mode == 0:
                slope[t] = s if off == heads[t] else real(0.0)
            else:
                slope[t] = s * (real(1.0) - off * off)


@_jit_sums
def _weights(scores: Array, how: _Semantics, weight: Array) -> Any:
    """Tap weights before normalisation of the ``clamp`` mode; returns that normaliser, or 1."""
    real = weight.dtype.type
    n = weight.size
    if how.mode == 0:
        for t in range(n):
            weight[t] = scores[t]
        return real(1.0)
    total = real(0.0)
    if how.mode == 1:
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
        weight[t] = how.smooth[t] + real(how.gain) * (scores[t] - mean)
    return real(1.0)


@_jit
def _neighbours(picture: _Picture, how: _Semantics, y: int, x: int, lattice: _Lattice, places: _Places) -> None:
    """Fill ``places`` for LR pixel (y, x); steps are modulo 2^64."""
    tap_y, tap_x, line_y, line_x = lattice
    base, step_y, step_x = places
    height, width = picture.height, picture.width
    stride_y, stride_x = picture.stride_y, picture.stride_x
    k, scale = how.k, how.scale
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


@_inline
def _buffers(k: int) -> Any:
    """Room for the lattice and the places of one LR pixel's taps."""
    n = k * k
    tap_y, tap_x = np.empty(n, np.int32), np.empty(n, np.int32)
    for t in range(n):
        tap_y[t], tap_x[t] = t // k, t % k
    lattice = _Lattice(tap_y, tap_x, np.empty(n, np.int32), np.empty(n, np.int32))
    return lattice, _Places(np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64))


@_jit
def _forward_rows(picture: _Picture, strip: _Strip, how: _Semantics, out: Array) -> None:
    """Fill ``out`` (3, rows, w)."""
    n = how.k * how.k
    w = out.shape[2]
    real = out.dtype.type
    image = picture.values
    plane = np.uint64(picture.stride_c)
    lattice, places = _buffers(how.k)
    base, dy, dx = places
    fy, fx, weight = np.empty(n, out.dtype), np.empty(n, out.dtype), np.empty(n, out.dtype)
    for y in range(strip.first, strip.last):
        for x in range(w):
            at = (y - strip.first) * strip.step_y + x * strip.step_x
            total = _weights(strip.scores[at : at + n], how, weight)
            _positions(strip.offsets_v[at : at + n], how, lattice.line_y, fy, fy, False)
            _positions(strip.offsets_h[at : at + n], how, lattice.line_x, fx, fx, False)
            _neighbours(picture, how, y, x, lattice, places)
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
            share = real(picture.level) / total
            to = y - strip.first
            out[0, to, x], out[1, to, x], out[2, to, x] = r * share, g * share, b * share


@_jit_sums
def _normaliser_backward(scores: Array, how: _Semantics, weight: Array, total: Any, d_weight: Array, out: Array) -> None:
    """From the gradients of normalised weights to those of the raw scores."""
    real = weight.dtype.type
    n = weight.size
    if how.mode == 0:
        for t in range(n):
            out[t] = d_weight[t]
    elif how.mode == 1:
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
            out[t] = real(how.gain) * (d_weight[t] - mean)


@_inline
def _scatter(
    out: Array, places: _Places, plane: Any, weight: Array, share: Any, fy: Array, fx: Array, r: Any, g: Any, b: Any
) -> None:
    """Add an LR pixel's gradient (r, g, b) to those of the pixels that it was sampled from."""
    base, dy, dx = places
    for t in range(weight.size):
        lower, right = weight[t] * share * fy[t], fx[t]
        upper = weight[t] * share - lower
        w11, w01 = lower * right, upper * right
        w10, w00 = lower - w11, upper - w01
        i00 = base[t]
        i01, i10 = i00 + dx[t], i00 + dy[t]
        i11 = i10 + dx[t]
        for value in (r, g, b):
            out[i00] += w00 * value
            out[i01] += w01 * value
            out[i10] += w10 * value
            out[i11] += w11 * value
            i00, i01, i10, i11 = i00 + plane, i01 + plane, i10 + plane, i11 + plane


@_jit
def _backward_rows(picture: _Picture, strip: _Strip, how: _Semantics, grad: Array, gradients: _Gradients) -> None:
    """Fill ``gradients`` for ``grad`` (3, rows, w); those of the image are added to."""
    n = how.k * how.k
    w = grad.shape[2]
    real = grad.dtype.type
    level = real(picture.level)
    image = picture.values
    plane = np.uint64(picture.stride_c)
    lattice, places = _buffers(how.k)
    base, dy, dx = places
    fy, fx, weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    slope_y, slope_x, d_weight = np.empty(n, grad.dtype), np.empty(n, grad.dtype), np.empty(n, grad.dtype)
    for y in range(strip.first, strip.last):
        for x in range(w):
            row = y - strip.first
            at = row * strip.step_y + x * strip.step_x
            to = (row * w + x) * n
            out_h, out_v = gradients.offsets_h[to : to + n], gradients.offsets_v[to : to + n]
            total = _weights(strip.scores[at : at + n], how, weight)
            _positions(strip.offsets_v[at : at + n], how, lattice.line_y, fy, slope_y, True)
            _positions(strip.offsets_h[at : at + n], how, lattice.line_x, fx, slope_x, True)
            _neighbours(picture, how, y, x, lattice, places)
            r, g, b = grad[0, row, x] * level, grad[1, row, x] * level, grad[2, row, x] * level
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
            _normaliser_backward(strip.scores[at : at + n], how, weight, total, d_weight, gradients.scores[to : to + n])
            if gradients.want_image:
                _scatter(gradients.image, places, plane, weight, share, fy, fx, r, g, b)


def _flat(tensor: Tensor) -> Array:
    """The memory behind a tensor from its first element on, as a one-dimensional array."""
    size = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    array: Array = tensor.detach().as_strided((size,), (1,)).numpy()
    return array


class _Strips:
    """A problem cut into strips of LR rows: the arrays of one at a time."""

    def __init__(self, problem: Resampling) -> None:
        self.work = torch.float64 if problem.kernels.dtype == torch.float64 else torch.float32
        image = problem.image.detach()
        self.image = image if image.dtype in (torch.uint8, self.work) else image.to(self.work)
        self.taps = tuple(t.detach() for t in problem.taps)
        self.batch, _, self.h, self.w = problem.kernels.shape
        k = math.isqrt(problem.kernels.shape[1])
        self.how = _Semantics(
            smooth=smoothing_kernel(k, problem.scale).to(self.work).numpy(),
            gain=residual_gain(k),
            mode=MODES[problem.heads],
            k=k,
            scale=problem.scale,
        )
        self.jobs = [(b, y) for b in range(self.batch) for y in range(0, self.h, STRIP_ROWS)]

    def last(self, first: int) -> int:
        """The row after the strip that begins with ``first``."""
        return min(first + STRIP_ROWS, self.h)

    def picture(self, b: int) -> _Picture:
        image = self.image[b]
        stride_c, stride_y, stride_x = image.stride()
        return _Picture(
            values=_flat(image),
            stride_c=stride_c,
            stride_y=stride_y,
            stride_x=stride_x,
            height=image.shape[1],
            width=image.shape[2],
            level=1.0 / 255 if image.dtype == torch.uint8 else 1.0,
        )

    def strip(self, b: int, first: int) -> _Strip:
        rows = [t[b, :, first : first + STRIP_ROWS] for t in self.taps]
        steps = {(t.stride(1), t.stride(2)) for t in rows}
        alike = len(steps) == 1 and all(t.dtype == self.work for t in rows)
        if not alike or any(t.stride(0) != 1 and t.shape[0] > 1 for t in rows):
            # other dtype or layout: a copy of this strip alone, taps innermost
            rows = [t.permute(1, 2, 0).to(self.work).contiguous().permute(2, 0, 1) for t in rows]
        return _Strip(
            scores=_flat(rows[0]),
            offsets_h=_flat(rows[1]),
            offsets_v=_flat(rows[2]),
            step_y=rows[0].stride(1),
            step_x=rows[0].stride(2),
            first=first,
            last=self.last(first),
        )


def forward(problem: Resampling, *, rounded: bool = False) -> tuple[Tensor, Tensor]:
    """The LR image (B, 3, h, w), uint8 where ``rounded``, and sums of no planes."""
    strips = _Strips(problem)
    shape = (strips.batch, 3, strips.h, strips.w)
    out = torch.empty(shape, dtype=torch.uint8 if rounded else strips.work)

    def compute(b: int, first: int) -> None:
        rows = out[b, :, first : strips.last(first)]
        values = torch.empty(rows.shape, dtype=strips.work) if rounded else rows
        _forward_rows(strips.picture(b), strips.strip(b, first), strips.how, values.numpy())
        if rounded:
            rows.copy_(to_uint8(values))

    spread(compute, strips.jobs)
    return out, torch.empty((strips.batch, SUMS, strips.h, strips.w), dtype=strips.work)


def empty_gradients(problem: Resampling) -> list[Tensor]:
    """What ``backward`` fills for the heads: taps innermost."""
    return [torch.empty_like(t.detach(), memory_format=torch.channels_last) for t in problem.taps]


def backward(
    problem: Resampling, grad: Tensor, lr: Tensor, sums: Tensor, *, want_image: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the image (empty unless wanted) and of the heads for ``grad`` (B, 3, h, w)."""
    image = problem.image.detach()
    if want_image:  # its gradient has its strides
        image = image.contiguous()
    strips = _Strips(replace(problem, image=image))
    grads = empty_gradients(problem)
    planes = grad.detach().to(strips.work).contiguous().numpy()
    d_image = torch.zeros(image.shape if want_image else (strips.batch, 0), dtype=strips.work)

    def compute(b: int, first: int) -> None:
        last = strips.last(first)
        rows = [g.permute(0, 2, 3, 1)[b, first:last] for g in grads]  # contiguous (rows, w, k²)
        into = [r if r.dtype == strips.work else torch.empty(r.shape, dtype=strips.work) for r in rows]
        scores, offsets_h, offsets_v = (r.reshape(-1).numpy() for r in into)
        gradients = _Gradients(
            scores=scores,
            offsets_h=offsets_h,
            offsets_v=offsets_v,
            image=d_image[b].reshape(-1).numpy(),
            want_image=want_image,
        )
        strip = strips.strip(b, first)
        _backward_rows(strips.picture(b), strip, strips.how, planes[b, :, first:last], gradients)
        for row, strip_grad in zip(rows, into, strict=True):
            if row is not strip_grad:
                row.copy_(strip_grad)

    if want_image:
        for parity in (0, 1):
            spread(compute, [job for job in strips.jobs if job[1] // STRIP_ROWS % 2 == parity])
    else:
        spread(compute, strips.jobs)
    return d_image.to(image.dtype) if want_image else image.new_empty(0), grads[0], grads[1], grads[2]
