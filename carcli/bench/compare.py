"""Measure pairs on HR images: down, through an 8-bit PNG, up again, and compare with the original."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from carcli import images
from carcli.bench import metrics
from carcli.bench.datasets import Images
from carcli.errors import ImageError
from carcli.images import Picture
from carcli.rescaler import Rescaler


@dataclass(frozen=True)
class Measured:
    """One image restored by one model; a mean has ``image`` None and sums no field but averages each."""

    dataset: str
    model: str
    scale: int
    image: str | None
    psnr_y: float  # dB
    ssim_y: float
    psnr_rgb: float  # dB
    lr_psnr_y: float  # dB, LR against the bicubic LR; infinite for bicubic itself
    lr_psnr_rgb: float  # the same over all channels: what is hidden in colour shows here
    lr_bpp: float  # bits per LR pixel as PNG
    seconds_down: float
    seconds_up: float


def _rgb(picture: Picture) -> images.Pixels:
    return np.broadcast_to(picture.pixels, (*picture.pixels.shape[:2], 3))


def measure(picture: Picture, rescaler: Rescaler, bicubic: Rescaler, dataset: str, image: str) -> Measured:
    """One image, cropped to a multiple of the scale, through one pair."""
    scale = rescaler.scale
    width, height = (n // scale * scale for n in picture.size)
    hr = Picture(_rgb(picture)[:height, :width])
    began = time.perf_counter()
    made = rescaler.down_picture(hr)
    half = time.perf_counter()
    file = io.BytesIO()
    images.encode(made, file)
    lr = images.decode(file.getvalue())
    again = time.perf_counter()
    sr = rescaler.up_picture(lr)
    end = time.perf_counter()
    reference = _rgb(bicubic.down_picture(hr))
    plain = io.BytesIO()  # the file's pixels alone: without the tag
    images.encode(Picture(made.pixels), plain)
    pixels = made.size[0] * made.size[1]
    return Measured(
        dataset, rescaler.id, scale, image,
        metrics.psnr_y(hr.pixels, sr.pixels, scale),
        metrics.ssim_y(hr.pixels, sr.pixels, scale),
        metrics.psnr_rgb(hr.pixels, sr.pixels, scale),
        metrics.psnr_y(reference, _rgb(lr), 0),
        metrics.psnr_rgb(reference, _rgb(lr), 0),
        8 * len(plain.getvalue()) / pixels,
        half - began, end - again,
    )  # fmt: skip


FIGURES = ("psnr_y", "ssim_y", "psnr_rgb", "lr_psnr_y", "lr_psnr_rgb", "lr_bpp", "seconds_down", "seconds_up")


def mean(rows: Sequence[Measured]) -> Measured:
    """The mean of per-image figures; images too small for a figure (NaN) are left out of it."""

    def average(name: str) -> float:
        values = [v for row in rows if not math.isnan(v := getattr(row, name))]
        return sum(values) / len(values) if values else math.nan

    averages: dict[str, Any] = {name: average(name) for name in FIGURES}
    return replace(rows[0], image=None, **averages)


def compare(dataset: Images, rescalers: Sequence[Rescaler], bicubic: Rescaler) -> Iterator[Measured]:
    """Every image with every pair, each pair's mean after its images. Raises ``ImageError`` that names the file."""
    for rescaler in rescalers:
        rows = []
        for path in dataset.files:
            row = measure(_read(path), rescaler, bicubic, dataset.name, path.name)
            rows.append(row)
            yield row
        yield mean(rows)


def _read(path: Path) -> Picture:
    try:
        return images.read(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
