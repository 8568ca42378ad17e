"""PNGs written by hand, of what Pillow writes none of."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and its check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: bytes, width: int, height: int, depth: int, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG of filtered rows, of a depth and a colour type, perhaps with a transparent level or colour."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    level = chunk(b"tRNS", transparent) if transparent else b""
    return SIGNATURE + header + level + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
