"""Ordinary files, and nothing else under their name: neither a pipe, on which one waits for ever, nor a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotOrdinary(OSError):  # noqa: N818 - what it is, not that it is one
    """What a name stands for is no ordinary file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "is no ordinary file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, at once whatever it is. Raises ``OSError``, ``NotOrdinary`` for what is none.

    Symbolic links to files are followed.
    """
    mode = path.stat().st_mode  # before opening, which some devices take for an order
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotOrdinary(path)
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotOrdinary(path)
    return file
