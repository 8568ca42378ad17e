"""Names of datasets, models and images as names of files: none leads anywhere, and no two become one."""

from __future__ import annotations

import re
from collections.abc import Hashable

FOREIGN = re.compile(r"[^\w.+() -]")  # whatever a file system or a shell may take for something else
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows' devices
LONGEST = 80  # characters: with what is put behind it, below the 255 bytes that file systems take


def plain(text: str) -> str:
    """A text as a file name: no separators, no dots or spaces at its ends, nothing that is reserved; never empty.

    >>> plain("../a:b"), plain(""), plain("aux.png")
    ('_a_b', '_', '_aux.png')
    """
    name = FOREIGN.sub("_", text)[:LONGEST].strip(". ") or "_"
    name = f"_{name}" if RESERVED.fullmatch(name) else name
    while len(name.encode()) > 2 * LONGEST:  # letters of several bytes
        name = name[:-1]
    return name


class Names:
    """File names by what they stand for: the same for the same, another for another, on any file system."""

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._taken: set[str] = set()

    def of(self, thing: Hashable, text: str) -> str:
        """The name of a thing that is called ``text``: with a number where something else is called so too."""
        if thing not in self._names:
            name, number = plain(text), 1
            while name.casefold() in self._taken:
                number += 1
                name = f"{plain(text)}-{number}"
            self._taken.add(name.casefold())
            self._names[thing] = name
        return self._names[thing]
