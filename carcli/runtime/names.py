"""Which names are one to a file system: some do not tell ``a`` from ``A``, or one way of writing ``é`` from another."""

from __future__ import annotations

import os
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from carcli.runtime.files import MARK, temporary
from carcli.runtime.paths import is_folder


@dataclass(frozen=True)
class Names:
    """What a file system does not tell apart."""

    case: bool = False  # a and A
    length: bool = False  # ß and ss; only where it does not tell case apart
    form: bool = False  # é as one character, and as two

    def key(self, path: Path) -> str:
        """The same text for all paths that are one."""
        text = unicodedata.normalize("NFC", str(path)) if self.form else str(path)
        if self.case:
            text = text.casefold() if self.length else "".join(map(_folded, text))
        return unicodedata.normalize("NFC", text) if self.form else text


USUAL = Names(case=sys.platform in ("win32", "cygwin", "darwin"), form=sys.platform == "darwin")


def _folded(character: str) -> str:
    folded = character.casefold()
    return folded if len(folded) == 1 else character


def names_in(folder: Path) -> Names:
    """What the file system of a folder, or of the nearest one above it that there is, does not tell apart.

    It is asked once, with a file that is removed again; where that cannot be made, it is taken to
    do what is usual for this system.
    """
    return _asked(nearest(folder))


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = Path(os.path.abspath(folder))
    while not is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


@cache
def _asked(folder: Path) -> Names:
    try:
        with temporary(folder, MARK) as (path, _):

            def is_called(old: str, new: str) -> bool:
                return os.path.lexists(path.with_name(path.name.replace(old, new)))

            return Names(is_called(".tmp", ".TMP"), is_called("\u00df", "ss"), is_called("\u00e9", "e\u0301"))
    except (OSError, ValueError):  # read-only, or no such characters
        return USUAL
