"""What of a photograph the report shows: all of it where that is small, else the part where it is restored worst."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from carcli.bench.compare import Shown
from carcli.images.metrics import Plane, luma
from carcli.images.picture import Pixels

GAIN = 8  # errors are shown so many times as strong
SMALL = 576  # pixels: a photograph whose sides are no longer may be shown whole
WIDEST, HIGHEST, NARROWEST = 480, 360, 64  # pixels, of an excerpt of another
SMALLER = 0.9  # at least so much narrower gets an excerpt that takes too many bytes
OVERVIEW = 320  # pixels, the longer side
QUALITY, ROUGH = 90, 70  # of WebP: photographs; overviews and errors


@dataclass(frozen=True)
class Box:
    """Pixels from ``left`` and ``top`` on."""

    left: int
    top: int
    width: int
    height: int

    def of(self, pixels: Pixels) -> Pixels:
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Excerpt:
    """The same part of an LR image and of a full-size one."""

    lr: Box
    hr: Box
    whole: bool


def embedded(pixels: Pixels, quality: int | None = None) -> str:
    """An address that holds the image (H, W) or (H, W, 3) itself: a WebP, without loss where it has no quality."""
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(out, "webp", lossless=quality is None, quality=80 if quality is None else quality)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def overview(hr: Pixels) -> str:
    """The whole photograph, small."""
    image = Image.fromarray(np.ascontiguousarray(hr))
    image.thumbnail((OVERVIEW, OVERVIEW), Image.Resampling.LANCZOS, reducing_gap=3)
    return embedded(np.asarray(image), ROUGH)


def error(shown: Shown, excerpt: Excerpt) -> Pixels:
    """The error on Y around middle grey, ``GAIN`` times as strong."""
    difference = luma(excerpt.hr.of(shown.sr)) - luma(excerpt.hr.of(shown.hr))
    levels: Pixels = (128 + GAIN * difference).round().clip(0, 255).astype(np.uint8)
    return levels


class Excerpts:
    """Parts of an image, all where what is restored errs most on Y."""

    def __init__(self, shown: Shown) -> None:
        self._shown, self._sums = shown, _sums(shown)

    @property
    def whole(self) -> Excerpt | None:
        """All of it, where it is small."""
        (height, width), (lr_height, lr_width) = self._shown.hr.shape[:2], self._shown.lr.shape[:2]
        return _at(self._shown, Box(0, 0, lr_width, lr_height)) if max(height, width) <= SMALL else None

    def of(self, widest: float) -> Excerpt:
        """About so many pixels wide, and three quarters as high."""
        return _worst(self._shown, self._sums, widest, widest * HIGHEST / WIDEST)


def fitting(shown: Shown, size: Callable[[Excerpt], float], most: float) -> Excerpt:
    """The largest excerpt, or nearly, whose ``size`` is ``most`` at most; the smallest where none is."""
    excerpts = Excerpts(shown)
    excerpt, widest = excerpts.whole, float(WIDEST)
    if excerpt is None or size(excerpt) > most:
        excerpt = excerpts.of(widest)
    while (found := size(excerpt)) > most and widest > NARROWEST:
        widest = max(widest * min(SMALLER, 0.95 * math.sqrt(most / found)), NARROWEST)
        excerpt = excerpts.of(widest)
    return excerpt


def _sums(shown: Shown) -> Plane:
    """The squared error on Y of all LR pixels above and to the left, (h + 1, w + 1) float64."""
    height, width = shown.lr.shape[:2]
    squares = ((luma(shown.sr) - luma(shown.hr)) ** 2).astype(np.float32)
    errors = np.asarray(Image.fromarray(squares).resize((width, height), Image.Resampling.BOX), np.float64)
    sums: Plane = np.pad(errors.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return sums


def _worst(shown: Shown, sums: Plane, wide: float, high: float) -> Excerpt:
    (hr_height, hr_width), (lr_height, lr_width) = shown.hr.shape[:2], shown.lr.shape[:2]
    width = min(max(1, round(wide * lr_width / hr_width)), lr_width)
    height = min(max(1, round(high * lr_height / hr_height)), lr_height)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return _at(shown, Box(int(left), int(top), width, height))


def _at(shown: Shown, lr: Box) -> Excerpt:
    (height, width), (lr_height, lr_width) = shown.hr.shape[:2], shown.lr.shape[:2]
    left, right = (round(x * width / lr_width) for x in (lr.left, lr.left + lr.width))
    top, bottom = (round(y * height / lr_height) for y in (lr.top, lr.top + lr.height))
    hr = Box(left, top, right - left, bottom - top)
    return Excerpt(lr, hr, whole=(hr.width, hr.height) == (width, height))
