"""Image files in folders, and which of them are taken."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from carcli.batch.job import Job
from carcli.images.formats import SUFFIXES, advice
from carcli.runtime.paths import NO_NAME, reason


@dataclass(frozen=True)
class Source:
    """An image file, and the folder of its output, relative to the output folder."""

    path: Path
    folder: Path
    address: str | None = None  # that a user gave, of which ``path`` is a copy

    def short(self, suffix: str) -> Path:
        """The output's name, relative to the output folder, where no other image has the same."""
        return self.folder / f"{self.path.stem}{suffix}"

    def long(self, suffix: str) -> Path:
        """The output's name where others have the short one."""
        return self.folder / f"{self.path.name}{suffix}"

    @property
    def unread(self) -> str | None:
        """The suffix, of a kind of image that is known but cannot be read."""
        suffix = self.path.suffix.lower()
        return suffix if advice(suffix) is not None else None


@dataclass(frozen=True)
class Filter:
    """Which files of folders are taken: shell patterns on the name, or on the path below the folder where they hold a ``/``."""

    include: Sequence[str] = ()  # empty: all
    exclude: Sequence[str] = ()

    def __call__(self, source: Source) -> bool:
        return self.takes((source.folder / source.path.name).as_posix())

    def takes(self, relative: str) -> bool:
        """Whether it takes a file or an object, by what it is called below its folder."""
        name = relative.rpartition("/")[2]

        def matches(pattern: str) -> bool:
            subject = relative if "/" in pattern else name
            return fnmatch.fnmatch(subject.casefold(), pattern.casefold())

        return (not self.include or any(map(matches, self.include))) and not any(map(matches, self.exclude))


class _Folder(NamedTuple):
    path: Path
    below: Path  # relative to the one that is walked


def same(a: Path, b: Path) -> bool:
    """Whether both are there, and one file or folder."""
    try:
        return a.samefile(b)
    except (OSError, ValueError):
        return False


def walk(
    top: Path, recursive: bool, output: Path | None, skip: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Source | Job]:
    """Image files of a folder in order of name, those of kinds that cannot be read too.

    Hidden ones, links to folders, the output folder and those that ``skip`` says are left out. A folder that cannot be read
    is a job with an obstacle, and the others are walked all the same.
    """
    ahead: list[_Folder | Source | Job] = [_Folder(top, Path())]  # the next one last
    while ahead:
        item = ahead.pop()
        if isinstance(item, _Folder):
            ahead.extend(reversed(list(_inside(item, recursive, output, skip))))
        else:
            yield item


def _inside(
    folder: _Folder, recursive: bool, output: Path | None, skip: Callable[[Path], bool]
) -> Iterator[_Folder | Source | Job]:
    try:
        with os.scandir(folder.path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else NO_NAME
        yield Job(folder.path, None, f"this folder cannot be read ({why})")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder.path / entry.name
        if _is_folder(entry):
            if recursive and not entry.is_symlink() and not (output and same(path, output)) and not skip(path):
                yield _Folder(path, folder.below / entry.name)
        elif path.suffix.lower() in SUFFIXES or advice(path.suffix.lower()) is not None:
            yield Source(path, folder.below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: what is wrong with it is said where it is to be read
        return False
