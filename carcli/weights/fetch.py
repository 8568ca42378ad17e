"""Checkpoints and datasets into the store: the mirror first, then every source in order, all reasons told where none gives."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import requests

from carcli.errors import WeightsError
from carcli.runtime import paths
from carcli.stores.url import FILE, Url, place_of
from carcli.weights import drive, manifest, mega, store
from carcli.weights.download import Expected, Report, copy, download
from carcli.weights.http import FetchError, Remote, new_session, understood
from carcli.weights.manifest import Dataset, Entry

Watch = Callable[[str], Report]  # a file's name → what is told of its bytes


def unwatched(name: str) -> Report:
    """Where nobody watches."""
    return lambda have, total: None


def resolver(session: requests.Session, address: str) -> Callable[[], Remote]:
    """What finds out, attempt by attempt, where the file at an address can be read: a host may have to be asked.

    Raises ``FetchError`` for a malformed address.
    """
    with understood():
        host = urllib.parse.urlsplit(address).hostname
    if host in mega.HOSTS:
        return partial(mega.resolve, session, address)
    identity = drive.file_id(address)
    return partial(Remote, address) if identity is None else partial(drive.resolve, session, identity)


def _from_anywhere(
    session: requests.Session, addresses: Sequence[str], place: str, target: Path, expected: Expected, report: Report
) -> None:
    """One file from the first source that gives it; ``place`` is where it is in a mirror.

    Raises ``FetchError`` with every source's reason.
    """
    mirror = os.environ.get("CARCLI_MIRROR", "")
    if mirror:
        addresses = [f"{mirror.rstrip('/')}/{place}", *addresses]
    reasons = []
    for address in addresses:
        try:
            where = place_of(address)
            if isinstance(where, Url):
                copy(where, target, expected)
            elif "://" in address and not FILE.match(address):
                download(session, address, resolver(session, address), target, expected, report)
            else:
                copy(Path(os.path.expanduser(where)), target, expected)  # noqa: PTH111 - where there is no such home, it stays
            return
        except FetchError as error:
            reasons.append(f"{address}: {error}")
    raise FetchError("; ".join(reasons) or "nobody publishes it")


@contextmanager
def _told(what: str, folder: Path, by_hand: str = "") -> Iterator[None]:
    """Failures as ``WeightsError``, which says what else can be done."""
    try:
        yield
    except FetchError as error:
        help_yourself = by_hand or f"put it into {folder}, or set CARCLI_MIRROR to a folder or address that has it"
        raise WeightsError(f"{what} could not be fetched: {error}. By hand: {help_yourself}") from error
    except OSError as error:
        raise WeightsError(f"{error.filename or folder}: {paths.reason(error)}") from error


def fetch_checkpoint(entry: Entry, watch: Watch = unwatched) -> Path:
    """A checkpoint's file, fetched if it is not there. Raises ``WeightsError`` with every source's reason."""
    target = store.checkpoint_path(entry)
    if not paths.is_there(target):
        with store.writing(entry.archive or entry.id), new_session() as session:
            if paths.is_there(target):  # somebody else fetched it meanwhile
                pass
            elif entry.archive:
                _fetch_archived(session, entry, watch)
            else:
                expected = Expected(entry.bytes, entry.sha256)
                with _told(f"checkpoint {entry.id}", target):
                    _from_anywhere(session, entry.sources, entry.file, target, expected, watch(entry.file))
    return store.verified(entry)


def _fetch_archived(session: requests.Session, entry: Entry, watch: Watch) -> None:
    """All checkpoints of an archive, through the importer."""
    from carcli.weights.importer import import_files  # brings torch, which no other fetch needs

    archive = next(archive for archive in manifest.manifest().archives if archive.id == entry.archive)
    file = store.cache_folder() / "archives" / archive.file
    expected = Expected(archive.bytes, exact=False)
    by_hand = "whoever has the authors' kgn.pth and usn.pth runs carcli weights import kgn.pth usn.pth"
    with _told(f"checkpoint {entry.id}", file, by_hand):
        try:
            _from_anywhere(session, archive.sources, archive.file, file, expected, watch(archive.file))
            import_files([file])
        finally:
            file.unlink(missing_ok=True)


def missing_files(dataset: Dataset) -> list[str]:
    """Names of a dataset's files that are not there, or not what they must be."""
    folder = store.dataset_folder(dataset.id)
    missing = []
    for file in dataset.files:
        path = folder / file.name
        try:
            intact = path.stat().st_size == file.bytes and store.file_digest(path) == file.sha256
        except OSError:
            intact = False
        if not intact:
            missing.append(file.name)
    return missing


def fetch_dataset(dataset: Dataset, watch: Watch = unwatched) -> Path:
    """A dataset's folder, every file verified; what is missing or damaged is fetched.

    Raises ``WeightsError`` with every source's reason for the first file that none gives.
    """
    folder = store.dataset_folder(dataset.id)
    if not missing_files(dataset):
        return folder
    with store.writing(dataset.id), _told(f"dataset {dataset.id}", folder), new_session() as session:
        missing = set(missing_files(dataset))
        for file in dataset.files:
            if file.name in missing:
                addresses = [f"{source}{file.name}" for source in dataset.sources]
                expected = Expected(file.bytes, file.sha256)
                target, place = folder / file.name, f"{dataset.id}/{file.name}"
                _from_anywhere(session, addresses, place, target, expected, watch(file.name))
    return folder
