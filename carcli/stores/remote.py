"""A store as fsspec speaks to it: any of its file systems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import fsspec

from carcli.stores.failures import StoreError, attempted
from carcli.stores.store import MOST, Stored, never
from carcli.stores.url import Url

CHANGED = "LastModified", "last_modified", "updated", "mtime", "created"
ETAG = "ETag", "etag"


class Remote:
    """Keeps ``Store``. It lists a folder at once, and sorts it."""

    def __init__(self, scheme: str) -> None:
        """Raises ``ImportError`` where what speaks to such stores is not installed."""
        self._scheme = scheme
        self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False)

    def _path(self, url: Url) -> str:
        return f"{url.bucket}/{url.key}"

    def entries(self, folder: Url) -> Iterator[Stored | Url]:
        try:
            infos = attempted(folder, lambda: self._files.ls(self._path(folder), detail=True))
        except StoreError as error:
            if error.kind != "gone":
                raise
            return
        entries = [self._entry(folder, info) for info in infos]
        yield from sorted((entry for entry in entries if entry is not None), key=key_of)

    def _entry(self, folder: Url, info: dict[str, Any]) -> Stored | Url | None:
        name = str(info["name"]).rstrip("/").rpartition("/")[2]
        url = folder.below(name)
        if info["type"] == "directory":
            return url.folder
        return stored(url, info) if name and url != folder else None

    def stat(self, url: Url) -> Stored | None:
        try:
            info = attempted(url, lambda: self._files.info(self._path(url)))
        except StoreError as error:
            if error.kind != "gone":
                raise
            return None
        return stored(url, info) if info["type"] == "file" else None

    def read(self, url: Url, most: int = MOST, stopped: Callable[[], bool] = never) -> tuple[bytes, Stored]:
        before = self.stat(url)
        if before is None:
            raise StoreError(url, "no such object", "gone")
        refuse_larger(before, most)
        data = attempted(url, lambda: self._files.cat_file(self._path(url)), stopped)
        after = self.stat(url)
        if after is None or after.version != before.version or len(data) != before.size:
            raise StoreError(url, "changed while it was read; run the same command again")
        return data, before

    def beginning(self, url: Url, most: int) -> bytes:
        return bytes(attempted(url, lambda: self._files.cat_file(self._path(url), start=0, end=most)))

    def write(self, url: Url, data: bytes, stopped: Callable[[], bool] = never) -> None:
        attempted(url, lambda: self._files.pipe_file(self._path(url), data), stopped)


def key_of(entry: Stored | Url) -> str:
    """The key of an object, or of a folder."""
    return entry.key if isinstance(entry, Url) else entry.url.key


def refuse_larger(entry: Stored, most: int) -> None:
    """Raises ``StoreError`` for an object of more bytes."""
    if entry.size > most:
        raise StoreError(entry.url, f"is larger than {most >> 20} MB, which is what is read of a store")


def stored(url: Url, info: dict[str, Any]) -> Stored:
    """An object, as fsspec's file systems and S3's answers describe it."""
    changed = next((info[name] for name in CHANGED if info.get(name)), 0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    etag = next((str(info[name]) for name in ETAG if info.get(name)), "").strip('"')
    return Stored(url, int(info["size"]), round(seconds * 1e6) * 1000, etag)
