"""A real S3 server in this process, and what can be put in the way of its answers."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "photos"


def xml(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} it is</Message></Error>'.encode()


Fault = tuple[int, str]  # an HTTP status and a code; or (0, "reset"), or (200, "cut")


@dataclass
class Server:
    """Its address, what it was asked, and what it shall answer instead: ``fault`` is asked of each request."""

    port: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, path with query
    fault: Callable[[str, str], Fault | None] | None = None
    client: Any = None  # boto3's

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What lets the AWS SDK find it."""
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        return {"AWS_ENDPOINT_URL": self.address, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true", **keys}

    def empty(self) -> None:
        """Remove all objects, and what is in the way."""
        self.fault = None
        keys = [{"Key": key} for key in self.keys()]
        for first in range(0, len(keys), 1000):
            self.client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[first : first + 1000]})
        self.requests.clear()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def fill(self, keys: Iterable[str], data: bytes) -> None:
        """Put the same into many objects, past HTTP."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(BUCKET, key, data)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [info["Key"] for page in pages for info in page.get("Contents", ())]

    def asked(self, method: str, part: str = "") -> int:
        return sum(m == method and part in path for m, path in self.requests)

    def faults(self, method: str, part: str, fault: Fault, times: int = 1 << 30) -> None:
        """Answer so many requests of a kind with a fault."""
        left = [times]

        def one(m: str, path: str) -> Fault | None:
            if m == method and part in path and left[0] > 0:
                left[0] -= 1
                return fault
            return None

        self.fault = one

    def __call__(self, application: Any) -> Any:
        """The application with what is in its way."""

        def answer(environ: dict[str, Any], start: Any) -> Any:
            path = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else "")
            method = environ["REQUEST_METHOD"]
            if environ.get("HTTP_USER_AGENT", "").startswith("Boto3"):  # the test itself
                return application(environ, start)
            self.requests.append((method, path))
            fault = self.fault(method, path) if self.fault is not None else None
            if fault is None:
                return application(environ, start)
            status, code = fault
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if status == 0:
                connection = environ["werkzeug.socket"]
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return []
            if code == "cut":
                whole = b"".join(application(environ, lambda *_: None))
                start("200 OK", [("Content-Length", str(len(whole))), ("ETag", '"e"')])
                return [whole[: len(whole) // 2]]
            start(f"{status} {code}", [("Content-Type", "application/xml")])
            return [xml(code)]

        return answer


@contextmanager
def s3_server() -> Iterator[Server]:
    """A server with an empty bucket. Skips where moto, boto3 or s3fs are not here."""
    pytest.importorskip("s3fs", reason="s3fs is not here: pip install 'carcli[s3]'")
    pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto's server is not here: pip install 'carcli[test]'")
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    there = make_server("127.0.0.1", 0, server(DomainDispatcherApplication(create_backend_app)), threaded=True)
    server.port = there.server_port
    thread = threading.Thread(target=there.serve_forever)
    thread.start()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    server.client = boto3.client("s3", endpoint_url=server.address, region_name="us-east-1", **keys)
    server.client.create_bucket(Bucket=BUCKET)
    try:
        yield server
    finally:
        server.client.close()
        there.shutdown()
        thread.join()
        there.server_close()
