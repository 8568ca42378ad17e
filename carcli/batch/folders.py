"""Output folders: there, writable, and free of what killed runs left."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from carcli.batch.job import Job
from carcli.errors import CarcliError
from carcli.runtime.files import remove_leftovers
from carcli.runtime.paths import reason


def writable(folder: Path) -> None:
    """Make the output folder, and make sure that files can be created there.

    Raises ``CarcliError`` where they cannot: then no image could be written at all.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        raise CarcliError(f"{folder}: cannot write there ({reason(error)}); name another folder with -o") from error


def make_ready_below(folder: Path) -> None:
    """Make the output folder, and clear away what killed runs left anywhere in it: its targets are not known yet.

    Raises ``CarcliError``.
    """
    writable(folder)
    remove_leftovers(Path(inside) for inside, _, _ in os.walk(folder))


def make_ready(folder: Path, jobs: Iterable[Job]) -> None:
    """Make the output folder, and clear away what killed runs left in those of all targets. Raises ``CarcliError``.

    One below it that cannot be written is a failure of its images.
    """
    writable(folder)
    remove_leftovers({job.target.parent for job in jobs if isinstance(job.target, Path)})
