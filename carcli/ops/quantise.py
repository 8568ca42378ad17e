"""8-bit quantisation of images in [0, 1], with the gradients that training needs.

Three ways through the same staircase: exact (``to_uint8``), with a straight-through
gradient (``quantise_ste``), and the smooth approximation of CAR's equation 7
(``quantise_soft``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEVELS = 255  # steps between black and white of an 8-bit channel


def to_uint8(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits.

    Parameters: ``image``, any shape, floating point. Returns uint8 of the same shape.
    Halves round to even, as in NumPy; NaN becomes 0.
    """
    scaled = torch.nan_to_num(image.float(), nan=0.0, posinf=1.0, neginf=0.0) * LEVELS
    return scaled.round().clamp(0, LEVELS).to(torch.uint8)


def to_float(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """8-bit levels (uint8, 0..255) as floating point in [0, 1]."""
    return image.to(dtype) / LEVELS


def to_tensor(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(H, W, C) uint8 → (1, C, H, W) float32 in [0, 1] on a device."""
    return to_float(torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(device))[None]


def _quantise(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * LEVELS).round() / LEVELS


def _ste_gradient(image: Tensor, grad: Tensor) -> Tensor:
    """Pass the gradient, but not where a step along it would leave [0, 1] further behind.

    A descent step moves against the gradient: below 0 a positive gradient, and above 1 a
    negative one, push outwards and are masked; gradients that lead back are passed.
    """
    outwards = ((image < 0) & (grad > 0)) | ((image > 1) & (grad < 0))
    return grad.masked_fill(outwards, 0)


class _QuantiseSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        ctx.save_for_backward(image)
        return _quantise(image)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (image,) = ctx.saved_tensors
        return _ste_gradient(image, grad)


def quantise_ste(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, with a straight-through gradient.

    Forwards exactly what an 8-bit file keeps; backwards the identity, except that outside
    [0, 1] a gradient that pushes further outwards is dropped, so that values that have left
    the range are not driven away for good.

    Parameters: ``image``, any shape, floating point. Returns the same shape and dtype.
    """
    out: Tensor = _QuantiseSte.apply(image)
    return out


def quantise_soft(image: Tensor, sharpness: float = 1.0) -> Tensor:
    """Soft rounding of the CAR paper, equation 7: x - a·sin(2πx) / 2π in units of one 8-bit level.

    ``sharpness`` is the paper's a in [0, 1]: 0 is the identity, 1 has zero slope at every
    level. Values are clamped to [0, 1] first. Any shape, floating point, same out.
    """
    levels = image.clamp(0, 1) * LEVELS
    return (levels - sharpness * torch.sin(2 * math.pi * levels) / (2 * math.pi)) / LEVELS
