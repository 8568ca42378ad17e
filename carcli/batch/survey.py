"""What a batch will come to whose inputs are listed, not held: one pass, and a sample of the same size however many there are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.batch.estimate import PROBED, Estimate, free
from carcli.batch.job import Job
from carcli.runtime.paths import is_there
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.url import Place, Url

if TYPE_CHECKING:
    from carcli.images.codec import Header

HEAD = 1 << 16  # bytes of an object in which its header is sought


class Survey:
    """``estimate`` of jobs of which an output that is there says so, has ``area`` times the pixels, each of so many bytes."""

    def __init__(self, jobs: Iterable[Job], output: Place, area: Callable[[Header], float], bytes_a_pixel: float) -> None:
        waiting = settled = refused = input_bytes = 0
        sample: list[Job] = []
        chance = random.Random(0)
        for job in jobs:
            if job.target is None:
                refused += 1
            elif is_there(job.target) if isinstance(job.target, Path) else job.there:
                settled += 1
            else:
                input_bytes += job.listed.size if job.listed is not None else _size(job.source)
                place = waiting if waiting < PROBED else chance.randrange(waiting + 1)
                if place < PROBED:
                    sample[place : place + 1] = [job]
                waiting += 1
        headers = [header for job in sample if (header := _header(job.source)) is not None]
        share = waiting / max(len(sample), 1)
        self.estimate = Estimate(
            waiting=waiting,
            settled=settled,
            refused=refused,
            input_bytes=input_bytes,
            pixels=round(share * sum(header.pixels for header in headers)),
            output_bytes=round(share * bytes_a_pixel * sum(header.pixels * area(header) for header in headers)),
            free_bytes=None if isinstance(output, Url) else free(output),
        )


def _size(source: Place) -> int:
    try:
        return source.stat().st_size if isinstance(source, Path) else 0
    except OSError:
        return 0


def _header(source: Place) -> Header | None:
    from carcli.images import codec  # and with it Pillow

    try:
        return codec.peek(store_of(source).beginning(source, HEAD) if isinstance(source, Url) else source)
    except StoreError:
        return None
