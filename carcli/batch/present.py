"""Which outputs are in a store, told from listings that go along with those of the inputs: no request for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from carcli.stores.schemes import store_of
from carcli.stores.store import Store, Stored
from carcli.stores.url import Url


class _Window:
    """The part of a folder's names that is still of interest."""

    def __init__(self, entries: Iterator[Stored | Url]) -> None:
        self._entries = entries
        self._names: deque[str] = deque()  # in ascending order
        self._last = self._dropped = ""
        self._ended = False

    def has(self, name: str, floor: str) -> bool | None:
        """Whether there is an object of that name; None where that is forgotten. Nothing before ``floor`` is asked again."""
        if name <= self._dropped:
            return None
        while not self._ended and self._last <= name:
            entry = next(self._entries, None)
            self._ended = entry is None
            if isinstance(entry, Stored):
                self._last = entry.url.name
                self._names.append(self._last)
        while self._names and self._names[0] < floor:
            self._dropped = self._names.popleft()
        return name in self._names


class Present:
    """What there is in an output folder of a store."""

    def __init__(self, output: Url) -> None:
        self._output = output.folder
        self._store: Store = store_of(output)
        self._windows: dict[str, _Window] = {}  # of the folders on the way to the last one that was asked of

    def has(self, relative: str, open_stems: Iterable[str] = ()) -> bool:
        """Whether there is an object. It is told best in ascending order of folders, and in each of names, no earlier than
        those ``open_stems`` that are in the same folder."""
        folder, name = _split(relative)
        stems = [stem for where, stem in map(_split, open_stems) if where == folder]
        on_the_way = {path: window for path, window in self._windows.items() if folder.startswith(path)}
        if folder not in on_the_way:
            on_the_way[folder] = _Window(self._store.entries(self._output.below(folder)))
        self._windows = on_the_way
        there = on_the_way[folder].has(name, min([*stems, name]))
        return self._store.stat(self._output.below(relative)) is not None if there is None else there


def _split(relative: str) -> tuple[str, str]:
    """A folder, empty or with a ``/`` at its end, and what follows it."""
    above = relative.rfind("/") + 1
    return relative[:above], relative[above:]
