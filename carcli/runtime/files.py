"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

TEMPORARY = ".carcli-"  # prefix of files being written; none outlives a run that was not killed


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file through a temporary one beside it: fsync, then rename over the final name.

    After an exception, or a crash at any moment, ``path`` holds either what it held before or
    all of the new content. The temporary file is removed on every exception. Raises
    ``OSError`` as the file system does.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # make the new name itself durable
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove temporary files of runs that were killed: those whose process is no more."""
    for folder in folders:
        try:
            leftovers = list(folder.glob(f"{TEMPORARY}*.tmp"))
        except OSError:
            continue
        for path in leftovers:
            owner = path.name.removeprefix(TEMPORARY).split("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def state(path: Path) -> tuple[int, int]:
    """A file's bytes and the time of its last change in nanoseconds: as long as both stay, it is taken to be the same.

    Raises ``OSError``.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns
