"""The fused resampling kernels for GPUs, in Triton, forwards and backwards.

A program makes a block of LR pixels: it walks through the taps, reads each tap's three heads
once, and gathers the bilinear samples from the image, which stays in cache. What the backward
pass needs of the whole sum (the normaliser and the like) is kept per LR pixel, so that it too
reads every head once. Sums run over the taps in one fixed order, whatever the block size.

Runs on CPU tensors too where Triton's interpreter is switched on (TRITON_INTERPRET=1).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from carcli.ops.resample.definition import HEADS, Resampling, residual_gain, smoothing_kernel
from carcli.ops.resample.definition import KERNEL_MIN as SCORE_MIN

MODES: dict[str, int] = {name: number for number, name in enumerate(HEADS)}
KERNEL_MIN = tl.constexpr(SCORE_MIN)
SUMS = 4  # planes: ``clamp`` keeps its normaliser; ``residual`` the mean score and every channel's sum of samples
FIXED_POINT_BITS = 40  # of the deterministic image gradient: range above the largest gradient, and resolution below

# Heads with pixels innermost (NCHW): one tap at a time, any number of pixels. Heads with taps
# innermost (channels last): a fixed block of taps, so that the order of the sum is fixed.
PIXEL_BLOCKS = [triton.Config({"PIXELS": p}, num_warps=w) for p, w in ((64, 2), (128, 4), (256, 4), (256, 8))]
LAST_PIXELS, LAST_TAPS, LAST_WARPS = 8, 32, 4
INTERPRETED_PIXELS = 64


def is_compiled() -> bool:
    """Triton does not tell; it takes moments where there is a GPU."""
    return True


@triton.jit
def _tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -t, t)


@triton.jit
def _fold(i, pad, size, SMALL: tl.constexpr):
    """Mirror an index of the padded image into the image."""
    i -= pad
    if SMALL:  # may have to be mirrored more than once
        period = tl.maximum(2 * (size - 1), 1)
        i = (i + period * pad) % period
        return tl.minimum(i, period - i) * tl.where(size > 1, 1, 0)
    i = tl.abs(i)
    return size - 1 - tl.abs(size - 1 - i)


@triton.jit
def _axis(offset, origin, scale, pad, size, SMALL: tl.constexpr):
    """Both lattice lines and the fraction between them."""
    last = size + 2 * pad - 1
    moved = offset * scale + (scale - 1) * 0.5
    floor = tl.floor(moved)
    first = tl.minimum(tl.maximum(origin + floor.to(tl.int32), 0), last)
    second = tl.minimum(first + 1, last)
    return _fold(first, pad, size, SMALL), _fold(second, pad, size, SMALL), moved - floor


@triton.jit
def _offset(raw, MODE: tl.constexpr):
    if MODE == 0:
        return tl.minimum(tl.maximum(raw, -1.0), 1.0)
    return _tanh(raw)


@triton.jit
def _slope(raw, offset, scale, MODE: tl.constexpr):
    if MODE == 0:
        return tl.where(raw == offset, 1.0, 0.0) * scale
    return (1.0 - offset * offset) * scale


@triton.jit
def _weight(score, smooth, gain, MODE: tl.constexpr):
    """A tap's weight as far as it can be known before the sum over taps."""
    if MODE == 0:
        return score
    if MODE == 1:
        return tl.minimum(tl.maximum(score, KERNEL_MIN), 1.0)
    return smooth + gain * score


