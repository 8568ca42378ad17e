"""One file from one address: resumed after a cut, bounded, verified before it becomes visible.

What arrives is streamed to a file in the cache folder, which a later attempt, or a later run, goes
on with where the server can; the final name appears with a rename, after size, digest and the
source's own check are right.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import json
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from carcli.errors import UsageError
from carcli.runtime import paths
from carcli.runtime.files import remove_leftovers, write_whole
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.url import Place, Url
from carcli.weights.http import FetchError, Remote, body, number, reason, request
from carcli.weights.store import cache_folder, file_digest

ATTEMPTS = 5  # in a row that bring nothing new
PATIENCE = 60.0  # seconds: the longest pause between attempts
AGAIN = {408, 425, 429, 500, 502, 503, 504, 509}  # HTTP statuses that may be over in a moment
ABANDONED = 30 * 86400  # seconds
BLOCK = 1 << 13  # bytes: what a cut loses at most

Report = Callable[[int, int], None]  # bytes so far, bytes in all

sleep = time.sleep


@dataclass(frozen=True)
class Expected:
    """What a file must be: ``size`` in bytes exactly or, without ``exact``, at most."""

    size: int
    sha256: str = ""
    exact: bool = True


def _pause(attempt: int, answer: requests.Response | None) -> float:
    """Seconds to wait: what the server asks for, within reason, else longer after each attempt."""
    wish = answer.headers.get("Retry-After", "").strip() if answer is not None else ""
    if re.fullmatch("[0-9]+", wish):
        return min(float(wish), PATIENCE)
    try:
        until = email.utils.parsedate_to_datetime(wish).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError, OSError):  # none, or no date
        return min(0.5 * 2.0**attempt, PATIENCE) * random.uniform(0.5, 1.0)
    return min(max(until - time.time(), 0.0), PATIENCE)


def _forget_abandoned(folder: Path) -> None:
    """Remove unfinished downloads that nobody has gone on with for long: their address may never be asked again."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


class _Partial:
    """An unfinished download, and what the server called the version it is of."""

    def __init__(self, address: str, name: str) -> None:
        folder = cache_folder() / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(folder)
        stem = f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
        self.path, self._note = folder / f"{stem}.part", folder / f"{stem}.json"

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str:
        try:
            return str(json.loads(self._note.read_text(encoding="utf-8"))["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, validator: str) -> None:
        """Start over with a version of the file."""
        self.path.write_bytes(b"")
        write_whole(self._note, lambda file: file.write(json.dumps({"validator": validator}).encode()))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _validator(answer: requests.Response) -> str:
    tag = answer.headers.get("ETag", "")
    version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
    return version if re.fullmatch(r"[!-~]([ -~]{0,198}[!-~])?", version) else ""


def _headers(remote: Remote, part: _Partial, expected: Expected) -> dict[str, str]:
    """Of a request for the rest of a file, where something will say whether the two halves fit, else for all of it."""
    headers = dict(remote.headers)
    if part.size and (part.validator or expected.sha256 or remote.check):
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    return headers


def _follows(answer: requests.Response, have: int) -> bool:
    """Whether the answer is all of the file, or the rest of it behind the first ``have`` bytes."""
    if answer.status_code == 200:
        return True
    sent = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", answer.headers.get("Content-Range", ""))
    return answer.status_code == 206 and sent is not None and number(sent[1]) == have


def _receive(
    session: requests.Session, remote: Remote, part: _Partial, expected: Expected, report: Report
) -> requests.Response | None:
    """One request, as far as it goes. Returns an answer that asks to come back later, None once the file is whole."""
    with request(session, remote.url, headers=_headers(remote, part, expected)) as answer:
        if answer.status_code in AGAIN:
            return answer
        if answer.status_code not in (200, 206, 416):
            raise FetchError(f"HTTP {answer.status_code}")
        if answer.headers.get("Content-Type", "").startswith("text/html") and answer.status_code != 416:
            raise FetchError("it answers with a web page instead of the file")
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise FetchError("it answers in another encoding than was asked for")
        if not _follows(answer, part.size):
            part.discard()
            return answer
        if answer.status_code == 200:
            part.begin(_validator(answer))
        have = part.size
        length = number(answer.headers.get("Content-Length", ""))
        total = remote.size or (expected.size if length is None else have + length)
        if total > expected.size or (expected.exact and total != expected.size):
            part.discard()
            raise FetchError(f"it offers {total} bytes instead of {'' if expected.exact else 'at most '}{expected.size}")
        plain = remote.decrypt(have) if remote.decrypt else lambda block: block
        with part.path.open("ab") as file:
            for block in body(answer, BLOCK):
                have += len(block)
                if have > expected.size:
                    part.discard()
                    raise FetchError(f"it sends more than {expected.size} bytes")
                file.write(plain(block))
                report(have, total)
        if have < total:
            raise requests.exceptions.ChunkedEncodingError("too short")
    return None


def _verify(path: Path, expected: Expected, remote: Remote) -> None:
    size = path.stat().st_size
    if size > expected.size or (expected.exact and size != expected.size):
        raise FetchError(f"it gave {size} bytes instead of {expected.size}")
    if expected.sha256 and file_digest(path) != expected.sha256:
        raise FetchError("what it gave is not the file (its SHA-256 differs)")
    if remote.check:
        remote.check(path)


def _publish(path: Path, target: Path) -> None:
    """Give a verified file its final name, across file systems too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as source:
        write_whole(target, lambda file: shutil.copyfileobj(source, file, 1 << 20))
    path.unlink(missing_ok=True)


def download(
    session: requests.Session,
    address: str,
    resolve: Callable[[], Remote],
    target: Path,
    expected: Expected,
    report: Report = lambda have, total: None,
) -> None:
    """Bring the file at ``address`` to ``target``; ``resolve`` says, anew for every attempt, where it can be read.

    Raises ``FetchError`` with the reason in a few words, and ``OSError`` as the disk does. An
    interrupted download leaves nothing but its resumable part.
    """
    part = _Partial(address, target.name)
    remove_leftovers((part.path.parent, target.parent))
    failures, most, mended = 0, part.size, False
    while True:
        before = part.size
        answer: requests.Response | None = None
        try:
            remote = resolve()
            if not (expected.exact and before == expected.size):  # else a run was ended just before it could verify
                answer = _receive(session, remote, part, expected, report)
            why = f"HTTP {answer.status_code}" if answer is not None else ""
        except requests.exceptions.RequestException as error:
            why = reason(error)
        if not why:
            try:
                _verify(part.path, expected, remote)
            except FetchError:
                part.discard()
                if not before or mended:
                    raise
                mended = True  # the part it went on with may have been of something else
                continue
            _publish(part.path, target)
            part.discard()
            return
        failures = 0 if part.size > most else failures + 1  # beginning anew again and again is no progress
        most = max(most, part.size)
        if failures == ATTEMPTS:
            raise FetchError(why)
        sleep(_pause(failures, answer))


def _blocks(source: Place, most: int) -> Iterator[bytes]:
    """A regular file's content; nothing is waited for. An object's, of ``most`` bytes. Raises ``FetchError``."""
    if isinstance(source, Url):
        try:
            yield store_of(source).read(source, most)[0]
        except StoreError as error:
            raise FetchError(error.why) from error
        except UsageError as error:  # what reads it is not installed
            raise FetchError(str(error).removeprefix(f"{source}: ")) from error
        return
    try:
        with paths.open_ordinary(source) as file:
            while block := file.read(1 << 20):
                yield block
    except OSError as error:
        raise FetchError(paths.reason(error)) from error


def copy(source: Place, target: Path, expected: Expected) -> None:
    """Bring a file of a mirror, on this machine or in a store, to ``target``, verified on the way.

    Raises ``FetchError`` with the reason in a few words, and ``OSError`` as the disk of ``target`` does.
    """

    def write(file: IO[bytes]) -> None:
        sha, size = hashlib.sha256(), 0
        for block in _blocks(source, expected.size):
            sha.update(block)
            size += len(block)
            if size > expected.size:
                raise FetchError(f"it has more than {expected.size} bytes")
            file.write(block)
        if expected.exact and size != expected.size:
            raise FetchError(f"it has {size} bytes instead of {expected.size}")
        if expected.sha256 and sha.hexdigest() != expected.sha256:
            raise FetchError("it is not the file (its SHA-256 differs)")

    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers((target.parent,))
    write_whole(target, write)
