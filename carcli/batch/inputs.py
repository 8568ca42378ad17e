"""Inputs that are no files yet: what an address leads to, and what comes in by a pipe, as files of a temporary folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from carcli.batch.job import Job
from carcli.batch.walk import Source
from carcli.errors import CarcliError, UsageError
from carcli.runtime.paths import reason
from carcli.stores.url import Place, Url, place_of

MOST = 1 << 29  # bytes of a download, and of what comes in by a pipe
BLOCK = 1 << 16
LONGEST = 150  # characters of a name that an address gives
HTTP = re.compile(r"https?://", re.IGNORECASE)

Input = str | Path | Source | Url  # a path, a pattern, an address of a file, of HTTP's or of a store's; or what is ready


class Inputs:
    """Inputs as ``plan`` takes them; whatever had to be fetched lies in a folder that goes with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._fetched: dict[str, Source | Job] = {}  # by address

    def ready(self, items: Sequence[Input]) -> list[Path | Source | Job | Url]:
        """Paths as they are, and what addresses lead to: each downloaded once, or a job with an obstacle."""
        return [self._downloaded(item) if isinstance(item, str) else item for item in items]

    def piped(self, stream: IO[bytes]) -> Source:
        """What comes in by a pipe, an image called ``stdin``. Raises ``CarcliError`` where it is empty, or too large."""
        path = self._place("stdin")
        with path.open("wb") as file:
            size = 0
            while block := stream.read(BLOCK):
                size += file.write(block)
                if size > MOST:
                    raise CarcliError(f"standard input: more than {MOST >> 20} MB; name a file instead")
        if not size:
            raise CarcliError("standard input: is empty; send an image into it: carcli down - < photo.jpg")
        return Source(path, Path(), "standard input")

    def _downloaded(self, address: str) -> Source | Job:
        if address not in self._fetched:
            self._fetched[address] = self._download(address)
        return self._fetched[address]

    def _place(self, name: str) -> Path:
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="carcli-"))
            except OSError as error:
                raise CarcliError(f"no temporary file can be made ({reason(error)}); let TMPDIR name another folder") from error
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        folder = self._folder / str(len(self._fetched))  # names may be the same
        folder.mkdir()
        return folder / name

    def _download(self, address: str) -> Source | Job:
        path = self._place(name_of(address))
        try:
            _fetch(address, path)
        except CarcliError as error:
            return Job(path, None, str(error), address=address)
        except OSError as error:
            return Job(path, None, f"cannot be kept meanwhile ({reason(error)})", address=address)
        return Source(path, Path(), address)


def named_input(item: Input) -> Input:
    """What a user names: an address of HTTP's as text, one of a store's as such, everything else as a path; ``file://`` is one.

    Raises ``UsageError`` for a ``file://`` address that names no file of this machine, and a store's without a bucket.
    """
    return place_of(item) if isinstance(item, str) and HTTP.match(item) is None else item


def named_output(output: str | Place) -> Place:
    """Where results go: a path, or a place in a store. Raises ``UsageError`` for an address that cannot be written."""
    if isinstance(output, str) and HTTP.match(output):
        raise UsageError(f"{output}: cannot be written; name a folder, or s3://bucket/folder/, with -o")
    return place_of(output)


def name_of(address: str) -> str:
    """The name of a file that an address leads to, as its path ends; nothing in it leads to another folder."""
    name = PurePosixPath(unquote(urlsplit(address).path, errors="replace")).name
    return re.sub(r"[^\w .,()+=@~-]", "_", name)[-LONGEST:].strip(". ") or "image"


def _fetch(address: str, path: Path) -> None:
    """Download a file whole. Raises ``FetchError`` with a line of reason, and ``OSError``."""
    from requests.exceptions import RequestException  # and with it what speaks HTTP, which files do without

    from carcli.weights import http

    too_large = http.FetchError(f"is larger than {MOST >> 20} MB, which is what is downloaded; fetch it yourself")
    try:
        with http.new_session() as session, closing(http.request(session, address)) as answer, path.open("wb") as file:
            if answer.status_code != 200:
                raise http.FetchError(f"the server answers {answer.status_code}")
            if (http.number(answer.headers.get("Content-Length", "")) or 0) > MOST:
                raise too_large
            size = 0
            for block in http.body(answer, BLOCK):
                size += file.write(block)
                if size > MOST:
                    raise too_large
    except RequestException as error:
        raise http.FetchError(f"cannot be downloaded: {http.reason(error)}") from error
