"""Transparency: levels that stand for it, and the colours beneath it, which are nobody's to see.

A network that looks at a pixel looks at its neighbours too, and whatever a program has left under transparency, mostly
black, would bleed into the edge. So hidden colours are replaced by those that are seen beside them, before anything is
computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcli.images.picture import Pixels

OPAQUE = 32  # alpha from which a pixel's own colour is taken as it is; below, the less of it the more is transparent
BAND = 512  # rows that are looked at together


def of_level(levels: NDArray[np.unsignedinteger], transparent: int | tuple[int, ...]) -> Pixels:
    """Alpha (H, W, 1) of levels (H, W) or (H, W, C), of which one, or one colour, is transparent."""
    same = levels == np.asarray(transparent, levels.dtype)
    return np.where(same.all(2) if same.ndim == 3 else same, np.uint8(0), np.uint8(255))[..., None]


def filled(pixels: Pixels, alpha: Pixels | None, seen: int = OPAQUE) -> Pixels:
    """Pixels (H, W, C) whose hidden colours are those seen nearby: the same where ``alpha`` (H, W, 1) is ``seen`` or more.

    Below, a pixel's own colour counts the less the less it is seen, and beside it that of the smallest square of 2, 4,
    8, … pixels around it in which anything is seen, weighted by alpha. Where nothing is seen at all, black.
    """
    if alpha is None or alpha.min(initial=255) >= seen:
        return pixels
    return _filled(pixels, np.minimum(alpha.astype(np.float32) / seen, 1))


def _filled(pixels: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[Any]:
    height, width, channels = pixels.shape
    if max(height, width) == 1:
        return np.where(weight > 0, pixels, np.zeros_like(pixels))
    half = (-(-height // 2), -(-width // 2))
    means, weights = np.empty((*half, channels), np.float32), np.empty((*half, 1), np.float32)
    for top in range(0, height, BAND):
        rows = slice(top // 2, top // 2 + -(-min(BAND, height - top) // 2))
        total = _squares(weight[top : top + BAND])
        colours = _squares(pixels[top : top + BAND] * weight[top : top + BAND])
        means[rows] = colours / np.maximum(total, 1e-12)
        weights[rows] = np.minimum(total, 1)  # a square counts as seen where any whole pixel of it is
    coarse = _filled(means, weights)
    out = np.empty_like(pixels)
    for top in range(0, height, BAND):
        rows = slice(top, min(top + BAND, height))
        around = coarse[np.arange(rows.start, rows.stop) // 2][:, np.arange(width) // 2]
        mixed = pixels[rows] * weight[rows] + around * (1 - weight[rows])
        out[rows] = np.rint(mixed) if pixels.dtype == np.uint8 else mixed
    return out


def _squares(values: NDArray[Any]) -> NDArray[np.float32]:
    """Sums over squares of 2x2, those at the edge of what is there."""
    height, width = values.shape[:2]
    padded: NDArray[np.float32] = np.pad(values.astype(np.float32), ((0, height % 2), (0, width % 2), (0, 0)))
    rows = padded[0::2] + padded[1::2]
    return rows[:, 0::2] + rows[:, 1::2]
