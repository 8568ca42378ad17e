"""How a batch is run, as plain data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Which files are taken, what becomes of outputs that are there, and what a machine may spend.

    None of it decides what is written, but ``compression``.
    """

    recursive: bool = False  # go into folders of folders
    include: tuple[str, ...] = ()  # of folders, only files like this; empty: all
    exclude: tuple[str, ...] = ()
    from_file: Path | None = None  # names more inputs, one a line
    watch: bool = False  # go on with files that appear
    overwrite: bool = False
    update: bool = False  # replace outputs whose source has changed since
    ignore_space: bool = False  # begin even where the disk seems too full
    max_errors: int | None = None  # begin nothing more after so many failures
    compression: int = 6  # zlib's level of the PNGs, 0 to 9
    devices: tuple[str, ...] = ("auto",)  # auto, cpu, cuda, cuda:N, mps
    workers: int = 0  # images in flight; 0: two more than there are processors
    memory: int = 0  # bytes that images in flight may take; 0: a half of the machine's

    @property
    def in_flight(self) -> int:
        return self.workers or min((os.cpu_count() or 1) + 2, 16)

    @property
    def room(self) -> int:
        return self.memory or _memory() // 2


def _memory() -> int:
    """Bytes of memory of this machine, or a guess."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
