"""What a batch will come to, before it begins: images, bytes, and whether the disk can hold them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.batch.job import Job
from carcli.errors import CarcliError
from carcli.runtime.names import nearest
from carcli.runtime.paths import is_there, reason
from carcli.stores.url import path_of

if TYPE_CHECKING:
    from carcli.images.codec import Header

PROBED = 256  # images whose headers are read; the others are taken to be like them
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
    free_bytes: int | None  # of the output's disk; None for a store

    @property
    def needed_bytes(self) -> int:
        """What the output's disk must have free."""
        return math.ceil(self.output_bytes * SPARE)

    @property
    def fits(self) -> bool:
        return self.free_bytes is None or self.needed_bytes <= self.free_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def free(folder: Path) -> int:
    try:
        return shutil.disk_usage(nearest(folder)).free
    except OSError as error:
        raise CarcliError(f"{folder}: cannot tell what is free there ({reason(error)}); pass --ignore-space") from error


def estimate(
    jobs: Sequence[Job], output: Path, area: Callable[[Header], float], overwrite: bool, bytes_a_pixel: float
) -> Estimate:
    """What ``jobs`` come to, where an output has ``area`` times the pixels of its input, each of so many bytes.

    Raises ``CarcliError`` where nobody can tell what is free.
    """
    from carcli.images import codec  # and with it Pillow

    refused = sum(job.target is None for job in jobs)
    waiting = [path_of(job.source) for job in jobs if job.target is not None and (overwrite or not is_there(path_of(job.target)))]
    probed = waiting[:: max(1, len(waiting) // PROBED)]
    headers = [header for path in probed if (header := codec.peek(path)) is not None]
    share = len(waiting) / max(len(probed), 1)
    return Estimate(
        waiting=len(waiting),
        settled=len(jobs) - refused - len(waiting),
        refused=refused,
        input_bytes=sum(map(_size, waiting)),
        pixels=round(share * sum(header.pixels for header in headers)),
        output_bytes=round(share * bytes_a_pixel * sum(header.pixels * area(header) for header in headers)),
        free_bytes=free(output),
    )


def refuse_if_full(estimate: Estimate, output: Path) -> None:
    """Raises ``CarcliError`` where the disk cannot hold what a batch will write."""
    if estimate.free_bytes is not None and not estimate.fits:
        left, needed = _told_apart(estimate.free_bytes, estimate.needed_bytes)
        raise CarcliError(
            f"{output}: its disk has {left} free, and {estimate.waiting} images need about {needed}; "
            "free some, name another disk with -o, or pass --ignore-space"
        )


def _told_apart(*counts: int) -> tuple[str, ...]:
    """Bytes in units in which different numbers look different."""
    texts = tuple(map(_in_units, counts))
    return texts if len(set(texts)) == len(set(counts)) else tuple(f"{count} bytes" for count in counts)


def _in_units(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
