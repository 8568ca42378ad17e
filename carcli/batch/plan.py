"""From what a user names to a list of jobs: which file becomes which, and what stands in the way."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcli.batch.job import Job
from carcli.errors import UsageError
from carcli.images.formats import SUFFIXES


@dataclass(frozen=True)
class Source:
    """An image file, and the folder of its output, relative to the output folder."""

    path: Path
    folder: Path

    @property
    def short(self) -> Path:
        """The output's name, relative to the output folder, where no other image has the same."""
        return self.folder / f"{self.path.stem}.png"

    @property
    def long(self) -> Path:
        """The output's name where others have the short one."""
        return self.folder / f"{self.path.name}.png"


def _walk(folder: Path, recursive: bool, output: Path) -> Iterable[Source]:
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
                for source in _walk(path, recursive, output):
                    yield Source(source.path, path.name / source.folder)
        elif path.suffix.lower() in SUFFIXES:
            yield Source(path, Path())


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

    def __call__(self, source: Source) -> bool:
        def matches(pattern: str) -> bool:
            subject = (source.folder / source.path.name).as_posix() if "/" in pattern else source.path.name
            return fnmatch.fnmatch(subject.casefold(), pattern.casefold())

        return (not self.include or any(map(matches, self.include))) and not any(map(matches, self.exclude))


def _expanded(item: Path) -> Sequence[Path]:
    """What a shell would have made of ``*.jpg``, for those that do not."""
    if item.exists() or not any(c in str(item) for c in "*?["):
        return [item]
    return sorted(Path(p) for p in glob.glob(str(item), recursive=True)) or [item]  # noqa: PTH207 - absolute patterns too


def listed(path: Path) -> list[Path]:
    """The inputs that a file names, one a line. Raises ``UsageError`` where it cannot be read."""
    try:
        return names(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def names(data: bytes) -> list[Path]:
    """The inputs that a text names, one a line, or with zero bytes between them as ``find -print0`` writes them."""
    text = data.decode(errors="surrogateescape")
    return [Path(name) for name in (text.split("\0") if "\0" in text else text.splitlines()) if name.strip()]


def plan(
    inputs: Sequence[Path], output: Path, recursive: bool = False, wanted: Callable[[Source], bool] = lambda source: True
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

    every = list(_sources(inputs, output, recursive, wanted))
    return list(_jobs(every, output))


def _sources(inputs: Sequence[Path], output: Path, recursive: bool, wanted: Callable[[Source], bool]) -> Iterable[Source | Job]:
    """Every image file once, in the order of the inputs; what cannot be read is a job with an obstacle."""
    seen: set[Path] = set()
    for item in (item for pattern in inputs for item in _expanded(pattern)):
        candidates: Iterable[Source | Job]
        if item.is_dir():
            try:
                candidates = [source for source in _walk(item, recursive, output.resolve()) if wanted(source)]
            except UsageError as error:
                candidates = [Job(item, None, str(error).removeprefix(f"{item}: "))]
        else:
            candidates = [Source(item, Path()) if item.exists() else Job(item, None, "no such file or folder")]
        for candidate in candidates:
            absolute = Path(os.path.abspath(_path(candidate)))
            if absolute not in seen:
                seen.add(absolute)
                yield candidate


def _path(candidate: Source | Job) -> Path:
    return candidate.path if isinstance(candidate, Source) else candidate.source


def _jobs(every: Sequence[Source | Job], output: Path) -> Iterable[Job]:
    """Give each source a target that no other has, or an obstacle."""
    short = Counter(_key(source.short) for source in every if isinstance(source, Source))
    inputs: dict[str, list[Path]] = defaultdict(list)  # by their own name
    for candidate in every:
        inputs[_path(candidate).name].append(_path(candidate))
    owners: dict[str, Path] = {}
    for source in every:
        if isinstance(source, Job):
            yield source
            continue
        target = output / (source.long if short[_key(source.short)] > 1 else source.short)
        owner = owners.setdefault(_key(target), source.path)
        if owner is not source.path:
            obstacle: str | None = f"would be written to {target} like {owner}; use another output folder for it"
        else:
            obstacle = _obstacle(source.path, target, inputs)
        yield Job(source.path, None if obstacle else target, obstacle)


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
