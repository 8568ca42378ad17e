"""``--rate``: what is restored from an LR file beside what other codecs make of the full-size picture in as many bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from PIL import Image

from carcli.bench.benchmark import Observer
from carcli.bench.compare import Measured, Shown
from carcli.bench.table import Row
from carcli.images import formats, metrics
from carcli.images.picture import Pixels
from carcli.images.written import BY_PILLOW, Encoding

WORST, BEST = 1, 99  # qualities; 100 means lossless to some
CURVE = (5, 10, 20, 35, 50, 65, 80, 90, 95)  # qualities of the chart's curves
CODECS = "JPEG", "WEBP", "AVIF", "JXL"  # by Pillow's names


def codecs() -> list[str]:
    """Those that this Pillow writes, JPEG XL where its plug-in is here; by Pillow's names."""
    formats.opened()  # registers plug-ins
    return [name for name in CODECS if name in Image.SAVE]


def _options(codec: str, quality: int) -> dict[str, Any]:
    """What Pillow is told: what carcli writes itself as it writes it, with halved chroma, but for what makes it smaller still."""
    if codec not in BY_PILLOW:
        return {"quality": quality, "effort": 7}
    return Encoding(BY_PILLOW[codec], quality).options | ({"progressive": True} if codec == "JPEG" else {})


@dataclass(frozen=True)
class Coded:
    """A full-size picture in a codec's file."""

    quality: int
    bytes: int
    psnr_y: float  # dB
    psnr_rgb: float


Known = dict[tuple[str, int], Coded]  # by codec and quality


class Original:
    """A full-size picture (H, W, 3) uint8, coded at whatever quality is asked for, unless ``known`` has it; that is added to."""

    def __init__(self, pixels: Pixels, border: int, known: Known | None = None) -> None:
        self._pixels, self._border = np.ascontiguousarray(pixels), border
        self._coded: Known = {} if known is None else known

    @property
    def size(self) -> int:
        """Pixels in all."""
        height, width = self._pixels.shape[:2]
        return int(height * width)

    def coded(self, codec: str, quality: int) -> Coded:
        if (codec, quality) not in self._coded:
            file = io.BytesIO()
            Image.fromarray(self._pixels).save(file, codec, **_options(codec, quality))
            restored = np.asarray(Image.open(file, formats=(codec,)).convert("RGB"))
            psnr_y, psnr_rgb = (f(self._pixels, restored, self._border) for f in (metrics.psnr_y, metrics.psnr_rgb))
            self._coded[codec, quality] = Coded(quality, len(file.getvalue()), psnr_y, psnr_rgb)
        return self._coded[codec, quality]

    def within(self, codec: str, most: float) -> Coded:
        """At the best quality whose file has so many bytes at most; at the worst where every file has more."""
        known = sorted(coded.quality for (name, _), coded in self._coded.items() if name == codec)
        low = max((q for q in known if self.coded(codec, q).bytes <= most), default=WORST)
        high = min((q for q in known if q > low), default=BEST + 1)  # bytes grow with quality, by all but a few
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.coded(codec, middle).bytes <= most else (low, middle)
        return self.coded(codec, low)


@dataclass(frozen=True)
class Rate:
    """Fidelity at a number of bits; a mean over a dataset's images.

    A model's row has no ``codec``; a codec's at the bytes of a model has both; one of a codec's curve has no ``model``.
    """

    dataset: str
    scale: float
    model: str | None
    file: str | None  # of the LR image: what was measured, and webp beside png, where nothing is lost either
    codec: str | None
    quality: float | None  # the codec's, on the mean
    images: int
    bpp: float  # bits of the whole file for each pixel of the full-size picture
    psnr_y: float  # dB
    psnr_rgb: float  # dB


Key = tuple[str, float, str | None, str | None, str | None, int | None]  # dataset, scale, model, file, codec, the curve's quality


def _files(measured: Measured) -> Iterator[tuple[str, float]]:
    """The file that was measured, or every kind that an LR image can be kept in as it is; how many bytes it has."""
    yield measured.carrier, measured.lr_bytes
    if measured.carrier != "png":
        return
    lr_pixels = 8 * measured.lr_bytes / measured.lr_bpp
    yield "webp", measured.lr_bpp_webp * lr_pixels / 8


@dataclass
class _Sums:
    """Of what a mean is made."""

    figures: list[tuple[float, float, float, float]] = field(default_factory=list)  # bpp, psnr_y, psnr_rgb, quality

    def mean(self) -> tuple[float, ...]:
        return tuple(float(column) for column in np.mean(np.array(self.figures), axis=0))


class Rates(Observer):
    """Codes every original as the LR files of its models are large, and along each codec's curve."""

    def __init__(self, widest_border: int) -> None:
        self._widest_border = widest_border
        self._sums: dict[Key, _Sums] = {}
        self._known: dict[tuple[str, str | None, float], Known] = {}  # of each image; its pixels are not kept
        self.rates: list[Rate] = []

    def image(self, measured: Measured, shown: Shown) -> None:
        name = (measured.dataset, measured.image, measured.scale)
        border = min(math.ceil(measured.scale), self._widest_border)
        first = name not in self._known
        original = Original(shown.hr, border, self._known.setdefault(name, {}))
        row = (measured.dataset, measured.scale)
        for codec in codecs() if first else ():
            for quality in CURVE:
                self._code((*row, None, None, codec, quality), original, original.coded(codec, quality))
        for file, size in _files(measured):
            ours = (8 * size / original.size, measured.psnr_y, measured.psnr_rgb, 0.0)
            self._add((*row, measured.model, file, None, None), ours)
            for codec in codecs():
                self._code((*row, measured.model, file, codec, None), original, original.within(codec, size))

    def _code(self, key: Key, original: Original, coded: Coded) -> None:
        self._add(key, (8 * coded.bytes / original.size, coded.psnr_y, coded.psnr_rgb, float(coded.quality)))

    def _add(self, key: Key, figures: tuple[float, float, float, float]) -> None:
        self._sums.setdefault(key, _Sums()).figures.append(figures)

    def finish(self, rows: Sequence[Row]) -> None:
        for (dataset, scale, model, file, codec, _), sums in self._sums.items():
            bpp, psnr_y, psnr_rgb, quality = sums.mean()
            self.rates.append(
                Rate(
                    dataset=dataset,
                    scale=scale,
                    model=model,
                    file=file,
                    codec=codec and codec.lower(),
                    quality=quality if codec else None,
                    images=len(sums.figures),
                    bpp=bpp,
                    psnr_y=psnr_y,
                    psnr_rgb=psnr_rgb,
                )
            )
        self.rates.sort(key=lambda rate: rate.model is None)  # curves last


NAMES = tuple(f.name for f in fields(Rate))
