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
from urllib.request import url2pathname

from carcli.batch.job import Job
from carcli.batch.walk import Source
from carcli.errors import CarcliError, UsageError
from carcli.runtime.paths import reason

MOST = 1 << 29  # bytes of a download, and of what comes in by a pipe
BLOCK = 1 << 16
LONGEST = 150  # characters of a name that an address gives
ADDRESS = re.compile(r"(file|https?)://", re.IGNORECASE)
HERE = ("", "localhost")  # hosts of file:// addresses

Input = str | Path | Source  # a path, a pattern, a file:// or https:// address; or what is ready


class Inputs:
    """Inputs as ``plan`` takes them; whatever had to be fetched lies in a folder that goes with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._fetched: dict[str, Source | Job] = {}  # by address

    def ready(self, items: Sequence[Input]) -> list[Path | Source | Job]:
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
    """What a user names: an address as text, everything else as a path; ``file://`` is one.

    Raises ``UsageError`` for a ``file://`` address that names no file of this machine.
    """
    scheme = ADDRESS.match(item) if isinstance(item, str) else None
    if scheme is None:
        return Path(item) if isinstance(item, str) else item
    return _local(str(item)) if scheme[1].lower() == "file" else item


def name_of(address: str) -> str:
    """The name of a file that an address leads to, as its path ends; nothing in it leads to another folder."""
    name = PurePosixPath(unquote(urlsplit(address).path, errors="replace")).name
    return re.sub(r"[^\w .,()+=@~-]", "_", name)[-LONGEST:].strip(". ") or "image"


def _local(address: str) -> Path:
    try:
        parts = urlsplit(address)
        path = url2pathname(parts.path)
    except (ValueError, OSError) as error:
        raise UsageError(f"{address}: no address of a file") from error
    if parts.netloc.lower() not in HERE or not path:
        raise UsageError(f"{address}: names no file of this machine; write file:///folder/photo.jpg")
    return Path(path)


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
