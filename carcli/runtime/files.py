"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from carcli.runtime.host import host
from carcli.runtime.locks import try_lock
from carcli.runtime.paths import NO_FILE, OURS, WAIT_FOR_NOBODY, kind

TEMPORARY = ".carcli-"  # prefix of files being written; none outlives a run that was not killed
MARK = "-\u00e9\u00df"  # é and ß: of a file that shows which names are one to its file system
PATTERN = re.compile(re.escape(TEMPORARY) + r"([0-9a-f]+)-[0-9a-f]+(-(\u00e9|e\u0301)\u00df)?\.tmp")  # 1: the host that wrote it
ABANDONED = 24 * 3600.0  # seconds without a change, where no lock tells whether somebody is writing still
ATTEMPTS = 10  # to make a temporary file that no other run removes
CLOSED = 60.0  # seconds between closing and renaming at most, where only closed files can be renamed


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file through a temporary one beside it: fsync, then rename over the final name.

    After an exception, or a crash at any moment, ``path`` holds either what it held before or
    all of the new content. The temporary file is removed on every exception. Where ``path`` is a
    symbolic link, the link itself is replaced, and what it leads to stays as it is. Raises
    ``OSError`` as the file system does, and where ``path`` is a folder, a pipe, a socket or a
    device.
    """
    if kind(path, follow=False) in ("folder", "other"):
        raise OSError(errno.EEXIST, NO_FILE, str(path))
    with temporary(path.parent) as (name, file):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # an open file cannot be renamed there; elsewhere the lock is held until it has its name
            file.close()
        name.replace(path)
    if os.name == "posix":  # make the new name itself durable
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def temporary(folder: Path, mark: str = "") -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file under a temporary name, locked, so that no other run takes it for a leftover.

    At the end it is removed, where it still has that name. Raises ``OSError``.
    """
    path, file = _created(folder, mark)
    try:
        yield path, file
    finally:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            path.unlink()


def _created(folder: Path, mark: str) -> tuple[Path, IO[bytes]]:
    for _ in range(ATTEMPTS):
        path = folder / f"{TEMPORARY}{host()}-{secrets.token_hex(4)}{mark}.tmp"
        file = path.open("xb")
        if try_lock(file.fileno()) is not False and os.path.lexists(path):
            return path, file
        file.close()  # another run took it for a leftover before it was locked
        path.unlink(missing_ok=True)
    raise OSError(errno.EBUSY, "other runs remove what is written", str(folder))


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove temporary files of runs that were killed: those that nobody holds the lock of.

    Where locks may not be seen, because another host wrote the file or its file system knows
    none, only those that have not changed for a day. Nothing else is touched: no link, no folder.
    """
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                leftovers = [Path(e.path) for e in entries if PATTERN.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
        except (OSError, ValueError):
            continue
        for path in leftovers:
            with contextlib.suppress(OSError):
                _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    match = PATTERN.fullmatch(path.name)
    assert match is not None
    file = os.open(path, OURS | WAIT_FOR_NOBODY)
    try:
        locked = try_lock(file)
        patience = ABANDONED if locked is None or match[1] != host() else CLOSED if os.name == "nt" else 0.0
        if locked is False or (patience and time.time() - os.fstat(file).st_mtime < patience):
            return
        if os.name != "nt":
            path.unlink()
    finally:
        os.close(file)
    if os.name == "nt":  # an open file cannot be removed there
        path.unlink(missing_ok=True)


def state(path: Path) -> tuple[int, int]:
    """A file's bytes and the time of its last change in nanoseconds: as long as both stay, it is taken to be the same.

    Raises ``OSError``.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns
