"""From what a user names to a list of jobs: which file becomes which, and what stands in the way."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcli.errors import UsageError
from carcli.images.formats import SUFFIXES


@dataclass(frozen=True)
class Job:
    """One image to process. ``obstacle`` says why it cannot be, where that is known beforehand."""

    source: Path
    target: Path | None
    obstacle: str | None = None


@dataclass(frozen=True)
class _Found:
    source: Path
    folder: Path  # of the output, relative to the output folder


def _walk(folder: Path, recursive: bool, output: Path) -> Iterable[_Found]:
    """Image files of a folder in order of name; hidden ones, links to folders and the output folder are left out."""
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if recursive and not path.is_symlink() and path.resolve() != output:
                for found in _walk(path, recursive, output):
                    yield _Found(found.source, path.name / found.folder)
        elif path.suffix.lower() in SUFFIXES:
            yield _Found(path, Path())


def _is_file_name(output: Path, inputs: Sequence[Path]) -> bool:
    """Whether ``-o`` names a file: one input file, and a suffix, and no folder of that name."""
    return len(inputs) == 1 and not inputs[0].is_dir() and bool(output.suffix) and not output.is_dir()


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


@dataclass(frozen=True)
class Filter:
    """Which files of folders are taken: shell patterns on the name, or on the path below the folder where they hold a ``/``."""

    include: Sequence[str] = ()  # empty: all
    exclude: Sequence[str] = ()

    def __call__(self, found: _Found) -> bool:
        def matches(pattern: str) -> bool:
            subject = (found.folder / found.source.name).as_posix() if "/" in pattern else found.source.name
            return fnmatch.fnmatch(subject.casefold(), pattern.casefold())

        return (not self.include or any(map(matches, self.include))) and not any(map(matches, self.exclude))


def _expanded(item: Path) -> Sequence[Path]:
    """What a shell would have made of ``*.jpg``, for those that do not."""
    if item.exists() or not any(c in str(item) for c in "*?["):
        return [item]
    return sorted(Path(p) for p in glob.glob(str(item), recursive=True)) or [item]  # noqa: PTH207 - absolute patterns too


def plan(
    inputs: Sequence[Path], output: Path, recursive: bool = False, wanted: Callable[[_Found], bool] = lambda found: True
) -> list[Job]:
    """Jobs in the order of the inputs, folders in order of name.

    ``photo.jpg`` becomes ``photo.png`` in the output folder. Where that would give two images
    one name, they keep their suffix (``photo.jpg.png``, ``photo.tif.png``); where even that
    would, all but the first are refused. An image that would replace itself or another input
    is refused. Missing inputs and unreadable folders become jobs with an obstacle. ``wanted``
    chooses among the files of folders. Symbolic links to files are followed, those to folders
    are not, so that no loop can be.

    Raises ``UsageError`` where the output is a file of another format than PNG, or a file
    where a folder is needed.
    """
    if _is_file_name(output, inputs):
        if output.suffix.lower() != ".png":
            raise UsageError(f"{output}: carcli writes PNG, because it is lossless; name a .png file")
        obstacle = _obstacle(inputs[0], output, {inputs[0].name: [inputs[0]]})
        return [Job(inputs[0], None if obstacle else output, obstacle)]
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file, but several images need a folder")

    found: list[_Found | Job] = []
    seen: set[Path] = set()
    for item in (one for pattern in inputs for one in _expanded(pattern)):
        if item.is_dir():
            try:
                new: Iterable[_Found | Job] = [one for one in _walk(item, recursive, output.resolve()) if wanted(one)]
            except UsageError as error:
                new = [Job(item, None, str(error).removeprefix(f"{item}: "))]
        else:
            new = [_Found(item, Path()) if item.exists() else Job(item, None, "no such file or folder")]
        for one in new:
            key = Path(os.path.abspath(one.source))
            if key not in seen:
                seen.add(key)
                found.append(one)

    short: dict[str, int] = defaultdict(int)
    for one in found:
        if isinstance(one, _Found):
            short[_key(one.folder / f"{one.source.stem}.png")] += 1
    taken: dict[str, Path] = {}
    sources: dict[str, list[Path]] = defaultdict(list)
    for one in found:
        sources[one.source.name].append(one.source)
    jobs: list[Job] = []
    for one in found:
        if isinstance(one, Job):
            jobs.append(one)
            continue
        name = f"{one.source.stem}.png"
        if short[_key(one.folder / name)] > 1:
            name = f"{one.source.name}.png"
        target = output / one.folder / name
        owner = taken.setdefault(_key(target), one.source)
        obstacle = None
        if owner is not one.source:
            obstacle = f"would be written to {target} like {owner}; use another output folder for it"
        else:
            obstacle = _obstacle(one.source, target, sources)
        jobs.append(Job(one.source, None if obstacle else target, obstacle))
    return jobs


def _key(path: Path) -> str:
    return str(path).casefold()  # two names that differ in case alone are one file on many systems


def _obstacle(source: Path, target: Path, sources: Mapping[str, Sequence[Path]]) -> str | None:
    if not source.exists():
        return "no such file or folder"
    if not source.is_file():
        return "is no ordinary file"
    if not target.exists():
        return None
    if target.is_dir():
        return f"{target} is a folder; use another output folder"
    if _same(source, target):
        return "would replace itself; name another output folder with -o"
    for other in sources.get(target.name, ()):
        if _same(other, target):
            return f"would replace {other}, which is an input too; name another output folder with -o"
    return None
