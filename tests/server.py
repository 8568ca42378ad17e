"""A local server that speaks HTTP, Google Drive and MEGA, and fails in every way that a test asks for."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Faults:
    """What goes wrong: each list is used up request by request."""

    statuses: list[int] = field(default_factory=list)  # answered instead of the file
    cuts: list[int] = field(default_factory=list)  # bytes of the body after which the connection is cut
    retry_after: str = ""
    ignore_range: bool = False
    wrong_range: bool = False
    etag: str | None = '"1"'
    declared: int | None = None  # a Content-Length that is not the body's
    chunked: bool = False  # no Content-Length
    html: bool = False
    redirect: str = ""
    mega: list[object] = field(default_factory=list)  # answers of MEGA's API before the right one
    raw: list[bytes] = field(default_factory=list)  # sent as they are, head and all, before the connection is closed


class Server:
    """Files by path, faults, and the log of what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults = Faults()
        self.asked: list[tuple[str, str | None]] = []  # path, Range
        self.headers: list[dict[str, str]] = []
        self.mega_files: dict[str, str] = {}  # MEGA's file id → path of the ciphertext
        self.drive_confirms = False
        self.url = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, body: bytes, kind: str = "application/octet-stream", **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            (asked,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            faults = server.faults
            if faults.raw:
                self.wfile.write(faults.raw.pop(0))
                self.close_connection = True
                return
            if faults.mega:
                answer = faults.mega.pop(0)
            else:
                path = server.mega_files.get(asked["p"])
                answer = [{"s": len(server.files[path]), "at": "", "g": server.url + path}] if path else [-9]
            self._send(200, json.dumps(answer).encode(), "application/json")

        def do_GET(self) -> None:
            faults, parts = server.faults, urlsplit(self.path)
            wanted = self.headers.get("Range")
            server.asked.append((parts.path, wanted))
            server.headers.append(dict(self.headers))
            if faults.raw:
                self.wfile.write(faults.raw.pop(0))
                self.close_connection = True
                return
            if faults.redirect:
                to, faults.redirect = faults.redirect, ""
                self._send(302, b"", Location=to)
                return
            if faults.statuses:
                status = faults.statuses.pop(0)
                extra = {"Retry_After": faults.retry_after} if faults.retry_after else {}
                self._send(status, b"no", "text/plain", **extra)
                return
            if faults.html:
                self._send(200, b"<html>Quota exceeded</html>", "text/html")
                return
            if server.drive_confirms and parts.path == "/download" and "confirm" not in parse_qs(parts.query):
                page = (
                    f'<html><form id="download-form" action="{server.url}/download" method="get">'
                    f'<input type="hidden" name="id" value="{parse_qs(parts.query)["id"][0]}">'
                    '<input type="hidden" name="confirm" value="t&amp;u"></form></html>'
                )
                self._send(200, page.encode(), "text/html; charset=utf-8")
                return
            data = server.files.get(parts.path)
            if data is None:
                self._send(404, b"no", "text/plain")
                return
            start, status = 0, 200
            unchanged = self.headers.get("If-Range") in (None, faults.etag)
            if wanted and unchanged and not faults.ignore_range:
                start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
                if start >= len(data):
                    self._send(416, b"", Content_Range=f"bytes */{len(data)}")
                    return
            body = data[start:]
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            if faults.etag:
                self.send_header("ETag", faults.etag)
            if status == 206:
                first = start + 1 if faults.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            if faults.chunked:
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(faults.declared if faults.declared is not None else len(body)))
            self.end_headers()
            if faults.cuts:
                self.wfile.write(body[: faults.cuts.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(body)

    return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine, for as long as the block lasts."""
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign] # cut connections are meant
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def mega_encrypt(data: bytes, seed: bytes) -> tuple[bytes, str]:
    """Ciphertext and link key of a file as MEGA keeps it, written from the protocol alone, chunk by chunk."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key, nonce = seed[:16], seed[16:24]

    def block(data: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)

    def xor(a: bytes, b: bytes) -> bytes:
        return bytes(x ^ y for x, y in zip(a, b, strict=True))

    cipher = b"".join(
        xor(data[i : i + 16].ljust(16, b"\0"), block(nonce + struct.pack(">Q", i // 16))) for i in range(0, len(data), 16)
    )
    total, at, length = bytes(16), 0, 131072
    while at < len(data):
        mac = nonce + nonce
        chunk = data[at : at + length]
        for i in range(0, len(chunk), 16):
            mac = block(xor(mac, chunk[i : i + 16].ljust(16, b"\0")))
        total = block(xor(total, mac))
        at, length = at + length, min(length + 131072, 1048576)
    m = struct.unpack(">4I", total)
    meta = struct.pack(">2I", m[0] ^ m[1], m[2] ^ m[3])
    tail = nonce + meta
    return cipher[: len(data)], base64.urlsafe_b64encode(xor(key, tail) + tail).decode().rstrip("=")
