"""Google Drive's public file links: a large file is confirmed through the form of a page before it can be read."""

from __future__ import annotations

import html
import re
import urllib.parse

import requests

from carcli.weights.http import FetchError, Remote, beginning, request, understood

DOWNLOAD = "https://drive.usercontent.google.com/download"
PAGE = 1 << 20  # bytes of a confirmation page that are read


def file_id(address: str) -> str | None:
    """The file id in a Google Drive link, if it is one. Raises ``FetchError`` for a malformed address."""
    with understood():
        parts = urllib.parse.urlsplit(address)
    if parts.hostname not in ("drive.google.com", "docs.google.com", "drive.usercontent.google.com"):
        return None
    in_path = re.search(r"/file/d/([\w-]{10,})", parts.path)
    if in_path:
        return in_path[1]
    return next(iter(urllib.parse.parse_qs(parts.query).get("id", [])), None)


def resolve(session: requests.Session, identity: str, base: str = DOWNLOAD) -> Remote:
    """Ask Google Drive where the file with an id can be read now.

    A large file answers with a page whose form confirms that it may be taken unscanned. Raises
    ``FetchError`` where the page has no such form: the file is gone, private, or over its quota.
    """
    url = f"{base}?{urllib.parse.urlencode({'id': identity, 'export': 'download'})}"
    with request(session, url) as answer:
        if answer.status_code == 404:
            raise FetchError("Google Drive has no such file")
        if not answer.headers.get("Content-Type", "").startswith("text/html"):
            return Remote(url)
        page = beginning(answer, PAGE).decode("utf-8", "replace")
    form = re.search(r'<form[^>]*id="download-form"[^>]*action="([^"]+)"', page)
    if not form:
        if "quota" in page.lower() or "too many users" in page.lower():
            raise FetchError("Google Drive's quota for this file is used up; try again tomorrow")
        raise FetchError("Google Drive answers with a page instead of the file: it is gone, or not public")
    fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
    with understood():
        action = urllib.parse.urljoin(url, html.unescape(form[1]))
    return Remote(f"{action}?{urllib.parse.urlencode({k: html.unescape(v) for k, v in fields.items()})}")
