"""What a resampler network predicts, and its two regularisers (CAR, arXiv 1907.12904, equations 9 and 10)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from carcli.ops.resample.definition import Heads, apply_heads

EPSILON = 1e-8  # under the root of equation 9, whose slope is infinite at zero offset


class ResamplerHeads(NamedTuple):
    """Raw network outputs, each (B, k², h, w): kernel scores, and offsets before tanh."""

    kernels: Tensor
    offsets_h: Tensor
    offsets_v: Tensor


def offset_distance(offsets_h: Tensor, offsets_v: Tensor) -> Tensor:
    """CAR equation 9: the length of every offset, weighted by its tap's distance from the kernel's centre.

    Offsets (B, k², h, w) in units; summed over taps, averaged over LR pixels. Scalar.
    """
    taps = offsets_h.shape[1]
    k = math.isqrt(taps)
    line = torch.arange(k, device=offsets_h.device, dtype=torch.float32) - k // 2
    weight = torch.hypot(line[:, None], line[None, :]).view(1, taps, 1, 1) / k
    length = (offsets_h.float() ** 2 + offsets_v.float() ** 2 + EPSILON).sqrt()
    return (length * weight).sum(1).mean()


def partial_tv(kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor) -> Tensor:
    """CAR equation 10: how much vertical offsets vary along rows, and horizontal ones along columns.

    Weighted by the (absolute) kernel weight of the tap; (B, k², h, w) each; summed over taps,
    averaged over LR pixels. Scalar.
    """
    weight = kernels.abs().float()
    across = (offsets_v[..., 1:] - offsets_v[..., :-1]).abs() * weight[..., :-1]
    down = (offsets_h[:, :, 1:] - offsets_h[:, :, :-1]).abs() * weight[:, :, :-1]
    pixels = kernels.shape[0] * kernels.shape[2] * kernels.shape[3]
    return (across.sum() + down.sum()) / pixels


def offset_regularisers(heads: ResamplerHeads, scale: int, kind: Heads) -> tuple[Tensor, Tensor]:
    """Equations 9 and 10 of raw network heads."""
    raw = heads.kernels.float(), heads.offsets_h.float(), heads.offsets_v.float()
    kernels, offsets_h, offsets_v = apply_heads(*raw, scale, kind)
    return offset_distance(offsets_h, offsets_v), partial_tv(kernels, offsets_h, offsets_v)
