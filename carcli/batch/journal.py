"""What happened to every image of an output folder, one JSON object a line, never rewritten.

A line is written once its image is settled, in the order in which images are. A crash may lose the
last ones, an interrupt loses none, and nothing is said that is not so. The file may be anybody's:
what is no ordinary file is refused, and a line that is no record is passed over.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from carcli.batch.job import Job, Recorded, Result
from carcli.batch.record import of_result
from carcli.errors import CarcliError
from carcli.runtime.files import state
from carcli.runtime.paths import kind, open_ordinary, open_to_append, reason
from carcli.runtime.schema import SCHEMA

NAME = ".carcli-journal.jsonl"
LONGEST = 1 << 17  # bytes of a line that is read: two paths of 4096 bytes, each written as \udcXX, and room for the rest
SIZES = "input_bytes", "input_changed_ns"
SIZES_BEFORE = "size", "changed"  # of lines that say no schema


@dataclass(frozen=True)
class _Origin:
    """What an output was made from."""

    settings: str
    source: str
    size: int
    changed: int  # nanoseconds
    verb: str = ""


def verb_of(folder: Path) -> str | None:
    """What made the results in a folder, by its journal: ``down``, ``up``, empty where that is not said; None without one."""
    path = folder / NAME
    try:
        if kind(path, follow=False) != "file":
            return None
        with open_ordinary(path) as file:
            record = json.loads(file.readline(LONGEST))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(record.get("verb") or "") if isinstance(record, dict) else ""


class Journal:
    """The journal of an output folder. ``settings`` is whatever decides what an image becomes, ``verb`` who asks."""

    def __init__(self, folder: Path, settings: str, verb: str = "") -> None:
        """Raises ``CarcliError`` where a journal is there that cannot be read and written."""
        self.path, self.folder, self.settings, self.verb = folder / NAME, folder, settings, verb
        self._origins: dict[str, _Origin] = {}
        self._file: int | None = None
        self._lock = threading.Lock()
        try:
            if kind(self.path, follow=False) != "nothing":
                with os.fdopen(open_to_append(self.path), "rb") as file:
                    for line in _lines(file):
                        self._take(line)
        except OSError as error:
            raise CarcliError(
                f"{self.path}: the journal cannot be used ({reason(error)}); move it away, or name another folder with -o"
            ) from error

    def made(self, verb: str | None = None) -> set[str]:
        """Names, relative to the folder, of the results that it tells of; with ``verb``, of those that it made."""
        return {name for name, origin in self._origins.items() if verb in (None, origin.verb)}

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):  # cut by a crash, by somebody's editor, or hostile
            return
        if not isinstance(record, dict) or record.get("status") != "done":
            return
        target, settings, source = (record.get(name) for name in ("target", "settings", "source"))
        size, changed = (record.get(name) for name in (SIZES if "schema" in record else SIZES_BEFORE))
        if not (isinstance(target, str) and isinstance(settings, str) and isinstance(source, str)):
            return
        if type(size) is int and type(changed) is int:  # True is no number of bytes
            self._origins[target] = _Origin(settings, source, size, changed, str(record.get("verb") or ""))

    def _name(self, target: Path) -> str:
        return os.path.relpath(target, self.folder)

    def how_made(self, job: Job) -> Recorded:
        """How the output that is there was made: from the same source with the same settings, or not, or nobody knows."""
        assert job.target is not None
        origin = self._origins.get(self._name(job.target))
        if origin is None:
            return "unknown"
        if origin.settings != self.settings:
            return "settings"
        try:
            size, changed = state(job.source)
            if job.address is not None:  # a copy, which was made just now
                return "same" if (origin.source, origin.size) == (job.address, size) else "source"
            same = (origin.source, origin.size, origin.changed) == (str(job.source.absolute()), size, changed)
        except OSError:
            return "unknown"
        return "same" if same else "source"

    def record(self, result: Result) -> None:
        """Note what became of an image; from any thread. Raises ``CarcliError`` where it cannot be written."""
        if result.status == "skipped":
            return
        try:
            source = result.address or str(result.source.absolute())
            target = None if result.target is None else self._name(result.target)
            line = {
                "schema": SCHEMA,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                **of_result(result),
                "source": source,
                "target": target,
                "settings": self.settings,
                "verb": self.verb or None,
            }
            with self._lock:
                if target is not None and result.input_bytes is not None and result.input_changed is not None:
                    self._origins[target] = _Origin(self.settings, source, result.input_bytes, result.input_changed, self.verb)
                self._write(json.dumps(line).encode("ascii") + b"\n")
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


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, but those that are too long."""
    while line := file.readline(LONGEST):
        if line.endswith(b"\n") or len(line) < LONGEST:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST)
