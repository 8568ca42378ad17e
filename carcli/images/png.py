"""A PNG taken apart: what its chunks say, and the file without those that pixels can do without.

Pillow refuses a whole file for one large profile or text. Here such chunks are kept from it, read with bounds of their
own, and left out, with a note, where they are damaged or beyond them.
"""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import IO, Any

from carcli.images import tag

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 64 << 20  # bytes, unpacked
MAX_TEXT = 1 << 20  # bytes of one text that is looked at, unpacked
READ = frozenset({b"iCCP", b"eXIf", b"iTXt", b"zTXt", b"tEXt"})  # by us, and kept from Pillow
KEPT_FROM_PILLOW = READ | {b"tIME", b"sPLT", b"hIST"}
COLOUR = (b"cICP", b"cHRM", b"gAMA", b"sRGB")  # what levels mean, where no profile says it
MAX_COLOUR = 64  # bytes of such a chunk
XMP = "XML:com.adobe.xmp"
IPTC = "Raw profile type iptc"  # as ImageMagick and ExifTool write it
EXIF, APP1 = "Raw profile type exif", "Raw profile type APP1"
TEXTS = frozenset({tag.KEY, XMP, IPTC, EXIF, APP1})  # keywords that are looked at


@dataclass
class Chunks:
    """What a PNG says beside its pixels; of chunks that come twice, the first."""

    depth: int = 8  # bits a sample
    icc: bytes | None = None
    exif: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)
    colour: dict[bytes, bytes] = field(default_factory=dict)
    transparency: bytes | None = None  # tRNS as it stands
    too_large: list[str] = field(default_factory=list)  # names of what was left out
    damaged: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # kinds and keywords


class Spliced(io.RawIOBase):
    """Pieces (start, stop) of a file, one behind the other, as a file."""

    def __init__(self, file: IO[bytes], pieces: Sequence[tuple[int, int]]) -> None:
        self._file, self._pieces, self._at = file, pieces, 0
        self._ends = list(accumulate(stop - start for start, stop in pieces))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        piece = bisect_right(self._ends, self._at)
        if piece == len(self._pieces):
            return 0
        left = self._ends[piece] - self._at
        self._file.seek(self._pieces[piece][1] - left)
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def take_apart(file: IO[bytes], whole: bool = True) -> tuple[Chunks, IO[bytes]]:
    """What a PNG's chunks say, and the PNG without those that are for us alone. ``file`` begins with its signature.

    Where not the ``whole`` file is looked at, what stands behind the beginning of the pixels is passed over.
    """
    chunks = Chunks()
    pieces = [(0, len(SIGNATURE))]
    for kind, start, length in _chunks(file):
        stop = start + length + 12
        if kind == b"IDAT" and not whole:
            pieces.append((start, stop))
            break
        if kind not in KEPT_FROM_PILLOW:
            if pieces[-1][1] == start:
                pieces[-1] = (pieces[-1][0], stop)
            else:
                pieces.append((start, stop))
        _take(chunks, file, kind, start, length)
    length = file.seek(0, io.SEEK_END)
    pieces = [(start, min(stop, length)) for start, stop in pieces]
    return chunks, io.BufferedReader(Spliced(file, pieces), 1 << 16)


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of the data of every chunk, the last one perhaps beyond the end of the file."""
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        yield kind, at, length
        at += length + 12
        if kind == b"IEND":
            return


def _take(chunks: Chunks, file: IO[bytes], kind: bytes, start: int, length: int) -> None:
    if kind == b"IHDR":
        chunks.depth = (*_data(file, start, min(length, 13)), *bytes(13))[8]
    elif kind == b"tRNS" and length <= 256:
        chunks.transparency = _data(file, start, length)
    elif kind in COLOUR and length <= MAX_COLOUR and _whole(file, start, length):
        chunks.colour.setdefault(kind, _data(file, start, length))
    elif kind in READ:
        name = kind.decode()
        if kind not in (b"iCCP", b"eXIf"):
            name = _data(file, start, min(length, 80)).partition(b"\0")[0].decode("latin-1")
            if name not in TEXTS:
                return
        if name in chunks.seen:
            return
        chunks.seen.add(name)
        if length > MAX_PROFILE:
            chunks.too_large.append(name)
        elif not _whole(file, start, length):
            chunks.damaged.append(name)
        else:
            try:
                _read(chunks, kind, name, _data(file, start, length))
            except (ValueError, zlib.error):
                chunks.damaged.append(name)
            except OverflowError:
                chunks.too_large.append(name)


def _data(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start + 8)
    return file.read(length)


def _whole(file: IO[bytes], start: int, length: int) -> bool:
    file.seek(start + 4)
    body = file.read(length + 4)
    return len(body) == length + 4 and zlib.crc32(body).to_bytes(4, "big") == file.read(4)


def _read(chunks: Chunks, kind: bytes, name: str, data: bytes) -> None:
    """Raises ``ValueError`` or ``zlib.error`` for a malformed chunk, ``OverflowError`` for one that is too large."""
    if kind == b"eXIf":
        chunks.exif = data
        return
    _, _, rest = data.partition(b"\0")
    if kind == b"iCCP":
        chunks.icc = _unpacked(rest[1:], MAX_PROFILE)
        return
    if kind == b"tEXt":
        text = _bounded(rest).decode("latin-1")
    elif kind == b"zTXt":
        text = _unpacked(rest[1:], MAX_TEXT).decode("latin-1")
    else:
        packed, method, rest = rest[:1] == b"\1", rest[1:2], rest[2:]
        _, _, rest = rest.partition(b"\0")  # the language
        _, _, rest = rest.partition(b"\0")  # the translated keyword
        if packed and method != b"\0":
            raise ValueError(method)
        text = (_unpacked(rest, MAX_TEXT) if packed else _bounded(rest)).decode("utf-8")
    chunks.texts[name] = text


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_TEXT:
        raise OverflowError
    return data


def _unpacked(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    out = stream.decompress(data, limit + 1)
    if len(out) > limit:
        raise OverflowError
    if not stream.eof:
        raise ValueError("cut")
    return out


def insert(data: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk, right behind its header: for chunks that Pillow does not write."""
    head = len(SIGNATURE) + 25  # IHDR has 13 bytes of data
    body = kind + content
    return data[:head] + len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + data[head:]
