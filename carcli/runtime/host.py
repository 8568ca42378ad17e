"""Where this process runs: for files that several machines may share."""

from __future__ import annotations

import hashlib
import socket
from functools import cache
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux


@cache
def host() -> str:
    """Eight characters that are those of another process where it runs on the same host, or in the same container, since the
    same start."""
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()} {boot}".encode()).hexdigest()[:8]
