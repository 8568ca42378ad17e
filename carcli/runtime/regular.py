"""Regular files alone: no pipe is waited for, no device is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO

OTHER = "is no ordinary file"


def _check(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, OTHER, str(path))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _opened(path: Path, mode: str) -> IO[bytes]:
    file: IO[bytes] = open(path, mode, opener=_without_waiting)  # noqa: SIM115 - Path.open takes no opener
    try:
        _check(os.fstat(file.fileno()).st_mode, path)  # it may have been replaced meanwhile
    except OSError:
        file.close()
        raise
    return file


def opened(path: Path) -> IO[bytes]:
    """A file, opened for reading. Raises ``OSError``, for anything but a regular file and for a name that none can have too."""
    try:
        _check(path.stat().st_mode, path)
        return _opened(path, "rb")
    except ValueError as error:  # a NUL in its name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), repr(str(path))) from error


def appended(path: Path) -> IO[bytes]:
    """A file, opened for writing at its end, and made where there is none. Raises ``OSError`` as ``opened`` does."""
    with contextlib.suppress(FileNotFoundError):
        _check(path.stat().st_mode, path)
    return _opened(path, "ab")


def there(path: Path) -> bool:
    """Whether there is anything of that name; no where it cannot be told."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def read(path: Path, most: int) -> bytes:
    """What is in a file of ``most`` bytes at most. Raises ``OSError`` as ``opened`` does, and for a larger one."""
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size <= most and len(data := file.read(most + 1)) <= most:
            return data
    raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
