"""How the server is started and ended."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec

from carcli.cli.common import say
from carcli.errors import CarcliError, UsageError
from carcli.images.formats import allow_large_images
from carcli.runtime.paths import reason

GRACE = 5  # seconds for answers that are on their way when it ends


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise CarcliError(
            f"cannot listen on {host} port {port} ({reason(error)}); name another with --host and --port"
        ) from error


def serve_forever(
    *,
    host: str,
    port: int,
    model: str,
    body: int,
    pixels: int,
    jobs: int,
    waiting: int,
    device: str,
    precision: str,
    backend: str,
) -> None:
    """Serve until Ctrl-C. Raises ``UsageError``, ``WeightsError`` and ``CarcliError`` where it cannot begin."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise UsageError("serving needs more packages: pip install 'carcli[serve]'")
    import uvicorn

    from carcli.serve.service import Limits, Service
    from carcli.serve.web import application

    allow_large_images()
    service = Service(model, device, precision, Limits(body=body, pixels=pixels, jobs=jobs, waiting=waiting), backend)
    hosts = ("127.0.0.1", "localhost", "::1", "[::1]", host) if _is_loopback(host) else ("*",)
    with _listening(host, port) as listening:
        config = uvicorn.Config(
            application(service, hosts), log_level="error", access_log=False, timeout_graceful_shutdown=GRACE, server_header=False
        )
        shown = f"[{host}]" if ":" in host else host
        say(f"serving on http://{shown}:{listening.getsockname()[1]}; Ctrl-C ends it")
        uvicorn.Server(config).run(sockets=[listening])
