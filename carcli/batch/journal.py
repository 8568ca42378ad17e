"""What happened to every image of an output folder, one JSON object a line, never rewritten.

A line is written once its image is settled, in the order in which images are. A crash may lose the
last ones, an interrupt loses none, and nothing is said that is not so. The file may be anybody's:
what is no ordinary file is refused, and a line that is no record is passed over.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from carcli.batch.job import Job, Recorded, Result
from carcli.batch.origins import Origins, verb_told
from carcli.errors import CarcliError
from carcli.runtime.paths import kind, open_ordinary, open_to_append, reason

NAME = ".carcli-journal.jsonl"
LONGEST = 1 << 17  # bytes of a line that is read: two paths of 4096 bytes, each written as \udcXX, and room for the rest


def verb_of(folder: Path) -> str | None:
    """What made the results in a folder, by its journal: ``down``, ``up``, empty where that is not said; None without one."""
    path = folder / NAME
    try:
        if kind(path, follow=False) != "file":
            return None
        with open_ordinary(path) as file:
            return verb_told(file.readline(LONGEST))
    except (OSError, ValueError):
        return ""


class Journal:
    """The journal of an output folder. ``settings`` is whatever decides what an image becomes, ``verb`` who asks."""

    def __init__(self, folder: Path, settings: str, verb: str = "") -> None:
        """Raises ``CarcliError`` where a journal is there that cannot be read and written."""
        self.path, self.folder = folder / NAME, folder
        self._origins = Origins(settings, verb)
        self._file: int | None = None
        self._lock = threading.Lock()
        try:
            if kind(self.path, follow=False) != "nothing":
                with os.fdopen(open_to_append(self.path), "rb") as file:
                    for line in lines(file):
                        self._origins.take(line)
        except OSError as error:
            raise CarcliError(
                f"{self.path}: the journal cannot be used ({reason(error)}); move it away, or name another folder with -o"
            ) from error

    def no_inputs(self, verb: str) -> set[str]:
        """Names, relative to the folder, of the results that it tells of, but those that ``verb`` takes."""
        return self._origins.no_inputs(verb)

    def _name(self, target: Path) -> str:
        return os.path.relpath(target, self.folder)

    def how_made(self, job: Job) -> Recorded:
        """How the output that is there was made: from the same source with the same settings, or not, or nobody knows."""
        assert isinstance(job.target, Path)
        return self._origins.how_made(job, self._name(job.target))

    def record(self, result: Result) -> None:
        """Note what became of an image; from any thread. Raises ``CarcliError`` where it cannot be written."""
        if result.status == "skipped":
            return
        try:
            with self._lock:
                target = self._name(result.target) if isinstance(result.target, Path) else None
                self._write(self._origins.line(result, target))
        except OSError as error:
            raise CarcliError(
                f"{self.path}: the journal cannot be written ({reason(error)}); what is done stays, and once that is mended "
                "the same command does the rest"
            ) from error

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._file = open_to_append(self.path)
            if os.lseek(self._file, 0, os.SEEK_END):
                os.lseek(self._file, -1, os.SEEK_END)
                line = line if os.read(self._file, 1) == b"\n" else b"\n" + line
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:
            self.close()  # half a line may be there: the next one begins anew
            raise

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, but those that are too long."""
    while line := file.readline(LONGEST):
        if line.endswith(b"\n") or len(line) < LONGEST:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST)
