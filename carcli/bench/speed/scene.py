"""The picture that everything is timed on."""

from __future__ import annotations

import numpy as np

from carcli.images.picture import Pixels


def photograph(height: int, width: int) -> Pixels:
    """Smooth random pixels (H, W, 3): as large as a photograph, and about as hard to compress."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    rows = np.arange(height) // 8
    pixels: Pixels = coarse[rows][:, np.arange(width) // 8]
    noise = rng.integers(0, 16, (min(height, 512), min(width, 512), 3), dtype=np.uint8)
    pixels += np.tile(noise, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    return pixels
