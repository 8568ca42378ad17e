"""Checkpoints and datasets into the store: the mirror first, then every source in order, all reasons told where none gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from carcli.errors import WeightsError
from carcli.weights import store
from carcli.weights.download import Expected, FetchError, Report, copy, download, new_session
from carcli.weights.manifest import Archive, Dataset, Entry, manifest
from carcli.weights.sources import resolver

Watch = Callable[[str], Report]  # a file's name → what is told of its bytes


def _unwatched(name: str) -> Report:
    return lambda have, total: None


def _from_anywhere(
    session: requests.Session, addresses: Sequence[str], within: str, target: Path, expected: Expected, report: Report
) -> None:
    """One file from the first source that gives it; ``within`` is its place in a mirror."""
    mirror = os.environ.get("CARCLI_MIRROR", "")
    reasons = []
    for address in ([mirror] if mirror else []) + list(addresses):
        ours = address == mirror and mirror != ""
        name = f"{address.rstrip('/')}/{within}" if ours else address
        try:
            if ours and "://" not in mirror:
                copy(Path(mirror) / within, target, expected)
            else:
                download(session, name, resolver(session, name), target, expected, report)
            return
        except FetchError as error:
            reasons.append(f"{name}: {error}")
    raise FetchError("; ".join(reasons) or "nobody publishes it")


def _by_hand(what: str, folder: Path) -> str:
    return f"{what}. By hand: put it into {folder}, or set CARCLI_MIRROR to a folder or address that has it"


def fetch_checkpoint(entry: Entry, watch: Watch = _unwatched) -> Path:
    """A checkpoint's file, fetched if it is not there. Raises ``WeightsError`` with every source's reason."""
    if entry.archive:
        return _fetch_archived(entry, watch)
    target = store.checkpoint_path(entry)
    with store.writing(entry.id), new_session() as session:
        if target.exists():
            return store.verified(entry)
        try:
            _from_anywhere(session, entry.sources, entry.file, target, Expected(entry.bytes, entry.sha256), watch(entry.file))
        except FetchError as error:
            raise WeightsError(_by_hand(f"checkpoint {entry.id} could not be fetched: {error}", target)) from error
        except OSError as error:
            raise WeightsError(f"{error.filename or target}: {error.strerror or error}") from error
    return target


def _fetch_archived(entry: Entry, watch: Watch) -> Path:
    """All checkpoints of an archive, through the importer."""
    from carcli.weights.importer import import_files  # brings torch, which no other fetch needs

    target = store.checkpoint_path(entry)
    if target.exists():
        return store.verified(entry)
    archive: Archive = next(a for a in manifest().archives if a.id == entry.archive)
    folder = store.cache_folder() / "archives"
    file = folder / archive.file
    with store.writing(archive.id), new_session() as session:
        try:
            _from_anywhere(
                session, archive.sources, archive.file, file, Expected(archive.bytes, exact=False), watch(archive.file)
            )
            import_files([file])
        except FetchError as error:
            raise WeightsError(
                f"checkpoint {entry.id} could not be fetched: {error}. By hand: whoever has the authors' kgn.pth and usn.pth "
                "runs carcli weights import kgn.pth usn.pth"
            ) from error
        except OSError as error:
            raise WeightsError(f"{error.filename or file}: {error.strerror or error}") from error
        finally:
            file.unlink(missing_ok=True)
    return store.verified(entry)


def missing_files(dataset: Dataset) -> list[str]:
    """Names of a dataset's files that are not there, or not what they must be."""
    folder = store.dataset_folder(dataset.id)
    found = []
    for file in dataset.files:
        path = folder / file.name
        try:
            good = path.stat().st_size == file.bytes and store.known_digest(path) == file.sha256
        except OSError:
            good = False
        if not good:
            found.append(file.name)
    return found


def fetch_dataset(dataset: Dataset, watch: Watch = _unwatched) -> Path:
    """A dataset's folder, every file verified; what is missing or damaged is fetched.

    Raises ``WeightsError`` with every source's reason for the first file that none gives.
    """
    folder = store.dataset_folder(dataset.id)
    if not missing_files(dataset):
        return folder
    with store.writing(dataset.id), new_session() as session:
        lacking = set(missing_files(dataset))
        for file in dataset.files:
            if file.name not in lacking:
                continue
            target, expected = folder / file.name, Expected(file.bytes, file.sha256)
            addresses = [f"{source}{file.name}" for source in dataset.sources]
            try:
                _from_anywhere(session, addresses, f"{dataset.id}/{file.name}", target, expected, watch(file.name))
            except FetchError as error:
                raise WeightsError(_by_hand(f"dataset {dataset.id} could not be fetched: {error}", folder)) from error
            except OSError as error:
                raise WeightsError(f"{error.filename or target}: {error.strerror or error}") from error
    return folder
