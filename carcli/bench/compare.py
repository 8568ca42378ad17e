"""Measure pairs on HR images: down, through an 8-bit PNG, up again, and compare with the original."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carcli.bench.datasets import Images
from carcli.errors import ImageError
from carcli.images import codec, metrics
from carcli.images.picture import Picture, Pixels
from carcli.rescale.refine import Refinement, down_refined
from carcli.rescale.rescaler import Rescaler
from carcli.runtime import peak as memory

WIDEST_BORDER = 8  # pixels cut before comparing: as many as the scale, but no more


@dataclass(frozen=True)
class Measured:
    """One image restored by one model; a mean has ``image`` None and averages every field."""

    dataset: str
    model: str
    scale: int
    image: str | None
    psnr_y: float  # dB
    ssim_y: float
    psnr_rgb: float  # dB
    lr_psnr_y: float  # dB, LR against the bicubic LR, or the luma where it is grey; infinite for bicubic itself
    lr_psnr_rgb: float  # the same over all channels: what is hidden in colour shows here
    lr_psnr_seen: float  # the same when both are blurred: what is seen at arm's length
    lr_psnr_seen_worst: float  # the same in the worst 32x32 block
    lr_bpp: float  # bits per LR pixel as PNG
    lr_bpp_webp: float  # as lossless WebP
    lr_bytes: float  # of the LR file, tag included
    hr_bytes: float  # of the original file
    seconds_down: float
    seconds_up: float
    peak_mb: float  # memory, of whichever direction took more


@dataclass(frozen=True)
class Shown:
    """The images behind a measurement, (H, W, 3) uint8; LR is smaller."""

    hr: Pixels
    lr: Pixels
    sr: Pixels


Keep = Callable[[Measured, Shown], None]


def _luma(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]


def _rgb(picture: Picture) -> Pixels:
    return np.broadcast_to(picture.pixels, (*picture.pixels.shape[:2], 3))


def measure(
    picture: Picture, rescaler: Rescaler, bicubic: Rescaler, dataset: str, image: str,
    hr_bytes: int = 0, keep: Keep | None = None, refinement: Refinement | None = None, widest_border: int = WIDEST_BORDER,
) -> Measured:  # fmt: skip
    """One image, cropped to a multiple of the scale where it is as large, through one pair, its LR refined or as it is."""
    scale = rescaler.scale
    width, height = (n // scale * scale or n for n in picture.size)
    border = min(scale, widest_border)
    hr = Picture(_rgb(picture)[:height, :width])
    memory.reset_peak(rescaler.device)
    began = time.perf_counter()
    made = rescaler.down_picture(hr) if refinement is None else down_refined(rescaler, hr, refinement)[0]
    half = time.perf_counter()
    file = io.BytesIO()
    codec.encode(made, file)
    lr = codec.decode(file.getvalue())
    again = time.perf_counter()
    sr = rescaler.up_picture(lr)
    end = time.perf_counter()
    taken = memory.peak(rescaler.device)
    small = bicubic.down_picture(hr)
    reference = _rgb(Picture(_luma(small.pixels)) if rescaler.to_grey else small)
    plain, webp = io.BytesIO(), io.BytesIO()  # the file's pixels alone: without the tag
    codec.encode(Picture(made.pixels), plain)
    Image.fromarray(np.ascontiguousarray(_rgb(made))).save(webp, "webp", lossless=True)
    pixels = made.size[0] * made.size[1]
    found = Measured(
        dataset, name(rescaler, refinement), scale, image,
        metrics.psnr_y(hr.pixels, sr.pixels, border),
        metrics.ssim_y(hr.pixels, sr.pixels, border),
        metrics.psnr_rgb(hr.pixels, sr.pixels, border),
        metrics.psnr_y(reference, _rgb(lr), 0),
        metrics.psnr_rgb(reference, _rgb(lr), 0),
        metrics.psnr_seen(reference, _rgb(lr)),
        metrics.psnr_seen_worst(reference, _rgb(lr)),
        8 * len(plain.getvalue()) / pixels, 8 * len(webp.getvalue()) / pixels,
        len(file.getvalue()), hr_bytes,
        half - began, end - again, taken,
    )  # fmt: skip
    if keep is not None:
        keep(found, Shown(hr.pixels, _rgb(lr), sr.pixels))
    return found


def name(rescaler: Rescaler, refinement: Refinement | None) -> str:
    """What a row is called: the checkpoint, and the iterations its LR images were refined by."""
    if refinement is None:
        return rescaler.id
    return f"{rescaler.id} +{refinement.iterations}" + ("" if refinement.method == "fast" else f" {refinement.method}")


FIGURES = (
    "psnr_y", "ssim_y", "psnr_rgb", "lr_psnr_y", "lr_psnr_rgb", "lr_psnr_seen", "lr_psnr_seen_worst", "lr_bpp",
    "lr_bpp_webp", "lr_bytes", "hr_bytes", "seconds_down", "seconds_up", "peak_mb",
)  # fmt: skip


def mean(rows: Sequence[Measured]) -> Measured:
    """The mean of per-image figures; images too small for a figure (NaN) are left out of it."""

    def average(name: str) -> float:
        values = [v for row in rows if not math.isnan(v := getattr(row, name))]
        return sum(values) / len(values) if values else math.nan

    averages: dict[str, Any] = {name: average(name) for name in FIGURES}
    return replace(rows[0], image=None, **averages)


def compare(
    dataset: Images,
    rescalers: Sequence[Rescaler],
    bicubic: Rescaler,
    keep: Keep | None = None,
    refinements: Sequence[Refinement | None] = (None,),
    widest_border: int = WIDEST_BORDER,
) -> Iterator[Measured]:
    """Every image with every pair and refinement, each mean after its images. Raises ``ImageError`` that names the file."""
    for rescaler in rescalers:
        for refinement in refinements:
            rows = []
            for path in dataset.files:
                size = path.stat().st_size
                row = measure(_read(path), rescaler, bicubic, dataset.name, path.name, size, keep, refinement, widest_border)
                rows.append(row)
                yield row
            yield mean(rows)


def _read(path: Path) -> Picture:
    try:
        return codec.read(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
