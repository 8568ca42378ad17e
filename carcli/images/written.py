"""The formats that pictures are written in: what each keeps, where the tag lives, and how it is encoded.

An LR image is written in exactly the way that pairs are trained for: JPEG and AVIF with halved colour (4:2:0) at any
quality. A restored photograph keeps its full colour from quality 95 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

from carcli.errors import UsageError

FULL_COLOUR = 95  # quality from which a photograph's colour is not halved
QUALITIES = 1, 100


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that carcli writes."""

    name: str  # as options have it
    pillow: str  # Pillow's name
    suffixes: tuple[str, ...]  # the first is what files get
    lossless: bool  # whether it keeps every level where no quality is asked for
    quality: tuple[int, int] | None  # of an LR image and of a photograph, where none is asked for; None: it has none
    tag: Literal["text", "xmp"]  # where the tag lives: a PNG's own text, or XMP
    keeps: frozenset[str]  # fields of a picture, of those that not every format has
    largest: int  # pixels a side
    most: int | None = None  # pixels in all
    largest_exif: int | None = None  # bytes
    largest_xmp: int | None = None
    grey: bool = True  # whether one channel is written as one
    bytes_a_pixel: float = 0.0  # of an LR image or a restored photograph without loss
    lossy_bytes: tuple[tuple[int, float], ...] = ()  # quality, and the same with loss; rising

    @property
    def suffix(self) -> str:
        """What files get, with its dot."""
        return self.suffixes[0]

    @property
    def here(self) -> bool:
        """Whether this machine's Pillow writes it."""
        if self.name not in ("webp", "avif"):
            return True
        from PIL import features  # what it takes to load Pillow is not spent where only names are asked for

        return bool(features.check(self.name))


PNG = Format(
    name="png",
    pillow="PNG",
    suffixes=(".png",),
    lossless=True,
    quality=None,
    tag="text",
    keeps=frozenset({"alpha", "iptc", "dpi", "colour"}),
    largest=(1 << 31) - 1,
    bytes_a_pixel=2.2,
)
WEBP = Format(
    name="webp",
    pillow="WEBP",
    suffixes=(".webp",),
    lossless=True,
    quality=(90, 90),
    tag="xmp",
    keeps=frozenset({"alpha"}),
    largest=16_383,
    grey=False,
    bytes_a_pixel=2.0,
    lossy_bytes=((1, 0.1), (50, 0.22), (75, 0.28), (90, 0.48), (95, 0.6), (100, 0.8)),
)
JPEG = Format(
    name="jpeg",
    pillow="JPEG",
    suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
    lossless=False,
    quality=(90, 95),
    tag="xmp",
    keeps=frozenset({"iptc", "dpi"}),
    largest=65_500,  # libjpeg's own bound, a little below the format's
    largest_exif=65_533,
    largest_xmp=65_504,
    lossy_bytes=((1, 0.1), (50, 0.25), (75, 0.33), (90, 0.52), (95, 0.7), (100, 1.2)),
)
AVIF = Format(
    name="avif",
    pillow="AVIF",
    suffixes=(".avif",),
    lossless=False,
    quality=(75, 75),
    tag="xmp",
    keeps=frozenset({"alpha"}),
    largest=32_768,  # what libavif reads, and no more pixels than that
    most=1 << 28,
    grey=False,  # Pillow before 12 cannot
    lossy_bytes=((1, 0.1), (50, 0.18), (75, 0.36), (90, 0.55), (100, 1.15)),
)
FORMATS = {f.name: f for f in (PNG, WEBP, JPEG, AVIF)}
NAMES = tuple(FORMATS)
LOSSY = tuple(name for name, f in FORMATS.items() if f.quality is not None)  # that can lose something
BY_SUFFIX = {suffix: f for f in FORMATS.values() for suffix in f.suffixes}
BY_PILLOW = {f.pillow: f for f in FORMATS.values()}


