"""Figures that others have published, to stand beside ours."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated

from pydantic import Field

from carcli.runtime import toml
from carcli.runtime.records import Record

CAR, IRN = "CAR & EDSR, released", "IRN"  # what ours are compared with


class Reached(Record):
    """What a method reaches on a dataset: PSNR in dB and SSIM on Y, or PSNR over RGB, and bits per LR pixel as JPEG-LS.

    None where it is not published.
    """

    psnr_y: float | None = None
    ssim_y: float | None = None
    psnr_rgb: float | None = None
    lr_bpp_jpegls: float | None = None


class Published(Record):
    """A method at a scale, as its ``source`` gives it."""

    name: str
    scale: float
    source: str
    figures: dict[str, Reached]  # by dataset
    parameters: float | None = None


class _File(Record):
    published: Annotated[tuple[Published, ...], Field(strict=False)]


@lru_cache(maxsize=1)
def _published() -> tuple[Published, ...]:
    text = (resources.files("carcli.bench") / "published.toml").read_text(encoding="utf-8")
    return _File.model_validate(toml.loads(text)).published


def rows(dataset: str, scale: float) -> tuple[tuple[str, Reached], ...]:
    """What is published for a pinned dataset at a scale, method by method; nothing for any other."""
    return tuple((row.name, row.figures[dataset]) for row in _published() if row.scale == scale and dataset in row.figures)


def ahead(psnr_y: float, dataset: str, scale: float, name: str) -> float | None:
    """dB by which a figure of ours is ahead of a published one, where there is one."""
    theirs = dict(rows(dataset, scale)).get(name)
    return None if theirs is None or theirs.psnr_y is None else psnr_y - theirs.psnr_y
