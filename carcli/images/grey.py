"""Grey in three channels and back: what a colour pair is shown of it, and what is read out of what it made."""

from __future__ import annotations

import numpy as np

from carcli.images.picture import Pixels


def in_colour(pixels: Pixels) -> Pixels:
    """Pixels (H, W, 1 or 3) as RGB (H, W, 3), without a copy: not to be written to."""
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def averaged(pixels: Pixels) -> Pixels:
    """The mean (H, W, 1) of three channels, rounded; one channel as it is."""
    if pixels.shape[2] == 1:
        return pixels
    total = pixels[..., :1].astype(np.uint16)
    total += pixels[..., 1:2]
    total += pixels[..., 2:]
    return ((total + 1) // 3).astype(np.uint8)  # thirds are never halves


def collapsed(pixels: Pixels) -> Pixels:
    """One channel (H, W, 1) of pixels whose channels are the same everywhere; others as they are."""
    return pixels[..., :1] if (pixels[..., 1:] == pixels[..., :1]).all() else pixels
