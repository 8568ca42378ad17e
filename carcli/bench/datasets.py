"""Benchmark images: a folder of one's own, or a pinned dataset by name, fetched where it is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.errors import UsageError
from carcli.images.formats import SUFFIXES, advice
from carcli.runtime.paths import reason
from carcli.stores.url import Url, place_of
from carcli.weights import manifest
from carcli.weights.store import dataset_folder

if TYPE_CHECKING:
    from carcli.weights.fetch import Watch


@dataclass(frozen=True)
class Images:
    """HR images to measure with."""

    name: str
    files: tuple[Path, ...]
    pinned: bool = False  # whether these are exactly the files that published figures speak of
    left_out: tuple[str, ...] = ()  # suffixes of others, images of kinds that are not read here


def place(name: str) -> manifest.Dataset | Path:
    """What a name means: a pinned dataset, or a folder. Raises ``UsageError`` where it means neither."""
    folder = place_of(name)
    if isinstance(folder, Url):
        raise UsageError(f"{name}: bench measures folders of this machine: copy it here first, as with: aws s3 sync")
    datasets = {dataset.id: dataset for dataset in manifest.manifest().datasets}
    try:
        if name.lower() in datasets and not folder.is_dir():
            return datasets[name.lower()]
        if not folder.is_dir() and manifest.ID.fullmatch(name.lower()):
            folder = dataset_folder(name.lower())
        if folder.is_dir():
            return folder
    except OSError as error:
        raise UsageError(f"{error.filename or name}: {reason(error)}") from error
    known, others = ", ".join(datasets), dataset_folder("")
    raise UsageError(f"no dataset {name!r}: neither a folder nor one of {known}, nor a folder in {others}")


def find(name: str, watch: Watch | None = None) -> Images:
    """A dataset by name or by path; a pinned one is fetched, and verified file by file.

    Raises ``UsageError`` for an unknown name or a folder that is empty or cannot be read, ``WeightsError`` for a
    dataset that cannot be fetched.
    """
    folder = place(name)
    try:
        if isinstance(folder, manifest.Dataset):
            from carcli.weights.fetch import fetch_dataset, unwatched  # and with it what speaks HTTP

            dataset, folder = folder, fetch_dataset(folder, watch or unwatched)
            return Images(dataset.id, tuple(folder / file.name for file in dataset.files), pinned=True)
        every = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{error.filename or name}: {reason(error)}") from error
    suffixes = [path.suffix.lower() for path in every]
    files = tuple(path for path, suffix in zip(every, suffixes, strict=True) if suffix in SUFFIXES)
    left_out = tuple(suffix for suffix in suffixes if advice(suffix) is not None)
    if not files:
        of_others = f" that can be read here, but {len(left_out)} others: {advice(left_out[0])}" if left_out else ""
        raise UsageError(f"{folder}: holds no images{of_others}")
    return Images(folder.resolve().name.lower() or "root", files, left_out=left_out)


def find_all(names: Iterable[str], watch: Watch | None = None) -> list[Images]:
    """Datasets by name or by path, each once; where two are called the same, the later has a number behind its name.

    Raises ``UsageError`` and ``WeightsError`` as ``find`` does.
    """
    found = list({images.files: images for images in (find(name, watch) for name in names)}.values())
    taken: set[str] = set()
    for i, images in enumerate(found):
        name, number = images.name, 1
        while name in taken:
            number += 1
            name = f"{images.name}-{number}"
        taken.add(name)
        found[i] = replace(images, name=name)
    return found
