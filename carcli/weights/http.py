"""Requests to the hosts of checkpoints and datasets: over HTTPS alone, plain HTTP to this machine, with bounded redirects."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from carcli.errors import CarcliError
from carcli.runtime.text import shown
from carcli.version import __version__

CONNECT, READ = 10, 60  # seconds without an answer, or without a byte
REDIRECTS = 6


class FetchError(CarcliError):
    """One source did not give the file; the message is the reason."""


class Busy(requests.exceptions.ConnectionError):
    """A source that asks to come back later; the message is the reason."""


@dataclass(frozen=True)
class Remote:
    """Where a file can be read just now: plain bytes, or bytes that ``decrypt`` makes plain."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    size: int | None = None  # bytes, where the source says it elsewhere than in the answer
    decrypt: Callable[[int], Callable[[bytes], bytes]] | None = None  # from an offset on
    check: Callable[[Path], None] | None = None  # raises FetchError where the content is not the source's


class _Session(requests.Session):
    """One that looks at no redirect, for ``request`` does: the library parses its address even where it is to follow none."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def new_session() -> requests.Session:
    """A session that honours the environment's proxies and names the program."""
    session = _Session()
    session.headers.update({"User-Agent": f"carcli/{__version__}", "Accept-Encoding": "identity"})
    return session


@contextmanager
def understood() -> Iterator[None]:
    """What an address or an answer that makes no sense has the libraries raise, as ``FetchError``: it will not change.

    What may be over in a moment stays a ``RequestException``.
    """
    try:
        yield
    except requests.exceptions.RequestException as error:
        if isinstance(error, ValueError):
            raise FetchError("its address or its answer is malformed") from error
        raise
    except (ValueError, LookupError, ArithmeticError, RecursionError, HTTPException, HTTPError) as error:
        raise FetchError("its address or its answer is malformed") from error


def number(text: str) -> int | None:
    """A number of bytes in a header; None for what is none, or more than any file has."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def body(answer: requests.Response, block: int) -> Iterator[bytes]:
    """What is received, in blocks. Raises ``FetchError`` and ``RequestException``."""
    blocks = answer.iter_content(block)
    while True:
        with understood():
            data = next(blocks, b"")
        if not data:
            return
        yield data


def beginning(answer: requests.Response, most: int) -> bytes:
    """The first bytes of what is received, about ``most``. Raises as ``body`` does."""
    data = b""
    for block in body(answer, 1 << 13):
        data += block
        if len(data) >= most:
            break
    return data


def _loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _allowed(url: str, before: str | None) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    if parts.scheme == "http" and _loopback(parts.hostname) and (before is None or _loopback(urlsplit(before).hostname)):
        return
    there = shown(f"{parts.scheme}://{parts.hostname or ''}")[:100]
    raise FetchError(f"refused to go to {there}: only https is spoken")


def request(session: requests.Session, url: str, **options: Any) -> requests.Response:
    """GET (or, with ``json``, POST) an address, following redirects only to where they may lead.

    Raises ``FetchError`` for what makes no sense, ``RequestException`` for what may be over in a moment.
    """
    before: str | None = None
    method = "POST" if "json" in options else "GET"
    for _ in range(REDIRECTS):
        with understood():
            _allowed(url, before)
            answer = session.request(method, url, allow_redirects=False, stream=True, timeout=(CONNECT, READ), **options)
        if answer.status_code not in (301, 302, 303, 307, 308):
            return answer
        answer.close()
        location = answer.headers.get("Location", "").strip()
        if not location:
            raise FetchError("it redirects to nowhere")
        with understood():
            before, url = url, urljoin(url, location)
    raise FetchError("redirected too often")


def reason(error: Exception) -> str:
    """A network failure in a few words."""
    if isinstance(error, Busy):
        return str(error)
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.exceptions.ConnectionError):
        text = str(error)
        if "Name or service not known" in text or "getaddrinfo" in text or "NameResolution" in text:
            return "no such host, or no network"
        return "connection refused" if "refused" in text else "no connection"
    return type(error).__name__
