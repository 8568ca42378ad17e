"""What a batch will come to, before it begins: images, bytes, and whether the disk can hold them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcli.batch.job import Job
from carcli.errors import CarcliError
from carcli.images import codec
from carcli.images.codec import Header

PROBED = 256  # images whose headers are read; the others are taken to be like them
BYTES_A_PIXEL = 2.2  # of an 8-bit PNG of a photograph, LR or restored: 13 to 18 bits
SPARE = 1.05


@dataclass(frozen=True)
class Estimate:
    """``pixels`` and ``output_bytes`` are extrapolated from a sample; the others are exact."""

    waiting: int  # images to process
    settled: int  # whose output is there
    refused: int  # that cannot be processed as asked
    input_bytes: int
    pixels: int  # of the inputs
    output_bytes: int
    free_bytes: int  # of the output's disk

    @property
    def fits(self) -> bool:
        return self.output_bytes * SPARE <= self.free_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = Path(os.path.abspath(folder))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def estimate(jobs: Sequence[Job], output: Path, area: Callable[[Header], float], overwrite: bool) -> Estimate:
    """What ``jobs`` come to, where an output has ``area`` times the pixels of its input."""
    refused = sum(job.target is None for job in jobs)
    waiting = [job.source for job in jobs if job.target is not None and (overwrite or not job.target.exists())]
    probed = waiting[:: max(1, len(waiting) // PROBED)]
    headers = [header for path in probed if (header := codec.peek(path)) is not None]
    share = len(waiting) / max(len(probed), 1)
    return Estimate(
        waiting=len(waiting),
        settled=len(jobs) - refused - len(waiting),
        refused=refused,
        input_bytes=sum(map(_size, waiting)),
        pixels=round(share * sum(header.pixels for header in headers)),
        output_bytes=round(share * BYTES_A_PIXEL * sum(header.pixels * area(header) for header in headers)),
        free_bytes=shutil.disk_usage(_existing(output)).free,
    )


def refuse_if_full(estimate: Estimate, output: Path) -> None:
    """Raises ``CarcliError`` where the disk cannot hold what a batch will write."""
    if not estimate.fits:
        raise CarcliError(
            f"{output}: its disk has {estimate.free_bytes / 1e9:.1f} GB free, and {estimate.waiting} images need about "
            f"{estimate.output_bytes / 1e9:.1f} GB; free some, name another disk with -o, or pass --ignore-space"
        )
