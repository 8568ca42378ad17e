"""What JPEG does to an image, in steps that have gradients: for pairs that are trained through it.

Colours are taken to luma and chroma (JFIF), chroma to half its size (4:2:0), each 8x8 block to its cosine
transform, and its coefficients are rounded to multiples of a table (ITU-T T.81). All of it is linear but the
rounding, whose slope here is that of ``soft_round``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.ops.quantise import LEVELS

BLOCK, UNIT = 8, 16  # pixels a side: of a transform, and of what 4:2:0 treats as one
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def soft_round(x: Tensor, sharpness: float) -> Tensor:
    """x - a·sin(2πx) / 2π: at ``sharpness`` a = 1 as flat at every whole number as rounding is, at 0 the identity."""
    return x - sharpness * torch.sin(2 * math.pi * x) / (2 * math.pi) if sharpness else x


def _mixed(image: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """(B, 3, h, w) whose channels are mixed by a 3x3 matrix."""
    return torch.einsum("ij,bjhw->bihw", image.new_tensor(matrix), image)


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of eight values, (8, 8)."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * n + 1) * n[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows.to(like)


def _through_blocks(plane: Tensor, tables: Tensor, sharpness: float) -> Tensor:
    """(B, C, h, w) levels around 0, h and w multiples of 8, through 8x8 blocks quantised by ``tables`` (B, C, 8, 8)."""
    batch, channels, height, width = plane.shape
    cosines = _cosines(plane)
    blocks = plane.reshape(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    steps = tables[:, :, None, None]
    coefficients = cosines @ blocks @ cosines.T
    kept = soft_round(coefficients / steps, sharpness) * steps
    return (cosines.T @ kept @ cosines).transpose(3, 4).reshape(plane.shape)


def approximate(image: Tensor, luma: Tensor, chroma: Tensor, sharpness: float = 1.0) -> Tensor:
    """An image as JPEG keeps it, with slopes.

    Parameters: ``image`` (B, 3, h, w) in [0, 1], any size; ``luma`` and ``chroma`` (B, 8, 8), the quantisation
    tables of each image, steps in levels by row of vertical frequency; ``sharpness`` of ``soft_round``.
    Returns (B, 3, h, w), not clamped.
    """
    height, width = image.shape[2:]
    padded = F.pad(image, (0, -width % UNIT, 0, -height % UNIT), mode="replicate")
    levels = _mixed(padded.float() * LEVELS, TO_YCC)
    bright = _through_blocks(levels[:, :1] - 128, luma[:, None], sharpness) + 128
    colours = _through_blocks(F.avg_pool2d(levels[:, 1:], 2), chroma[:, None].expand(-1, 2, -1, -1), sharpness)
    colours = F.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
    return _mixed(torch.cat([bright, colours], 1), TO_RGB)[:, :, :height, :width] / LEVELS
