"""The CAR paper's looks inside: spectra of LR images (figure 6) and where a resampler samples (figure 4)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from carcli.errors import UsageError
from carcli.images.metrics import luma
from carcli.images.picture import Pixels
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.ops.quantise import to_tensor
from carcli.ops.resample.definition import apply_heads
from carcli.rescale.rescaler import Rescaler

SPECTRUM_SIDE = 256
ZOOM = 16  # pixels of the drawing an HR pixel

Region = tuple[int, int, int, int]  # left, top, width, height in LR pixels


def spectrum(lr: Pixels) -> NDArray[np.float64]:
    """Logarithm (base 10) of the power spectrum of an LR image's Y: (256, 256), frequency zero in the middle.

    The central square is taken and Hann-windowed, so that borders do not draw a cross.
    """
    n = min(lr.shape[:2])
    top, left = (lr.shape[0] - n) // 2, (lr.shape[1] - n) // 2
    y = luma(lr[top : top + n, left : left + n])
    window = np.hanning(n + 2)[1:-1]
    power = np.abs(np.fft.fftshift(np.fft.fft2((y - y.mean()) * window[:, None] * window[None, :]))) ** 2
    resized = Image.fromarray(np.log10(power + 1).astype(np.float32)).resize((SPECTRUM_SIDE, SPECTRUM_SIDE))
    return np.asarray(resized, dtype=np.float64)


def draw_spectrum(spectra: list[NDArray[np.float64]]) -> Image.Image:
    """The mean of spectra as a grey picture: black 0, white 8 (decades of power)."""
    mean = np.mean(spectra, axis=0)
    return Image.fromarray((mean * 255 / 8).round().clip(0, 255).astype(np.uint8))


def _heads(rescaler: Rescaler, hr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    down = rescaler.networks.down
    if not isinstance(down, ContentAdaptiveResampler):
        raise UsageError(f"{rescaler.id} has no resampling kernels; name a checkpoint that has, such as edsr-base-x4")
    with torch.no_grad():
        heads = down.net(hr)
        raw = heads.kernels.float(), heads.offsets_h.float(), heads.offsets_v.float()
        return apply_heads(*raw, rescaler.scale, down.net.heads)


def draw_offsets(rescaler: Rescaler, hr: Pixels, region: Region | None = None) -> Image.Image:
    """Where every LR pixel of a region samples the HR image, over that image enlarged.

    ``hr`` (H, W, 3) uint8; ``region`` left, top, width, height in LR pixels, the central 2x2 by
    default. A dot is a tap, its area the weight: light for positive, red for negative ones; a cross is
    the LR pixel's centre.

    Raises ``UsageError`` where the model has no kernels or the region lies outside.
    """
    scale = rescaler.scale
    step = rescaler.networks.down.multiple_of
    height, width = (n // step * step for n in hr.shape[:2])
    hr = hr[:height, :width]
    h, w = height // scale, width // scale
    left, top, columns, rows = region or (max(w // 2 - 1, 0), max(h // 2 - 1, 0), min(w, 2), min(h, 2))
    if left < 0 or top < 0 or columns < 1 or rows < 1 or left + columns > w or top + rows > h:
        raise UsageError(f"region {left},{top},{columns},{rows} lies outside the LR image of {w}x{h} pixels")
    x = to_tensor(hr, rescaler.device)
    kernels, offsets_h, offsets_v = (t[0].cpu().numpy() for t in _heads(rescaler, x))
    k = math.isqrt(kernels.shape[0])
    margin = k // 2 + scale
    x0, y0 = left * scale - margin, top * scale - margin
    x1, y1 = (left + columns) * scale + margin, (top + rows) * scale + margin
    inside = Image.fromarray(np.ascontiguousarray(hr)).crop((x0, y0, x1, y1))
    picture = inside.resize(((x1 - x0) * ZOOM, (y1 - y0) * ZOOM), Image.Resampling.NEAREST).convert("RGB")
    draw = ImageDraw.Draw(picture, "RGBA")
    for v in range(top, top + rows):
        for u in range(left, left + columns):
            for tap in range(k * k):
                weight = float(kernels[tap, v, u])
                row = (v + 0.5) * scale - 0.5 + tap // k - k // 2 + scale * float(offsets_v[tap, v, u])
                column = (u + 0.5) * scale - 0.5 + tap % k - k // 2 + scale * float(offsets_h[tap, v, u])
                radius = ZOOM * math.sqrt(abs(weight)) * 0.8
                cx, cy = (column + 0.5 - x0) * ZOOM, (row + 0.5 - y0) * ZOOM
                colour = (255, 255, 160, 150) if weight >= 0 else (255, 40, 40, 150)
                draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour)
            cx, cy = ((u + 0.5) * scale - x0) * ZOOM, ((v + 0.5) * scale - y0) * ZOOM
            draw.line((cx - 5, cy, cx + 5, cy), fill=(0, 255, 255, 255), width=2)
            draw.line((cx, cy - 5, cx, cy + 5), fill=(0, 255, 255, 255), width=2)
    return picture
