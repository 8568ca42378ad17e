"""From what a user names to a list of jobs: which file becomes which, and what stands in the way."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from carcli.batch.job import Job
from carcli.batch.walk import Source, same, walk
from carcli.errors import CarcliError, UsageError
from carcli.images import written
from carcli.images.formats import SUFFIXES, advice
from carcli.images.written import PNG, Format
from carcli.runtime.names import USUAL, names_in
from carcli.runtime.paths import is_folder, is_there, kind, reason
from carcli.stores.url import Place, Url, path_of

NOTHING = "no such file or folder"


class Obstacle(NamedTuple):
    """Why an image cannot be processed."""

    reason: str
    kind: str | None = None  # the reason without names of files, where it has some


def plan(
    inputs: Sequence[Path | Source | Job],
    output: Path,
    recursive: bool = False,
    wanted: Callable[[Source], bool] = lambda source: True,
    left_out: Counter[str] | None = None,
    form: Format = PNG,
    skip: Callable[[Path], bool] = lambda folder: False,
) -> list[Job]:
    """Jobs in the order of the inputs, folders in order of name.

    ``photo.jpg`` becomes ``photo.png`` in the output folder, or what ``form`` is called. Where that would give two images
    one name, as the output's file system sees it, they keep their suffix (``photo.jpg.png``,
    ``photo.tif.png``); where even that would, all but the first are refused. An image that would
    replace itself or another input is refused. Missing inputs, unreadable folders and names that
    the file system does not take become jobs with an obstacle. ``wanted`` chooses among the files
    of folders; ``left_out`` counts the suffixes of those that are images of kinds that cannot be
    read. ``skip`` says which folders in folders are passed over.
    Symbolic links to files are followed, those to folders are not, so that no loop can be.

    Raises ``UsageError`` where the output is a file of another format, or a file where a folder
    is needed, ``CarcliError`` where it cannot be reached.
    """
    try:
        if is_file_name(output, inputs):
            written.named(output, form.name)
            (first,) = inputs
            source = _readable(Source(first, Path())) if isinstance(first, Path) else first
            return [source if isinstance(source, Job) else _job(source, output, obstacle_at(source.path, output))]
        if kind(output) not in ("nothing", "folder"):
            raise UsageError(f"{output}: is a file, but several images need a folder")
        return list(targeted(list(sources(inputs, output, recursive, wanted, left_out, skip)), output, form.suffix))
    except OSError as error:
        raise CarcliError(f"{error.filename or output}: {reason(error)}; name another folder with -o") from error


def is_file_name(output: Place, inputs: Sequence[object]) -> bool:
    """Whether ``-o`` names a file: one input file, an image's suffix, whether it is written or not, and no folder of that name.

    Of another suffix nobody can tell that it is one: ``-o 2024.05`` is a folder.
    """
    if len(inputs) != 1 or _is_folder(inputs[0]) or _is_folder(output):
        return False
    suffix = output.suffix.lower()
    return suffix in SUFFIXES or suffix in written.BY_SUFFIX or advice(suffix) is not None


def _is_folder(place: object) -> bool:
    return place.is_folder if isinstance(place, Url) else isinstance(place, Path) and is_folder(place)


def _expanded(item: Path) -> Sequence[Path]:
    """What a shell would have made of ``*.jpg``, for those that do not."""
    if not any(c in str(item) for c in "*?[") or is_there(item):
        return [item]
    try:
        return sorted(Path(p) for p in glob.glob(str(item), recursive=True)) or [item]  # noqa: PTH207 - absolute patterns too
    except (OSError, ValueError):
        return [item]


def sources(
    inputs: Sequence[Path | Source | Job],
    output: Path | None,
    recursive: bool,
    wanted: Callable[[Source], bool],
    left_out: Counter[str] | None,
    skip: Callable[[Path], bool],
) -> Iterator[Source | Job]:
    """Every image file once, in the order of the inputs; what cannot be read is a job with an obstacle."""
    seen: set[Path] = set()
    for item in (item for given in inputs for item in (_expanded(given) if isinstance(given, Path) else [given])):
        folder = isinstance(item, Path) and is_folder(item)
        for candidate in _candidates(item, recursive, output, skip):
            absolute = Path(os.path.abspath(_path(candidate)))
            if absolute in seen or (isinstance(candidate, Source) and folder and not wanted(candidate)):
                continue
            seen.add(absolute)
            if isinstance(candidate, Source) and folder and candidate.unread is not None:
                if left_out is not None:
                    left_out[candidate.unread] += 1
                continue
            yield candidate if isinstance(candidate, Job) else _readable(candidate)


def _candidates(
    item: Path | Source | Job, recursive: bool, output: Path | None, skip: Callable[[Path], bool]
) -> Iterable[Source | Job]:
    if not isinstance(item, Path):
        return [item]
    return walk(item, recursive, output, skip) if is_folder(item) else [Source(item, Path())]


def _readable(source: Source) -> Source | Job:
    """A source; a job with an obstacle where there is no such file to read."""
    why = _why_not(source.path)
    return source if why is None else Job(source.path, None, why, address=source.address)


def _why_not(path: Path) -> str | None:
    try:
        there = kind(path)
    except OSError as error:
        return reason(error)
    return None if there == "file" else NOTHING if there == "nothing" else "is no ordinary file"


def _path(candidate: Source | Job) -> Path:
    return candidate.path if isinstance(candidate, Source) else path_of(candidate.source)


def targeted(every: Sequence[Source | Job], output: Path, suffix: str) -> Iterator[Job]:
    """Give each source a target that no other has, or an obstacle."""
    sources = [source for source in every if isinstance(source, Source)]
    key = (names_in(output) if len(sources) > 1 else USUAL).key
    short = Counter(key(source.short(suffix)) for source in sources)
    inputs: Mapping[str, list[Path]] = defaultdict(list)  # by their own name
    for source in sources:
        inputs[key(Path(source.path.name))].append(source.path)
    owners: dict[str, Path] = {}
    for candidate in every:
        if isinstance(candidate, Job):
            yield candidate
            continue
        path = candidate.path
        alone = short[key(candidate.short(suffix))] == 1
        name = candidate.short(suffix) if alone else candidate.long(suffix)
        target = output / name
        obstacle = obstacle_at(path, target, inputs.get(key(Path(name.name)), ()))
        if obstacle is None and owners.setdefault(key(name), path) is not path:
            obstacle = Obstacle(
                f"would be written to {target} like {owners[key(name)]}; use another output folder for it",
                "would be written where another image is; use another output folder for it",
            )
        yield _job(candidate, target, obstacle)


def _job(source: Source, target: Path, obstacle: Obstacle | None) -> Job:
    if obstacle is None:
        return Job(source.path, target, address=source.address)
    return Job(source.path, None, obstacle.reason, obstacle.kind, source.address)


def obstacle_at(source: Path | None, target: Path, others: Iterable[Path] = ()) -> Obstacle | None:
    """What stands in the way of writing ``target`` from a file, or from elsewhere; ``others`` are inputs that have its name."""
    try:
        at_target = kind(target)
    except OSError as error:
        return Obstacle(f"cannot be written ({reason(error)})")
    if at_target == "folder":
        return Obstacle(f"{target} is a folder; use another output folder", "its output is a folder; use another output folder")
    if at_target == "nothing":
        return None
    if source is not None and same(source, target):
        return Obstacle("would replace itself; name another output folder with -o")
    for other in others:
        if same(other, target):
            return Obstacle(
                f"would replace {other}, which is an input too; name another output folder with -o",
                "would replace another input; name another output folder with -o",
            )
    if at_target == "other":
        return Obstacle(
            f"{target} is no ordinary file; remove it, or use another output folder", "its output is no ordinary file"
        )
    return None
