"""What outputs were made from, as the lines of a journal tell it: one rule for journals on disks and in stores."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from carcli.batch.job import Job, Recorded, Result
from carcli.batch.record import of_result
from carcli.runtime.files import state
from carcli.runtime.schema import SCHEMA
from carcli.stores.url import Place

SIZES = "input_bytes", "input_changed_ns"
SIZES_BEFORE = "size", "changed"  # of lines that say no schema


@dataclass(frozen=True)
class _Origin:
    """What an output was made from."""

    settings: str
    source: str
    size: int
    version: int | str  # the time of its last change in nanoseconds, or the name that its store gave this version of it
    verb: str = ""  # what made it


class Origins:
    """By the names of outputs, relative to their folder. ``settings`` is whatever decides what an image becomes."""

    def __init__(self, settings: str, verb: str = "") -> None:
        self.settings, self.verb = settings, verb
        self._origins: dict[str, _Origin] = {}

    def take(self, line: bytes) -> None:
        """Learn from a line; one that is no record is passed over."""
        try:
            record = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):  # cut by a crash, by somebody's editor, or hostile
            return
        if not isinstance(record, dict) or record.get("status") != "done":
            return
        target, settings, source = (record.get(name) for name in ("target", "settings", "source"))
        size, changed = (record.get(name) for name in (SIZES if "schema" in record else SIZES_BEFORE))
        etag = record.get("input_etag")
        if not (isinstance(target, str) and isinstance(settings, str) and isinstance(source, str)):
            return
        if type(size) is int and type(changed) is int:  # True is no number of bytes
            version = etag if isinstance(etag, str) and etag else changed
            self._origins[target] = _Origin(settings, source, size, version, str(record.get("verb") or ""))

    def no_inputs(self, verb: str) -> set[str]:
        """Names of the outputs that lines tell of, but those that ``verb`` takes."""
        return {name for name, origin in self._origins.items() if is_no_input(origin.verb, verb)}

    def how_made(self, job: Job, target: str) -> Recorded:
        """How the output that is there was made: from the same source with the same settings, or not, or nobody knows."""
        origin = self._origins.get(target)
        if origin is None:
            return "unknown"
        if origin.settings != self.settings:
            return "settings"
        try:
            if job.address is not None:  # a copy, which was made just now
                assert isinstance(job.source, Path)
                size, _ = state(job.source)
                return "same" if (origin.source, origin.size) == (job.address, size) else "source"
            version: int | str
            if isinstance(job.source, Path):
                size, version = state(job.source)
            elif job.listed is not None:
                size, version = job.listed.version
            else:
                return "unknown"
        except OSError:
            return "unknown"
        same = (origin.source, origin.size, origin.version) == (full(job.source), size, version)
        return "same" if same else "source"

    def line(self, result: Result, target: str | None) -> bytes:
        """What became of an image as a line, and remembered. Raises ``OSError`` where nobody knows where a relative path is."""
        source = result.address or full(result.source)
        line = {
            "schema": SCHEMA,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **of_result(result),
            "source": source,
            "target": target,
            "settings": self.settings,
            "verb": self.verb or None,
        }
        if target is not None and result.input_bytes is not None and result.input_changed is not None:
            version = result.input_etag or result.input_changed
            self._origins[target] = _Origin(self.settings, source, result.input_bytes, version, self.verb)
        return json.dumps(line).encode("ascii") + b"\n"


def is_no_input(made_by: str, verb: str) -> bool:
    """Whether what was made is not for ``verb``: nothing is shrunk once more, and what was restored is not restored again."""
    return verb != "up" or made_by == "up"


def verb_told(line: bytes) -> str:
    """What the first line of a journal says that results are made by: ``down``, ``up``, empty where it does not say."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(record.get("verb") or "") if isinstance(record, dict) else ""


def full(place: Place) -> str:
    """A place by a name that says where it is from anywhere."""
    return str(place.absolute()) if isinstance(place, Path) else str(place)
