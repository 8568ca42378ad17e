"""What is behind a path, and opening it without ever waiting for somebody at the other end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO, Literal

Kind = Literal["nothing", "file", "folder", "link", "other"]

NO_FILE = "is no ordinary file"
NO_NAME = "is no name that a file can have"
WAIT_FOR_NOBODY = getattr(os, "O_NONBLOCK", 0)
READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
OURS = READ | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)  # for files of our own, which are no links


def kind(path: str | os.PathLike[str], follow: bool = True) -> Kind:
    """What there is: ``other`` is a pipe, a socket or a device, ``link`` comes only where links are not followed.

    Raises ``OSError`` where the file system cannot say: no permission, a name too long, links in a circle.
    """
    try:
        mode = (os.stat if follow else os.lstat)(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except ValueError as error:
        raise OSError(errno.EINVAL, NO_NAME, str(path)) from error
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is a folder, as far as can be told."""
    try:
        return kind(path) == "folder"
    except OSError:
        return False


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is anything, as far as can be told."""
    try:
        return kind(path) != "nothing"
    except OSError:
        return False


def reason(error: OSError) -> str:
    """What the system says went wrong, without the name of any file."""
    return error.strerror or str(error)


def open_ordinary(path: Path) -> IO[bytes]:
    """Open an ordinary file to read it. Raises ``OSError``, also where it is a folder, a pipe, a socket or a device."""
    there = kind(path)
    if there == "folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if there == "other":  # not even opened: that may do something to a device
        raise OSError(errno.EINVAL, NO_FILE, str(path))
    return open(_ordinary(path, READ), "rb")


def read(path: Path, most: int) -> bytes:
    """What is in an ordinary file of ``most`` bytes at most. Raises ``OSError``, also for a larger one."""
    with open_ordinary(path) as file:
        if os.fstat(file.fileno()).st_size <= most and len(data := file.read(most + 1)) <= most:
            return data
    raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))


def open_to_append(path: Path) -> int:
    """Open a file of our own, to read it from its beginning and to write at its end; it is made where there is none.

    Raises ``OSError``, also where it is a symbolic link or no ordinary file.
    """
    if kind(path, follow=False) not in ("file", "nothing"):
        raise OSError(errno.EINVAL, NO_FILE, str(path))
    return _ordinary(path, OURS | os.O_APPEND | os.O_CREAT)


def _ordinary(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | WAIT_FOR_NOBODY, 0o666)
    except BlockingIOError:  # a file server's lease on an ordinary file: it gives that up for those who wait
        descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, NO_FILE, str(path))
    if WAIT_FOR_NOBODY:
        os.set_blocking(descriptor, True)
    return descriptor
