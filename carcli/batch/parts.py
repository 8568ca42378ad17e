"""The journal of an output folder in a store: parts that are written once, whole, and never again.

An object cannot be appended to. A run writes its lines as parts of its own name, so that runs side by side never replace each
other's; whoever goes on reads all of them, in the order in which their runs began. A crash loses the lines since the last part.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from carcli.batch.job import Job, Recorded, Result
from carcli.batch.journal import LONGEST, NAME, lines
from carcli.batch.origins import Origins, verb_told
from carcli.errors import CarcliError
from carcli.runtime.schema import SCHEMA
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.store import Stored
from carcli.stores.url import Url

FOLDER = ".carcli-journal/"
LINES = 1000  # in a part at most
SECONDS = 10.0  # after which a line that comes ends a part
READERS = 16  # parts read side by side


def verb_in(folder: Url) -> str | None:
    """What made the results in a folder of a store, as ``verb_of`` a folder: None where it has no journal."""
    first = next(_parts(folder), None)
    if first is None:
        return None
    data, _ = store_of(folder).read(first.url)
    return verb_told(data[:LONGEST].partition(b"\n")[0])


def _parts(folder: Url) -> Iterator[Stored]:
    """The objects that are its journal: that of a folder that was copied into the store, then parts."""
    copied = store_of(folder).stat(folder.below(NAME))
    if copied is not None:
        yield copied
    for entry in store_of(folder).entries(folder.below(FOLDER)):
        if isinstance(entry, Stored) and entry.url.suffix == ".jsonl":
            yield entry


def no_inputs_in(folder: Url, verb: str) -> set[str]:
    """Names, relative to a folder, of the results that its journal tells of, but those that ``verb`` takes.

    Raises ``CarcliError`` where it cannot be read.
    """
    origins = Origins("")
    _read(folder.folder, origins)
    return origins.no_inputs(verb)


def _read(folder: Url, origins: Origins) -> None:
    """Learn from all parts."""
    with ThreadPoolExecutor(READERS, "journal") as pool:
        parts = _parts(folder)
        while some := list(islice(parts, READERS)):
            for data, _ in pool.map(lambda part: store_of(part.url).read(part.url), some):
                for line in lines(io.BytesIO(data)):
                    origins.take(line)


class Parts:
    """Keeps ``History``. ``settings`` and ``verb`` are as a ``Journal``'s."""

    def __init__(self, folder: Url, settings: str, verb: str = "") -> None:
        """Reads what there is, and begins a part: nothing is computed for a folder that cannot be written.

        Raises ``CarcliError`` where it cannot be read or written.
        """
        self.folder = folder.folder
        self._origins = Origins(settings, verb)
        self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        self._count = 0
        self._waiting: list[bytes] = []
        self._since = time.monotonic()
        self._lock = threading.Lock()
        _read(self.folder, self._origins)
        begin = {"schema": SCHEMA, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "status": "begun"}
        self._put([json.dumps({**begin, "settings": settings, "verb": verb or None}).encode("ascii") + b"\n"])

    def how_made(self, job: Job) -> Recorded:
        """How the output that is there was made."""
        assert isinstance(job.target, Url)
        return self._origins.how_made(job, self._name(job.target))

    def _name(self, target: Url) -> str:
        return target.key[len(self.folder.key) :]

    def record(self, result: Result) -> None:
        """Note what became of an image; from any thread. Raises ``CarcliError`` where no part can be written."""
        if result.status == "skipped":
            return
        target = self._name(result.target) if isinstance(result.target, Url) else None
        with self._lock:
            self._waiting.append(self._origins.line(result, target))
            if len(self._waiting) < LINES and time.monotonic() - self._since < SECONDS:
                return
            part, self._waiting, self._since = self._waiting, [], time.monotonic()
        self._put(part)

    def _put(self, part: list[bytes]) -> None:
        with self._lock:
            url = self.folder.below(f"{FOLDER}{self._run}-{self._count:06}.jsonl")
            self._count += 1
        try:
            store_of(url).write(url, b"".join(part))
        except StoreError as error:
            with self._lock:
                self._waiting = part + self._waiting  # for the last attempt, as the run ends
            raise CarcliError(f"{error.url}: the journal cannot be written ({error.why})") from error

    def close(self) -> None:
        """Write what is left. Raises ``CarcliError``."""
        with self._lock:
            part, self._waiting = self._waiting, []
        if part:
            self._put(part)
