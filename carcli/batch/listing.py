"""What is found where a user points: files and objects, in ascending order of what they are called below it.

A store is never listed whole: what it lists is passed on, folder by folder and a page at a time.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from carcli.batch.job import Job
from carcli.batch.walk import Filter, Source
from carcli.images.formats import SUFFIXES, advice
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.store import Stored
from carcli.stores.url import Place, Url

NO_OBJECT = "no such object; an address of a folder ends in /"
ASKED = 16  # objects that are named one by one, asked for side by side


@dataclass(frozen=True)
class Found:
    """A file or an object, and what it is called below the folder that a user named: ``/`` between folders."""

    relative: str
    source: Place
    listed: Stored | None = None
    address: str | None = None  # as of a job
    obstacle: str | None = None
    kind: str | None = None


def found(local: Sequence[Source | Job]) -> list[Found]:
    """Files of this machine, in order."""
    every = [_file(each) for each in local]
    return sorted(every, key=lambda item: item.relative)


def _file(each: Source | Job) -> Found:
    if isinstance(each, Job):
        return Found(each.source.name, each.source, address=each.address, obstacle=each.obstacle, kind=each.kind)
    return Found((each.folder / each.path.name).as_posix(), each.path, address=each.address)


def named(objects: Sequence[Url]) -> Iterator[Found]:
    """Objects that are named one by one, in order."""

    def asked(url: Url) -> Found:
        try:
            listed = store_of(url).stat(url)
        except StoreError as error:
            if error.kind in ("bucket", "denied"):
                raise
            return Found(url.name, url, obstacle=error.why)
        if listed is None:
            _refuse_without_bucket(url)
        return Found(url.name, url, listed, obstacle=None if listed else NO_OBJECT)

    ahead = iter(sorted(set(objects), key=lambda url: (url.name, str(url))))
    with ThreadPoolExecutor(ASKED, "stat") as pool:
        while some := list(islice(ahead, ASKED)):
            yield from pool.map(asked, some)


def _refuse_without_bucket(url: Url) -> None:
    """Raises ``StoreError`` where the bucket of an object is missing, which asking for the object does not tell."""
    try:
        next(iter(store_of(url).entries(url.parent)), None)
    except StoreError as error:
        if error.kind == "bucket":
            raise


def below(
    top: Url, recursive: bool, wanted: Filter, skip: Callable[[Url], bool], left_out: Counter[str] | None = None
) -> Iterator[Found]:
    """The images of a folder of a store; hidden ones, and the folders that ``skip`` says, are left out."""
    store, above = store_of(top), len(top.folder.key)
    open_folders = [store.entries(top.folder)]
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
            continue
        url = entry if isinstance(entry, Url) else entry.url
        relative = url.key[above:]
        if relative.rstrip("/").rpartition("/")[2].startswith("."):
            continue
        if isinstance(entry, Url):
            if recursive and not skip(url):
                open_folders.append(store.entries(url))
            continue
        suffix = url.suffix.lower()
        unread = suffix not in SUFFIXES and advice(suffix) is not None
        if not (unread or suffix in SUFFIXES) or not wanted.takes(relative):
            continue
        if not unread:
            yield Found(relative, url, entry)
        elif left_out is not None:
            left_out[suffix] += 1


def together(listings: Sequence[Iterator[Found]]) -> Iterator[Found]:
    """Several listings as one, in order; what is found twice is there once."""
    before: Found | None = None
    for item in heapq.merge(*listings, key=lambda item: item.relative):
        if before is None or (item.relative, item.source) != (before.relative, before.source):
            yield item
        before = item
