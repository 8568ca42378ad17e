"""Checkpoints and datasets alike: what there is of the manifest's in the store, fetching it, checking it, removing it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from carcli.errors import UsageError, WeightsError
from carcli.runtime import paths
from carcli.weights import manifest, store
from carcli.weights.fetch import Watch, fetch_checkpoint, fetch_dataset, unwatched
from carcli.weights.manifest import Dataset, Entry

Item = Entry | Dataset


def checkpoints() -> tuple[Entry, ...]:
    """Every checkpoint of the manifest."""
    return manifest.entries()


def datasets() -> tuple[Dataset, ...]:
    """Every dataset of the manifest."""
    return manifest.manifest().datasets


def items(ids: Sequence[str] = ()) -> list[Item]:
    """What ids name; everything where there are none. Raises ``WeightsError`` for an unknown id."""
    everything: list[Item] = [*checkpoints(), *datasets()]
    known = {item.id: item for item in everything}
    for name in ids:
        if name not in known:
            raise WeightsError(f"unknown checkpoint or dataset {name!r}; see: carcli weights list")
    return [known[name] for name in ids or known]


def wanted(ids: Sequence[str], everything: bool) -> list[Item]:
    """What is to be fetched: some, or everything. Raises ``UsageError`` unless it is one of the two."""
    if bool(ids) == everything:
        raise UsageError("name what to fetch, or pass --all; see: carcli weights list")
    return items(ids)


def place(item: Item) -> Path:
    """The file of a checkpoint or the folder of a dataset, where it is or would be."""
    return store.checkpoint_path(item) if isinstance(item, Entry) else store.dataset_folder(item.id)


def present(dataset: Dataset) -> int:
    """How many of a dataset's files are there."""
    return sum(paths.is_there(place(dataset) / file.name) for file in dataset.files)


def state(item: Item) -> str:
    """``bundled``, ``fetched``, ``imported``, ``missing``, or how much of a dataset is here."""
    if isinstance(item, Entry):
        return store.state(item)
    count, total = present(item), len(item.files)
    return "fetched" if count == total else f"{count} of {total} here" if count else "missing"


def fetch(item: Item, watch: Watch = unwatched) -> Path:
    """Its place, once everything is there, and verified. Raises ``WeightsError``."""
    if not isinstance(item, Entry):
        return fetch_dataset(item, watch)
    return store.verified(item) if paths.is_there(item.bundled) else fetch_checkpoint(item, watch)


def _files(item: Item) -> list[tuple[Path, str]]:
    """Every file of it with the digest that it must have."""
    if isinstance(item, Entry):
        return [(place(item), store.pinned_digest(item))]
    return [(place(item) / file.name, file.sha256) for file in item.files]


def problem(item: Item) -> str | None:
    """What is wrong with what is here of it, every file read again; None where nothing is."""
    files = [(path, digest) for path, digest in _files(item) if paths.is_there(path)]
    if not files:
        return "not here"
    for path, digest in files:
        try:
            if store.file_digest(path) != digest:
                return f"{path}: damaged"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return None


def remove(item: Item) -> int:
    """Delete what was fetched or imported of it; returns how many files that were.

    Raises ``WeightsError`` for what came with the package.
    """
    if isinstance(item, Entry) and paths.is_there(item.bundled):
        raise WeightsError(f"{item.id} came with the package and cannot be removed")
    removed = 0
    with store.writing(item.id):
        for path, _ in _files(item):
            try:
                path.unlink()
                removed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise WeightsError(f"{path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # not empty, or no folder
            place(item).rmdir()
    return removed
