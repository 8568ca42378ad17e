"""What ONNX has no operator for, or none that is the same everywhere, in operators that every engine has.

Bicubic resizing (a = -0.5, as Pillow's) by a whole number is a convolution with one kernel for each phase, divided by what
it makes of ones: beyond the border there is nothing, and the kernel's weights that are left are brought to sum 1. Content
adaptive resampling is its definition with every LR row at once: lattice lines, ``GatherElements`` and sums.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.ops.resample.definition import Heads, apply_heads, compose


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution, a = -0.5."""
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _planes(image: Tensor) -> Tensor:
    """(B, C, H, W) → (B·C, 1, H, W)."""
    b, c, height, width = image.shape
    return image.reshape(b * c, 1, height, width)


def bicubic_down(hr: Tensor, scale: int) -> Tensor:
    """Antialiased, (B, C, s·h, s·w) float32 → (B, C, h, w): first along rows, then along columns."""
    count = 4 * scale - scale % 2  # taps whose weight is not zero
    taps = _cubic((torch.arange(count, dtype=torch.float64) - (count - 1) / 2) / scale)
    row = (taps / taps.sum()).float().view(1, 1, 1, count)
    pad = 3 * scale // 2

    def shrunk(planes: Tensor, kernel: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        return F.conv2d(planes, kernel, stride=stride, padding=padding)

    across = (row, (1, scale), (0, pad))
    along = (row.transpose(2, 3), (scale, 1), (pad, 0))
    planes = _planes(hr)
    planes = shrunk(planes, *across) / shrunk(torch.ones_like(planes[:1, :, :1]), *across)
    planes = shrunk(planes, *along) / shrunk(torch.ones_like(planes[:1, :, :, :1]), *along)
    return planes.reshape(hr.shape[0], hr.shape[1], planes.shape[2], planes.shape[3])


def bicubic_up(lr: Tensor, scale: int) -> Tensor:
    """(B, C, h, w) float32 → (B, C, s·h, s·w)."""
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale
    rows = _cubic(torch.arange(-2, 3, dtype=torch.float64) + 0.5 - phase[:, None])  # (s, 5): what a phase takes of its neighbours
    kernels = (rows[:, None, :, None] * rows[None, :, None, :]).reshape(scale**2, 1, 5, 5).float()

    def enlarged(planes: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(planes, kernels, padding=2), scale)

    planes = _planes(lr)
    planes = enlarged(planes) / enlarged(torch.ones_like(planes[:1]))
    return planes.reshape(lr.shape[0], lr.shape[1], planes.shape[2], planes.shape[3])


def interpolate(image: Tensor, **options: Any) -> Tensor:
    """What ``torch.nn.functional.interpolate`` makes of an image, as our networks ask it to."""
    factor = options["scale_factor"]
    if options["mode"] != "bicubic" or not options.get("antialias") or not factor:
        raise NotImplementedError(f"interpolation ({options['mode']}) that is no antialiased bicubic by a factor")
    return bicubic_up(image, round(factor)) if factor >= 1 else bicubic_down(image, round(1 / factor))


def remainder(dividend: Tensor, divisor: Tensor | int) -> Tensor:
    """``torch.remainder``; the divisor is a tensor, for one that depends on a size is no number to the exporter."""
    return torch.remainder(dividend, divisor if isinstance(divisor, Tensor) else torch.full((1,), divisor, dtype=dividend.dtype))


def resampled(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, *, heads: Heads) -> Tensor:
    """Content adaptive resampling; arguments and result are those of ``carcli.ops.resample.resample``."""
    kernels, offsets_h, offsets_v = apply_heads(kernels.float(), offsets_h.float(), offsets_v.float(), scale, heads)
    return compose(image.float(), kernels, offsets_h, offsets_v, scale)