@dataclass(frozen=True)
class Encoding:
    """How a picture is written: a format, at a quality from 1 to 100, or without loss."""

    format: Format = PNG
    quality: int | None = None  # None: every level is kept
    lr: bool = True  # whether an LR image is written so, rather than a photograph
    level: int = 6  # zlib's, of a PNG, 0 to 9

    @property
    def lossy(self) -> bool:
        return self.quality is not None

    @property
    def name(self) -> str:
        """``png``, ``webp``, ``jpeg 90``: as settings, tables and messages have it."""
        return self.format.name if self.quality is None else f"{self.format.name} {self.quality}"

    @cached_property
    def bytes_a_pixel(self) -> float:
        """What a file of a photograph takes, on the safe side."""
        if self.quality is None:
            return self.format.bytes_a_pixel
        points = self.format.lossy_bytes
        (low, least), (high, most) = next(pair for pair in pairwise(points) if self.quality <= pair[1][0])
        return least + (most - least) * (self.quality - low) / (high - low)

    @property
    def options(self) -> dict[str, Any]:
        """What Pillow is to be told. The same bytes come of the same pixels, on one thread or many."""
        name, quality = self.format.name, self.quality
        colour = "4:2:0" if self.lr or (quality or 0) < FULL_COLOUR else "4:4:4"
        if name == "png":
            return {"compress_level": self.level}
        if name == "webp" and quality is None:
            return {"lossless": True, "exact": True, "quality": 50, "method": 4}  # more effort: 0.2 % for twice the time
        if name == "webp":
            return {"quality": quality, "method": 4, "alpha_quality": 100}
        if name == "jpeg":
            return {"quality": quality, "subsampling": colour, "optimize": True, "progressive": False}
        return {"quality": quality, "subsampling": colour, "speed": 6, "max_threads": 1}


LOSSLESS = Encoding()  # PNGs, where nothing else is asked for


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; there are {', '.join(NAMES)}")
    chosen = FORMATS[name]
    if not chosen.here:
        raise UsageError(f"this machine's Pillow writes no {name}; pip install --upgrade pillow, or write webp")
    return chosen


def encoding(name: str = "png", quality: int | None = None, *, lr: bool = True, level: int = 6) -> Encoding:
    """How a format is written, at a quality or, where None, without loss, and where that cannot be at its usual one.

    Raises ``UsageError`` for a format that is unknown or not here, or a quality that it has not.
    """
    chosen = _format(name)
    if quality is not None:
        least, most = QUALITIES
        if isinstance(quality, bool) or not isinstance(quality, int) or not least <= quality <= most:
            raise UsageError(f"quality is a whole number from {least} to {most}, not {quality!r}")
        if chosen.quality is None:
            raise UsageError(f"{name} is lossless and has no quality; leave the quality out, or write webp, jpeg or avif")
    elif not chosen.lossless and chosen.quality is not None:
        quality = chosen.quality[0 if lr else 1]
    return Encoding(chosen, quality, lr, level)


def encodings(name: str, qualities: Sequence[int]) -> list[Encoding]:
    """How an LR image is written at each of some qualities, as ``encoding`` has it; at its usual one where there are none."""
    return [encoding(name, quality) for quality in dict.fromkeys(qualities)] or [encoding(name)]


def named(path: Path, name: str | None = None) -> str:
    """The format that a file's name says. Raises ``UsageError`` where it says none, or another than ``name``."""
    said = BY_SUFFIX.get(path.suffix.lower())
    if said is None:
        suffixes = list(chain(f.suffix for f in FORMATS.values()))
        raise UsageError(f"{path}: carcli writes {', '.join(NAMES)}; name a {', '.join(suffixes[:-1])} or {suffixes[-1]} file")
    if name not in (None, said.name):
        raise UsageError(
            f"{path}: its name says {said.name}, not {name}; name a {FORMATS[name].suffix} file, or leave it out"
            if name in FORMATS
            else f"unknown format {name!r}; there are {', '.join(NAMES)}"
        )
    return said.name


def of_file(path: Path, quality: int | None = None, *, lr: bool) -> Encoding:
    """How a file of that name is written. Raises ``UsageError`` as ``named`` and ``encoding`` do."""
    return encoding(named(path), quality, lr=lr)


def lossless_ones() -> Iterator[str]:
    """Names of formats that keep every level, as a message names them."""
    return (name for name, f in FORMATS.items() if f.lossless)
