"""Where fetched and imported files live, what they must contain, and who may write them.

Checkpoints and datasets are kept in the data folder, unfinished downloads in the cache folder;
``CARCLI_HOME`` puts both into one place. Every file becomes visible under its name only when it is
whole and verified, so that a store may be read while it is written, by any number of processes, and
a read-only store serves as well as any.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path, user_data_path

from carcli.errors import WeightsError
from carcli.runtime import paths
from carcli.runtime.files import write_whole
from carcli.weights.manifest import Entry

MAX_BYTES = 1 << 30  # of a checkpoint's file: five times the largest that there is


def data_folder() -> Path:
    """Checkpoints and datasets: ``$CARCLI_HOME/data``, or the platform's data folder."""
    home = os.environ.get("CARCLI_HOME")
    return Path(home) / "data" if home else user_data_path("carcli")


def cache_folder() -> Path:
    """What may be deleted at any time: ``$CARCLI_HOME/cache``, or the platform's cache folder."""
    home = os.environ.get("CARCLI_HOME")
    return Path(home) / "cache" if home else user_cache_path("carcli")


def checkpoint_path(entry: Entry) -> Path:
    """Where a checkpoint's file is, or would be: in the package, else in the store."""
    return entry.bundled if paths.is_there(entry.bundled) else data_folder() / "checkpoints" / entry.file


def dataset_folder(name: str) -> Path:
    return data_folder() / "datasets" / name


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Hold the right to write ``name``; others wait. Raises ``WeightsError`` where the store cannot be written."""
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"{error.filename or folder}: cannot write there ({paths.reason(error)}); let CARCLI_HOME name another folder"
        ) from error
    except NotImplementedError as error:  # some network file systems
        raise WeightsError(f"{folder}: no file can be locked there; let CARCLI_HOME name another folder") from error
    try:
        yield
    finally:
        lock.release()


def digest_of(data: bytes) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal: read anew each time, for size and time say nothing of a disk's errors.

    The largest dataset (Urban100, 130 MB) takes less than half a second. Raises ``OSError``.
    """
    sha = hashlib.sha256()
    with paths.open_ordinary(path) as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _pins() -> Path:
    return data_folder() / "checkpoints" / "pins.json"


def pinned_digest(entry: Entry) -> str:
    """The SHA-256 that a checkpoint must have: the manifest's, else the one pinned when it was imported, else empty."""
    return entry.sha256 or str(_read_json(_pins()).get(entry.id, ""))


def pin(entry: Entry, digest: str) -> None:
    """Remember the digest of a checkpoint for which the manifest has none."""
    with writing("pins"):
        pins = {**_read_json(_pins()), entry.id: digest}
        write_whole(_pins(), lambda file: file.write(json.dumps(pins, indent=1).encode()))


def state(entry: Entry) -> str:
    """``bundled``, ``fetched``, ``imported`` or ``missing``."""
    if paths.is_there(entry.bundled):
        return "bundled"
    if not paths.is_there(checkpoint_path(entry)):
        return "missing"
    return "imported" if entry.archive else "fetched"


def content(entry: Entry) -> bytes:
    """A checkpoint's file as bytes that are exactly those that were pinned.

    Raises ``WeightsError`` that says how to get or mend it.
    """
    path, pinned = checkpoint_path(entry), pinned_digest(entry)
    again = f"run: carcli weights remove {entry.id}, then fetch or import it again"
    if path == entry.bundled:
        again = "reinstall carcli"
    try:
        data = paths.read(path, MAX_BYTES)
    except FileNotFoundError as error:
        how = "weights import FILES, or weights fetch" if entry.archive else "weights fetch"
        raise WeightsError(f"checkpoint {entry.id} is not here; get it with: carcli {how} {entry.id}") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; {again}") from error
    if not pinned:
        raise WeightsError(f"{path}: its digest was never pinned; {again}")
    digest = digest_of(data)
    if digest != pinned:
        raise WeightsError(f"{path}: damaged (SHA-256 {digest[:12]}…, expected {pinned[:12]}…); {again}")
    return data


def verified(entry: Entry) -> Path:
    """The file of a checkpoint, its content checked. Raises ``WeightsError`` as ``content`` does."""
    content(entry)
    return checkpoint_path(entry)
