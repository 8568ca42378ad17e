"""Measure pairs on HR images: down, through a file, up again, and compare with the original."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carcli.bench.datasets import Images
from carcli.bench.lossless import jpegls_bytes, webp_bytes
from carcli.bench.thumbnails import Thumbnails
from carcli.errors import ImageError
from carcli.images import codec, metrics
from carcli.images.grey import in_colour
from carcli.images.picture import Picture, Pixels
from carcli.images.written import LOSSLESS, PNG, Encoding
from carcli.rescale.refine import down_refined
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler
from carcli.runtime import paths
from carcli.runtime import peak as memory
from carcli.runtime.files import state

WIDEST_BORDER = 8  # pixels cut before comparing: as many as the scale, but no more


@dataclass(frozen=True)
class Measured:
    """One image restored by one model; a mean has ``image`` None and averages every field."""

    dataset: str
    model: str
    scale: int | float
    image: str | None
    carrier: str  # the format of the LR file
    quality: int | None  # of that; None: without loss
    psnr_y: float  # dB
    ssim_y: float
    psnr_rgb: float  # dB
    lr_psnr_y: float  # dB, LR against the bicubic LR, or the luma where it is grey; infinite for bicubic itself
    lr_psnr_rgb: float  # the same over all channels: what is hidden in colour shows here
    lr_psnr_seen: float  # the same when both are blurred: what is seen at arm's length
    lr_psnr_seen_worst: float  # the same in the worst 32x32 block
    lr_bpp: float  # bits per LR pixel of the file that ``down`` writes, with tag, profile and EXIF
    lr_bpp_webp: float  # as lossless WebP
    lr_bpp_jpegls: float  # as JPEG-LS; NaN without imagecodecs
    lr_bytes: float  # of that file
    hr_bytes: float  # of the original file
    seconds_down: float
    seconds_up: float
    peak_mb: float  # memory, of whichever direction took more


FIGURES = tuple(field.name for field in fields(Measured) if field.type == "float")


@dataclass(frozen=True)
class Shown:
    """The images behind a measurement, (H, W, 3) uint8, grey ones too, as a screen shows them; LR is smaller."""

    hr: Pixels
    lr: Pixels
    sr: Pixels


@dataclass(frozen=True)
class Failed:
    """An image that cannot be measured."""

    dataset: str
    image: str
    reason: str


@dataclass(frozen=True)
class Mean:
    """What a model reaches on a dataset, and on how many of its images."""

    measured: Measured
    images: int
    of: int

    @property
    def whole(self) -> bool:
        return self.images == self.of


@dataclass(frozen=True)
class Setup:
    """What is measured, and how: a pair, its LR images refined or as they are, in a file, beside bicubic at the same scale."""

    rescaler: Rescaler
    bicubic: Rescaler
    refinement: Refinement | None = None
    widest_border: int = WIDEST_BORDER
    keep_grey: bool = False  # as of ``down``
    encoding: Encoding = LOSSLESS  # of the LR file, unless that is a thumbnail
    thumbnails: Thumbnails | None = None  # restored instead of what the pair's own downscaler makes

    @property
    def carrier(self) -> Encoding:
        """How the file is written that is restored."""
        return self.encoding if self.thumbnails is None else self.thumbnails.encoding

    @property
    def name(self) -> str:
        """What a row is called: the checkpoint, what it restores, the iterations its LR images were refined by, their format."""
        if self.thumbnails is not None:
            return f"{self.rescaler.id} of {self.thumbnails}"
        carrier = "" if self.encoding.format is PNG else f" {self.encoding.name}"
        if self.refinement is None:
            return f"{self.rescaler.id}{carrier}"
        method = "" if self.refinement.method == "fast" else f" {self.refinement.method}"
        return f"{self.rescaler.id} +{self.refinement.iterations}{method}{carrier}"

    @property
    def border(self) -> int:
        """Pixels cut on each side before comparing."""
        return min(math.ceil(self.rescaler.factor), self.widest_border)


@dataclass(frozen=True)
class _Trip:
    """An image's way down, through a file, and up again."""

    down: Picture
    file: bytes
    lr: Picture
    sr: Picture
    seconds_down: float
    seconds_up: float
    peak_mb: float


def _shrunk(setup: Setup, hr: Picture) -> Picture:
    rescaler = setup.rescaler
    if setup.thumbnails is not None:
        return setup.thumbnails.of(hr, rescaler.scale)
    if setup.refinement is not None:
        return down_refined(rescaler, hr, setup.refinement, keep_grey=setup.keep_grey)[0]
    return rescaler.down_picture(hr, size=rescaler.lr_size(*hr.size), keep_grey=setup.keep_grey)


