"""What an LR image goes through between the halves of a pair: the real codec forwards, an approximation backwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from carcli.images.picture import Pixels
from carcli.images.written import encoding
from carcli.ops.jpeg import BLOCK, approximate
from carcli.ops.quantise import to_float, to_uint8


def _coded(pixels: Pixels, quality: int) -> bytes:
    file = io.BytesIO()
    how = encoding("jpeg", quality)
    Image.fromarray(pixels).save(file, how.format.pillow, **how.options)
    return file.getvalue()


@lru_cache(maxsize=128)
def _tables(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The encoder's own quantisation tables, of luma and chroma, row by row."""
    with Image.open(io.BytesIO(_coded(np.zeros((BLOCK, BLOCK, 3), np.uint8), quality))) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return tuple(tables[0]), tuple(tables[1])


def spread(qualities: tuple[int, int], count: int) -> list[int]:
    """``count`` qualities from the lowest to the highest of a range, evenly apart."""
    return [round(quality) for quality in np.linspace(*qualities, count)] if count > 1 else [round(sum(qualities) / 2)]


def decoded(levels: Tensor, qualities: Sequence[int]) -> Tensor:
    """8-bit levels (B, 3, h, w) uint8 as JPEG files of those qualities keep them."""
    images = levels.permute(0, 2, 3, 1).cpu().numpy()
    kept = []
    for pixels, quality in zip(images, qualities, strict=True):
        with Image.open(io.BytesIO(_coded(np.ascontiguousarray(pixels), quality))) as image:
            kept.append(np.asarray(image.convert("RGB")))
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).to(levels.device)


def through_jpeg(lr: Tensor, qualities: Sequence[int], sharpness: float = 1.0) -> Tensor:
    """LR (B, 3, h, w) in [0, 1] → what JPEG files of those qualities keep of it, with the approximation's gradient."""
    tables = torch.tensor([_tables(quality) for quality in qualities], dtype=torch.float32, device=lr.device)
    luma, chroma = tables.unflatten(2, (BLOCK, BLOCK)).unbind(1)
    near = approximate(lr, luma, chroma, sharpness)
    real = to_float(decoded(to_uint8(lr.detach()), qualities))
    return near + (real - near).detach()
