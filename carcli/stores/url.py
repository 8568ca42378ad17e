"""What a user names that is no file of this machine: an object of a store, or a folder of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

from carcli.errors import UsageError

EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure", "memory": "s3"}  # schemes, and the package's extra that brings each
ADDRESS = re.compile(rf"({'|'.join(EXTRAS)})://", re.IGNORECASE)

FILE = re.compile(r"file://", re.IGNORECASE)
HERE = ("", "localhost")  # hosts of file:// addresses


@dataclass(frozen=True)
class Url:
    """An object, by its exact key; or a folder, whose key is empty or ends in ``/``. Two that are equal are one object."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """What follows the last ``/``; empty for a folder."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.removesuffix(self.suffix)

    @property
    def suffix(self) -> str:
        return suffix_of(self.name)

    @property
    def is_folder(self) -> bool:
        """Whether it can be nothing else, by its name."""
        return not self.name

    @property
    def folder(self) -> Url:
        """The same key as a folder's."""
        return self if self.is_folder else replace(self, key=f"{self.key}/")

    @property
    def parent(self) -> Url:
        """The folder that an object is in."""
        return replace(self, key=self.key[: len(self.key) - len(self.name)])

    def below(self, relative: str) -> Url:
        """An object of a folder, by its key relative to that."""
        return replace(self, key=self.folder.key + relative)

    def holds(self, other: Url) -> bool:
        """Whether another one lies in this folder, at any depth, or is it."""
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and other.key.startswith(self.folder.key)


def suffix_of(name: str) -> str:
    """What ``pathlib`` calls so, of the last part of a name, which it would keep."""
    last = name.rpartition("/")[2]
    point = last.rfind(".")
    return last[point:] if 0 < point < len(last) - 1 else ""


Place: TypeAlias = Path | Url


def path_of(place: Place) -> Path:
    """A place that is known to be on this machine."""
    assert isinstance(place, Path)
    return place


def url_of(text: str) -> Url | None:
    """The object or folder of a store that an address names; None for whatever is no such address.

    Raises ``UsageError`` for one without a bucket.
    """
    match = ADDRESS.match(text)
    if match is None:
        return None
    bucket, _, key = text[match.end() :].partition("/")
    if not bucket:
        raise UsageError(f"{text}: names no bucket; write {match[1].lower()}://bucket/folder/")
    return Url(match[1].lower(), bucket, key)


def place_of(name: str | Place) -> Place:
    """What a name means: an address of a store's, a ``file://`` address, or a path. Raises ``UsageError``."""
    if not isinstance(name, str):
        return name
    return _file_of(name) if FILE.match(name) else url_of(name) or Path(name)


def _file_of(address: str) -> Path:
    """Raises ``UsageError`` for a ``file://`` address that names no file of this machine."""
    try:
        parts = urlsplit(address)
        path = url2pathname(parts.path)
    except (ValueError, OSError) as error:
        raise UsageError(f"{address}: no address of a file") from error
    if parts.netloc.lower() not in HERE or not path:
        raise UsageError(f"{address}: names no file of this machine; write file:///folder/photo.jpg")
    return Path(path)
