"""S3, and what speaks like it: exact keys, pages of a thousand, and one request to read or write an object.

s3fs opens the session (credentials, region, endpoint, as fsspec's settings and the AWS SDK's say) and runs the requests; it
neither retries nor caches here, nor does it take keys apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import s3fs
from fsspec.asyn import sync

from carcli.stores.failures import StoreError, attempted
from carcli.stores.remote import key_of, refuse_larger, stored
from carcli.stores.store import MOST, Stored, never
from carcli.stores.url import Url

CONNECT, READ = 10, 60  # seconds without an answer, or without a byte
CONNECTIONS = 64


class S3:
    """Keeps ``Store``."""

    def __init__(self) -> None:
        config = {"retries": {"total_max_attempts": 1}, "connect_timeout": CONNECT, "read_timeout": READ}
        self._files: Any = s3fs.S3FileSystem(
            config_kwargs={**config, "max_pool_connections": CONNECTIONS}, skip_instance_cache=True, use_listings_cache=False
        )
        self._files.retries = 1  # how often it asks at all

    def _ask(self, method: str, url: Url, stopped: Callable[[], bool] = never, **what: Any) -> dict[str, Any]:
        answer: dict[str, Any] = attempted(url, lambda: self._files.call_s3(method, Bucket=url.bucket, **what), stopped)
        return answer

    def entries(self, folder: Url) -> Iterator[Stored | Url]:
        further: dict[str, Any] = {}
        while True:
            page = self._ask("list_objects_v2", folder, Prefix=folder.folder.key, Delimiter="/", **further)
            objects = (_listed(folder, info) for info in page.get("Contents", ()))
            files: Iterator[Stored | Url] = (entry for entry in objects if not entry.url.is_folder)
            folders: Iterator[Stored | Url] = (replace(folder, key=info["Prefix"]) for info in page.get("CommonPrefixes", ()))
            yield from heapq.merge(files, folders, key=key_of)
            if not page.get("IsTruncated"):
                return
            further = {"ContinuationToken": page["NextContinuationToken"]}

    def stat(self, url: Url) -> Stored | None:
        try:
            return _described(url, self._ask("head_object", url, Key=url.key))
        except StoreError as error:
            if error.kind == "gone":
                return None
            raise

    def read(self, url: Url, most: int = MOST, stopped: Callable[[], bool] = never) -> tuple[bytes, Stored]:
        async def whole() -> tuple[bytes, Stored]:
            answer = await self._files._call_s3("get_object", Bucket=url.bucket, Key=url.key)
            async with answer["Body"] as body:
                entry = _described(url, answer)
                refuse_larger(entry, most)
                data = await body.read()
            if len(data) != entry.size:
                raise ConnectionError("too short")
            return data, entry

        content: tuple[bytes, Stored] = attempted(url, lambda: sync(self._files.loop, whole), stopped)
        return content

    def beginning(self, url: Url, most: int) -> bytes:
        async def some() -> bytes:
            answer = await self._files._call_s3("get_object", Bucket=url.bucket, Key=url.key, Range=f"bytes=0-{most - 1}")
            async with answer["Body"] as body:
                return bytes(await body.read())

        try:
            return bytes(attempted(url, lambda: sync(self._files.loop, some)))
        except StoreError as error:
            if "InvalidRange" in error.why:  # it is empty
                return b""
            raise

    def write(self, url: Url, data: bytes, stopped: Callable[[], bool] = never) -> None:
        self._ask("put_object", url, stopped, Key=url.key, Body=data)  # up to 5 GB, which no image has


def _listed(folder: Url, info: dict[str, Any]) -> Stored:
    return stored(replace(folder, key=info["Key"]), {**info, "size": info["Size"]})


def _described(url: Url, answer: dict[str, Any]) -> Stored:
    return stored(url, {**answer, "size": answer["ContentLength"]})
