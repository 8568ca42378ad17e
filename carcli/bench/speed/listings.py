"""What planning and the journal of very many images take, with a store that makes up what it lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carcli.batch.job import Result
from carcli.batch.origins import Origins
from carcli.batch.streamed import Streamed
from carcli.runtime.peak import resident
from carcli.stores.schemes import give
from carcli.stores.store import MOST, Stored, never
from carcli.stores.url import Url

SCHEME = "simulated"
LINES = 1_000_000  # of a journal, that are written and learned from


class Simulated:
    """A store with so many photographs in its folder ``in/``, and nothing anywhere else."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    def entries(self, folder: Url) -> Iterator[Stored | Url]:
        """The photographs, made up as they are listed."""
        count = self._keys if folder.key == "in/" else 0
        return (Stored(folder.below(f"{number:010}.jpg"), 3_000_000, etag=f"{number:032x}") for number in range(count))

    def stat(self, url: Url) -> Stored | None:
        """Nothing."""
        return None

    def read(self, url: Url, most: int = MOST, stopped: object = never) -> tuple[bytes, Stored]:
        """Nobody asks."""
        raise NotImplementedError

    def beginning(self, url: Url, most: int) -> bytes:
        """Nobody asks."""
        raise NotImplementedError

    def write(self, url: Url, data: bytes, stopped: object = never) -> None:
        """Kept by nobody."""


def measure(keys: int) -> dict[str, Any]:
    """Seconds until the first job and for all, and bytes of memory, of listing so many photographs; then those of a journal."""
    give(SCHEME, Simulated(keys))
    before, began = resident(), time.perf_counter()
    jobs = iter(Streamed([Url(SCHEME, "bucket", "in/")], Url(SCHEME, "bucket", "lr/")))
    job = next(jobs)
    first = time.perf_counter() - began
    count = 1 + sum(1 for _ in jobs)
    record = {
        "images": count,
        "seconds_to_first": first,
        "listing_seconds": time.perf_counter() - began,
        "listing_bytes": resident() - before,
    }
    origins, lines = Origins("edsr-x4-v2 0123456789ab x4 fp32", "down"), min(count, LINES)
    before, began, size = resident(), time.perf_counter(), 0
    for number in range(lines):
        name = f"{number:010}.png"
        done = Result(job.source, Path(name), "done", model="edsr-x4-v2", input_bytes=3_000_000, input_changed=number)
        line = origins.line(done, name)
        size += len(line)
        origins.take(line)
    return {
        **record,
        "journal_bytes_a_line": size / lines,
        "journal_seconds_a_line": (time.perf_counter() - began) / lines,
        "journal_memory_a_line": (resident() - before) / lines,
    }