@triton.jit
def _forward(
    # the image: uint8 or floating point, its strides, and what one unit of a value is worth
    image,
    i_b,
    i_c,
    i_y,
    i_x,
    height,
    width,
    level,
    # the heads, with the same strides (batch, tap, row, column), and how they are meant
    scores,
    heads_h,
    heads_v,
    h_b,
    h_t,
    h_y,
    h_x,
    smooth,
    gain,
    # what is written, (B, 3, h, w) and (B, SUMS, h, w), for ``count`` = B·h·w pixels
    out,
    sums,
    count,
    lr_height,
    lr_width,
    scale,
    pad,
    K: tl.constexpr,
    TAPS_TOTAL: tl.constexpr,
    MODE: tl.constexpr,
    SMALL: tl.constexpr,
    ROUND: tl.constexpr,
    TAPS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    p = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    live = p < count
    area = lr_height * lr_width
    b, y, x = p // area, (p % area) // lr_width, p % lr_width
    picture = image + (b * i_b)[:, None]
    place = (b * h_b + y * h_y + x * h_x)[:, None]
    y32, x32 = (y * scale).to(tl.int32)[:, None], (x * scale).to(tl.int32)[:, None]
    red = tl.zeros((PIXELS, TAPS), tl.float32)
    green = tl.zeros((PIXELS, TAPS), tl.float32)
    blue = tl.zeros((PIXELS, TAPS), tl.float32)
    total = tl.zeros((PIXELS, TAPS), tl.float32)
    all_r = tl.zeros((PIXELS, TAPS), tl.float32)
    all_g = tl.zeros((PIXELS, TAPS), tl.float32)
    all_b = tl.zeros((PIXELS, TAPS), tl.float32)
    for start in range(0, TAPS_TOTAL, TAPS):
        t = start + tl.arange(0, TAPS)
        here = live[:, None] & (t < TAPS_TOTAL)[None, :]
        at = place + (t.to(tl.int64) * h_t)[None, :]
        score = tl.load(scores + at, mask=here, other=0.0).to(tl.float32)
        off_h = _offset(tl.load(heads_h + at, mask=here, other=0.0).to(tl.float32), MODE)
        off_v = _offset(tl.load(heads_v + at, mask=here, other=0.0).to(tl.float32), MODE)
        even = tl.load(smooth + t, mask=t < TAPS_TOTAL, other=0.0)[None, :]
        weight = tl.where(here, _weight(score, even, gain, MODE), 0.0)
        r0, r1, fy = _axis(off_v, y32 + (t // K)[None, :], scale, pad, height, SMALL)
        c0, c1, fx = _axis(off_h, x32 + (t % K)[None, :], scale, pad, width, SMALL)
        a0, a1 = r0.to(tl.int64) * i_y, r1.to(tl.int64) * i_y
        b0, b1 = c0.to(tl.int64) * i_x, c1.to(tl.int64) * i_x
        w11 = fy * fx
        w10, w01 = fy - w11, fx - w11
        w00 = 1.0 - fy - w01
        for channel in tl.static_range(3):
            q = picture + channel * i_c
            v = w00 * tl.load(q + a0 + b0, mask=here, other=0).to(tl.float32)
            v += w01 * tl.load(q + a0 + b1, mask=here, other=0).to(tl.float32)
            v += w10 * tl.load(q + a1 + b0, mask=here, other=0).to(tl.float32)
            v += w11 * tl.load(q + a1 + b1, mask=here, other=0).to(tl.float32)
            if channel == 0:
                red += weight * v
                all_r += v
            elif channel == 1:
                green += weight * v
                all_g += v
            else:
                blue += weight * v
                all_b += v
        if MODE == 1:
            total += weight
        else:
            total += tl.where(here, score, 0.0)
    r, g, bl, s = tl.sum(red, 1), tl.sum(green, 1), tl.sum(blue, 1), tl.sum(total, 1)
    to = b * 3 * area + p % area
    keep = b * 4 * area + p % area
    if MODE == 1:
        share = level / tl.maximum(s, KERNEL_MIN)
        tl.store(sums + keep, s, mask=live)
        r, g, bl = r * share, g * share, bl * share
    elif MODE == 2:
        mean = s / TAPS_TOTAL
        sr, sg, sb = tl.sum(all_r, 1) * level, tl.sum(all_g, 1) * level, tl.sum(all_b, 1) * level
        r, g, bl = r * level - gain * mean * sr, g * level - gain * mean * sg, bl * level - gain * mean * sb
        tl.store(sums + keep, mean, mask=live)
        tl.store(sums + keep + area, sr, mask=live)
        tl.store(sums + keep + 2 * area, sg, mask=live)
        tl.store(sums + keep + 3 * area, sb, mask=live)
    else:
        r, g, bl = r * level, g * level, bl * level
    if ROUND:
        tl.store(out + to, _to_8_bit(r), mask=live)
        tl.store(out + to + area, _to_8_bit(g), mask=live)
        tl.store(out + to + 2 * area, _to_8_bit(bl), mask=live)
    else:
        tl.store(out + to, r, mask=live)
        tl.store(out + to + area, g, mask=live)
        tl.store(out + to + 2 * area, bl, mask=live)


@triton.jit
def _to_8_bit(value):
    """Clamp to [0, 1] and round to levels, halves to even."""
    v = tl.minimum(tl.maximum(value, 0.0), 1.0) * 255.0
    up = tl.floor(v + 0.5)
    odd = up - 2.0 * tl.floor(up * 0.5)
    return tl.where((up - v == 0.5) & (odd == 1.0), up - 1.0, up).to(tl.uint8)


@triton.jit
def _backward(
    # the image: uint8 or floating point, its strides, and what one unit of a value is worth
    image,
    i_b,
    i_c,
    i_y,
    i_x,
    height,
    width,
    level,
    # the heads, with the same strides (batch, tap, row, column), and how they are meant
    scores,
    heads_h,
    heads_v,
    h_b,
    h_t,
    h_y,
    h_x,
    smooth,
    gain,
    # the gradient of ``out``, and what the forward pass wrote
    grad,
    out,
    sums,
    count,
    lr_height,
    lr_width,
    scale,
    pad,
    # what is written: the heads' gradients, and the image's times ``fixed``
    grad_s,
    grad_h,
    grad_v,
    grad_image,
    fixed,
    K: tl.constexpr,
    TAPS_TOTAL: tl.constexpr,
    MODE: tl.constexpr,
    SMALL: tl.constexpr,
    IMAGE: tl.constexpr,  # 0: no gradient of the image, 1: floating point, 2: fixed point
    TAPS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    p = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    live = p < count
    area = lr_height * lr_width
    b, y, x = p // area, (p % area) // lr_width, p % lr_width
    picture = image + (b * i_b)[:, None]
    place = (b * h_b + y * h_y + x * h_x)[:, None]
    y32, x32 = (y * scale).to(tl.int32)[:, None], (x * scale).to(tl.int32)[:, None]
    to = b * 3 * area + p % area
    keep = b * 4 * area + p % area
    g_r = tl.load(grad + to, mask=live, other=0.0)
    g_g = tl.load(grad + to + area, mask=live, other=0.0)
    g_b = tl.load(grad + to + 2 * area, mask=live, other=0.0)
    share = g_r * 0.0 + 1.0  # what normalised weights are of the raw ones
    shift = g_r * 0.0  # and what is taken from them
    pulled = g_r * 0.0  # what normalisation takes from every weight's gradient
    if MODE == 1:
        s = tl.load(sums + keep, mask=live, other=1.0)
        share = 1.0 / tl.maximum(s, KERNEL_MIN)
        pulled = g_r * tl.load(out + to, mask=live, other=0.0)
        pulled += g_g * tl.load(out + to + area, mask=live, other=0.0)
        pulled += g_b * tl.load(out + to + 2 * area, mask=live, other=0.0)
        pulled = tl.where(s > KERNEL_MIN, pulled, 0.0)
    elif MODE == 2:
        shift = gain * tl.load(sums + keep, mask=live, other=0.0)
        pulled = g_r * tl.load(sums + keep + area, mask=live, other=0.0)
        pulled += g_g * tl.load(sums + keep + 2 * area, mask=live, other=0.0)
        pulled += g_b * tl.load(sums + keep + 3 * area, mask=live, other=0.0)
        pulled /= TAPS_TOTAL
    for start in range(0, TAPS_TOTAL, TAPS):
        t = start + tl.arange(0, TAPS)
        here = live[:, None] & (t < TAPS_TOTAL)[None, :]
        at = place + (t.to(tl.int64) * h_t)[None, :]
        score = tl.load(scores + at, mask=here, other=0.0).to(tl.float32)
        raw_h = tl.load(heads_h + at, mask=here, other=0.0).to(tl.float32)
        raw_v = tl.load(heads_v + at, mask=here, other=0.0).to(tl.float32)
        off_h, off_v = _offset(raw_h, MODE), _offset(raw_v, MODE)
        even = tl.load(smooth + t, mask=t < TAPS_TOTAL, other=0.0)[None, :]
        kernel = _weight(score, even, gain, MODE) * share[:, None] - shift[:, None]
        r0, r1, fy = _axis(off_v, y32 + (t // K)[None, :], scale, pad, height, SMALL)
        c0, c1, fx = _axis(off_h, x32 + (t % K)[None, :], scale, pad, width, SMALL)
        a0, a1 = r0.to(tl.int64) * i_y, r1.to(tl.int64) * i_y
        b0, b1 = c0.to(tl.int64) * i_x, c1.to(tl.int64) * i_x
        v00 = tl.zeros((PIXELS, TAPS), tl.float32)
        v01 = tl.zeros((PIXELS, TAPS), tl.float32)
        v10 = tl.zeros((PIXELS, TAPS), tl.float32)
        v11 = tl.zeros((PIXELS, TAPS), tl.float32)
        for channel in tl.static_range(3):
            q = picture + channel * i_c
            g = (g_r if channel == 0 else g_g if channel == 1 else g_b)[:, None] * level
            v00 += g * tl.load(q + a0 + b0, mask=here, other=0).to(tl.float32)
            v01 += g * tl.load(q + a0 + b1, mask=here, other=0).to(tl.float32)
            v10 += g * tl.load(q + a1 + b0, mask=here, other=0).to(tl.float32)
            v11 += g * tl.load(q + a1 + b1, mask=here, other=0).to(tl.float32)
        top, bottom = v00 + fx * (v01 - v00), v10 + fx * (v11 - v10)
        left, right = v00 + fy * (v10 - v00), v01 + fy * (v11 - v01)
        value = top + fy * (bottom - top)
        d_score = value
        if MODE == 1:
            inside = (score >= KERNEL_MIN) & (score <= 1.0)
            d_score = tl.where(inside, (value - pulled[:, None]) * share[:, None], 0.0)
        elif MODE == 2:
            d_score = gain * (value - pulled[:, None])
        tl.store(grad_s + at, d_score, mask=here)
        tl.store(grad_h + at, kernel * (right - left) * _slope(raw_h, off_h, scale, MODE), mask=here)
        tl.store(grad_v + at, kernel * (bottom - top) * _slope(raw_v, off_v, scale, MODE), mask=here)
        if IMAGE > 0:
            w11 = kernel * fy * fx
            w10, w01 = kernel * fy - w11, kernel * fx - w11
            w00 = kernel - kernel * fy - w01
            into = grad_image + (b * 3 * height * width)[:, None]
            for channel in tl.static_range(3):
                q = into + channel * height * width
                g = (g_r if channel == 0 else g_g if channel == 1 else g_b)[:, None] * fixed
                if IMAGE == 1:
                    tl.atomic_add(q + r0 * width + c0, w00 * g, mask=here)
                    tl.atomic_add(q + r0 * width + c1, w01 * g, mask=here)
                    tl.atomic_add(q + r1 * width + c0, w10 * g, mask=here)
                    tl.atomic_add(q + r1 * width + c1, w11 * g, mask=here)
                else:  # fixed point: integers add up to the same in any order
                    tl.atomic_add(q + r0 * width + c0, (w00 * g).to(tl.int64), mask=here)
                    tl.atomic_add(q + r0 * width + c1, (w01 * g).to(tl.int64), mask=here)
                    tl.atomic_add(q + r1 * width + c0, (w10 * g).to(tl.int64), mask=here)
                    tl.atomic_add(q + r1 * width + c1, (w11 * g).to(tl.int64), mask=here)


INTERPRETED = isinstance(_forward, InterpretedFunction)
_KEY = ["K", "MODE", "SMALL"]
_forward_tuned = _forward if INTERPRETED else triton.autotune(PIXEL_BLOCKS, key=_KEY)(_forward)
_backward_tuned = (
    _backward if INTERPRETED else triton.autotune(PIXEL_BLOCKS, key=[*_KEY, "IMAGE"], reset_to_zero=["grad_image"])(_backward)
)


def _aligned(taps: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Three tensors of one layout, pixels or taps innermost, copied only where they are not."""
    heads = [t.detach() for t in taps]
    alike = all(t.stride() == heads[0].stride() for t in heads)
    if alike and (heads[0].stride(3) == 1 or heads[0].stride(1) == 1):
        return heads
    return [t.contiguous() for t in heads]


class _Launch:
    """One problem's arguments that both kernels take, and how their programs are laid out."""

    def __init__(self, problem: Resampling) -> None:
        self.heads = _aligned(problem.taps)
        self.image = problem.image.detach()
        self.batch, taps, self.h, self.w = self.heads[0].shape
        self.taps_innermost = self.heads[0].stride(1) == 1 and taps > 1
        height, width = self.image.shape[2:]
        k = math.isqrt(taps)
        level = 1.0 / 255 if self.image.dtype == torch.uint8 else 1.0
        smooth = smoothing_kernel(k, problem.scale).to(self.image.device)
        self.inputs = (
            *(self.image, *self.image.stride(), height, width, level),
            *(*self.heads, *self.heads[0].stride(), smooth, residual_gain(k)),
        )
        self.count = self.batch * self.h * self.w
        self.lattice = (self.count, self.h, self.w, problem.scale, k // 2)
        self.constants = {
            "K": k,
            "TAPS_TOTAL": taps,
            "MODE": MODES[problem.heads],
            "SMALL": k // 2 > min(height, width) - 1,
        }

    def run(self, plain: Any, tuned: Any, outputs: tuple[Any, ...], **constants: Any) -> None:
        """Run a kernel, whose arguments go on with ``outputs``; ``tuned`` is the same kernel with its autotuner."""
        arguments = (*self.inputs, *outputs)
        constants |= self.constants
        device = self.heads[0].device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            if self.taps_innermost:
                blocks = {"TAPS": LAST_TAPS, "PIXELS": LAST_PIXELS}
                grid = (triton.cdiv(self.count, LAST_PIXELS),)
                plain[grid](*arguments, **constants, **blocks, num_warps=LAST_WARPS)
            elif INTERPRETED:
                grid = (triton.cdiv(self.count, INTERPRETED_PIXELS),)
                plain[grid](*arguments, **constants, TAPS=1, PIXELS=INTERPRETED_PIXELS)
            else:
                count = self.count
                tuned[lambda meta: (triton.cdiv(count, meta["PIXELS"]),)](*arguments, **constants, TAPS=1)


def forward(problem: Resampling, *, rounded: bool = False) -> tuple[Tensor, Tensor]:
    """The LR image (B, 3, h, w), float32 or, where ``rounded``, uint8; and the sums (B, SUMS, h, w) float32."""
    launch = _Launch(problem)
    b, h, w, device = launch.batch, launch.h, launch.w, launch.image.device
    out = torch.empty((b, 3, h, w), dtype=torch.uint8 if rounded else torch.float32, device=device)
    fresh = torch.empty if problem.heads == "residual" else torch.zeros  # the others do not write every plane
    sums = fresh((b, SUMS, h, w), dtype=torch.float32, device=device)
    launch.run(_forward, _forward_tuned, (out, sums, *launch.lattice), ROUND=rounded)
    return out, sums


def empty_gradients(problem: Resampling) -> list[Tensor]:
    """What ``backward`` fills for the heads: the layout in which it reads them."""
    return [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device) for t in _aligned(problem.taps)]


def _fixed_point(grad: Tensor) -> float:
    """The power of 2 that brings image gradients, which come from ``grad``, into the range of integers."""
    largest = float(grad.abs().max())
    return 2.0 ** (FIXED_POINT_BITS - math.frexp(largest)[1]) if 0 < largest < math.inf else 1.0


def backward(
    problem: Resampling, grad: Tensor, lr: Tensor, sums: Tensor, *, want_image: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the image (empty unless wanted) and of the heads for ``grad`` (B, 3, h, w)."""
    launch = _Launch(problem)
    image = launch.image
    grad = grad.detach().float().contiguous()
    grads = empty_gradients(problem)
    deterministic = want_image and torch.are_deterministic_algorithms_enabled()
    fixed = _fixed_point(grad) if deterministic else 1.0
    d_image = torch.zeros(
        image.shape if want_image else (1,),
        dtype=torch.int64 if deterministic else torch.float32,
        device=image.device,
    )
    outputs = (grad, lr, sums, *launch.lattice, *grads, d_image, fixed)
    launch.run(_backward, _backward_tuned, outputs, IMAGE=int(want_image) + int(deterministic))
    if deterministic:
        d_image = d_image.double() / fixed
    return d_image.to(image.dtype) if want_image else image.new_empty(0), grads[0], grads[1], grads[2]
