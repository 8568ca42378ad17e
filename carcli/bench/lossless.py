"""What an LR image takes without loss: as WebP, and as JPEG-LS, in which the CAR paper's table 5 counts."""

from __future__ import annotations

import io
import math
from importlib.util import find_spec

import numpy as np
from PIL import Image

from carcli.images.picture import Pixels


def webp_bytes(pixels: Pixels) -> int:
    """Bytes of (H, W, 3) uint8 as lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "webp", lossless=True)
    return len(file.getvalue())


def jpegls_bytes(pixels: Pixels) -> float:
    """Bytes of (H, W, 3) uint8 as JPEG-LS; NaN without the extra ``jpegls``.

    Colours are green and the differences of red and blue from it, modulo 256, as the format's extension HP1 has them: a
    fifth is saved by that.
    """
    if find_spec("imagecodecs") is None:
        return math.nan
    from imagecodecs import jpegls_encode

    green = pixels[..., 1:2]
    return float(len(jpegls_encode(np.concatenate([pixels[..., :1] - green + 128, green, pixels[..., 2:] - green + 128], 2))))
