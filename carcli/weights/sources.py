"""The kinds of addresses that files come from: plain HTTPS, Google Drive, MEGA."""

from __future__ import annotations

import html
import re
import urllib.parse
from functools import partial

import requests

from carcli.weights.download import FetchError, Remote, request
from carcli.weights.mega import resolve as resolve_mega

DRIVE = "https://drive.usercontent.google.com/download"
PAGE = 1 << 20  # bytes of a confirmation page that are read


def drive_id(address: str) -> str | None:
    """The file id in a Google Drive link, if it is one."""
    parts = urllib.parse.urlsplit(address)
    if parts.hostname not in ("drive.google.com", "docs.google.com", "drive.usercontent.google.com"):
        return None
    found = re.search(r"/file/d/([\w-]{10,})", parts.path)
    if found:
        return found[1]
    return next(iter(urllib.parse.parse_qs(parts.query).get("id", [])), None)


def resolve_drive(session: requests.Session, file_id: str, base: str = DRIVE) -> Remote:
    """A Google Drive file. A large one answers with a page whose form confirms that it may be taken unscanned.

    Raises ``FetchError`` where the page has no such form: the file is gone, private, or over its quota.
    """
    url = f"{base}?{urllib.parse.urlencode({'id': file_id, 'export': 'download'})}"
    with request(session, url) as answer:
        if answer.status_code == 404:
            raise FetchError("Google Drive has no such file")
        if not answer.headers.get("Content-Type", "").startswith("text/html"):
            return Remote(url)
        page = answer.raw.read(PAGE, decode_content=True).decode("utf-8", "replace")
    form = re.search(r'<form[^>]*id="download-form"[^>]*action="([^"]+)"', page)
    if not form:
        if "quota" in page.lower() or "too many users" in page.lower():
            raise FetchError("Google Drive's quota for this file is used up; try again tomorrow")
        raise FetchError("Google Drive answers with a page instead of the file: it is gone, or not public")
    fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
    action = urllib.parse.urljoin(url, html.unescape(form[1]))
    return Remote(f"{action}?{urllib.parse.urlencode({k: html.unescape(v) for k, v in fields.items()})}")


def resolver(session: requests.Session, address: str) -> partial[Remote]:
    """What finds out, request by request, where the file at an address can be read."""
    parts = urllib.parse.urlsplit(address)
    if parts.hostname in ("mega.nz", "mega.co.nz", "www.mega.nz"):
        return partial(resolve_mega, session, address)
    file_id = drive_id(address)
    if file_id is not None:
        return partial(resolve_drive, session, file_id)
    return partial(Remote, address)