def _travel(setup: Setup, hr: Picture) -> _Trip:
    rescaler = setup.rescaler
    memory.reset_peak(rescaler.device)
    began = time.perf_counter()
    down = _shrunk(setup, hr)
    seconds_down = time.perf_counter() - began
    file = codec.to_bytes(down, setup.carrier)
    lr = codec.decode(file)
    began = time.perf_counter()
    sr = rescaler.up_picture(lr)
    seconds_up = time.perf_counter() - began
    return _Trip(
        down=down,
        file=file,
        lr=lr,
        sr=sr,
        seconds_down=seconds_down,
        seconds_up=seconds_up,
        peak_mb=memory.peak(rescaler.device),
    )


def _bicubic_lr(setup: Setup, hr: Picture) -> Pixels:
    """What the LR image is held against: bicubic's, or the luma of that where the pair makes grey images."""
    pixels = setup.bicubic.down_picture(hr, size=setup.bicubic.lr_size(*hr.size)).pixels
    if setup.rescaler.to_grey and pixels.shape[2] == 3:
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]
    return in_colour(pixels)


def measure(picture: Picture, setup: Setup, dataset: str = "", image: str = "", hr_bytes: int = 0) -> tuple[Measured, Shown]:
    """One image through one pair, without its alpha; cropped to a multiple of a whole scale where it is as large.

    A grey one is grey in every file, as ``down`` and ``up`` have it, and compared as the RGB that shows it: that is how the
    published tables have the grey images of their datasets.
    ``hr_bytes`` is the size of its file; ``dataset`` and ``image`` are what the row is called.
    """
    scale, border = setup.rescaler.factor, setup.border
    width, height = (int(n // scale * scale) or n if scale == int(scale) else n for n in picture.size)
    hr = replace(picture, pixels=picture.pixels[:height, :width], alpha=None)
    trip = _travel(setup, hr)
    shown = Shown(hr=in_colour(hr.pixels), lr=in_colour(trip.lr.pixels), sr=in_colour(trip.sr.pixels))
    reference = _bicubic_lr(setup, hr)
    lr_pixels = trip.down.size[0] * trip.down.size[1]
    lr_in_colour = in_colour(trip.down.pixels)
    measured = Measured(
        dataset=dataset,
        model=setup.name,
        scale=scale,
        image=image,
        carrier=setup.carrier.format.name,
        quality=setup.carrier.quality,
        psnr_y=metrics.psnr_y(shown.hr, shown.sr, border),
        ssim_y=metrics.ssim_y(shown.hr, shown.sr, border),
        psnr_rgb=metrics.psnr_rgb(shown.hr, shown.sr, border),
        lr_psnr_y=metrics.psnr_y(reference, shown.lr, 0),
        lr_psnr_rgb=metrics.psnr_rgb(reference, shown.lr, 0),
        lr_psnr_seen=metrics.psnr_seen(reference, shown.lr),
        lr_psnr_seen_worst=metrics.psnr_seen_worst(reference, shown.lr),
        lr_bpp=8 * len(trip.file) / lr_pixels,
        lr_bpp_webp=8 * webp_bytes(lr_in_colour) / lr_pixels,
        lr_bpp_jpegls=8 * jpegls_bytes(lr_in_colour) / lr_pixels,
        lr_bytes=len(trip.file),
        hr_bytes=hr_bytes,
        seconds_down=trip.seconds_down,
        seconds_up=trip.seconds_up,
        peak_mb=trip.peak_mb,
    )
    return measured, shown


def mean(rows: Sequence[Measured]) -> Measured:
    """The mean of per-image figures; images too small for a figure (NaN) are left out of it."""
    averages: dict[str, Any] = {}
    for name in FIGURES:
        values = [value for row in rows if not math.isnan(value := getattr(row, name))]
        averages[name] = sum(values) / len(values) if values else math.nan
    return replace(rows[0], image=None, **averages)


def each(images: Images, setup: Setup) -> Iterator[tuple[Measured, Shown] | Failed]:
    """Every image of a dataset, measured, or the reason why it cannot be."""
    return (_one(path, images.name, setup) for path in images.files)


def _one(path: Path, dataset: str, setup: Setup) -> tuple[Measured, Shown] | Failed:
    try:
        size, _ = state(path)
        return measure(codec.read(path), setup, dataset, path.name, size)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = paths.reason(error)
    except MemoryError:
        reason = "not enough memory"
    except RuntimeError as error:  # torch's: a device's memory, above all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Failed(dataset, path.name, reason)


def compare(images: Images, setup: Setup) -> Measured:
    """The mean over a dataset. Raises ``ImageError`` that names the first image that cannot be measured."""
    rows = []
    for result in each(images, setup):
        if isinstance(result, Failed):
            raise ImageError(f"{result.dataset}/{result.image}: {result.reason}")
        rows.append(result[0])
    return mean(rows)
