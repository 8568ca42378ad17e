"""What happened to every image of an output folder, one JSON object a line, never rewritten.

A line is written once its image is settled, in the order in which images are. A crash may lose the
last ones, an interrupt loses none, and nothing is said that is not so. Lines that were cut are
passed over.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from carcli.batch.history import Recorded
from carcli.batch.job import Job, Result
from carcli.runtime.files import state

NAME = ".carcli-journal.jsonl"


@dataclass(frozen=True)
class _Origin:
    """What an output was made from."""

    settings: str
    source: str
    size: int
    changed: int  # nanoseconds


class Journal:
    """The journal of an output folder. ``settings`` is whatever decides what an image becomes."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.path, self.folder, self.settings = folder / NAME, folder, settings
        self._origins: dict[str, _Origin] = {}
        self._file: IO[str] | None = None
        self._lock = threading.Lock()
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    self._take(line)
        except FileNotFoundError:
            pass

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            if record["status"] == "done":
                self._origins[str(record["target"])] = _Origin(
                    settings=str(record["settings"]),
                    source=str(record["source"]),
                    size=int(record["size"]),
                    changed=int(record["changed"]),
                )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            pass  # cut by a crash, or by somebody's editor, or hostile

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
            same = (origin.source, origin.size, origin.changed) == (str(job.source.absolute()), *state(job.source))
        except OSError:
            return "unknown"
        return "same" if same else "source"

    def record(self, result: Result) -> None:
        """Note what became of an image; from any thread. Raises ``OSError``."""
        if result.status == "skipped":
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record: dict[str, Any] = {"time": now, "status": result.status}
        record["source"] = str(result.source.absolute())
        if result.target is not None:
            record["target"] = self._name(result.target)
        if result.status == "done":
            record |= {"size": result.input_bytes, "changed": result.input_changed}
            record |= {"settings": self.settings, "model": result.model}
            record |= {"bytes": result.output_bytes, "seconds": round(result.seconds, 3)}
        else:
            record["reason"] = result.reason
        with self._lock:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace")
                if self._file.tell() and not self._ends_whole():
                    self._file.write("\n")
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
