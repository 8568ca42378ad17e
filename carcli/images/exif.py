"""EXIF as bytes: carried as a camera wrote it, but for what no longer holds of the pixels.

A block is a small TIFF file (CIPA DC-008): a header, directories of 12-byte entries, and values at offsets from the
header. Makers' notes hold offsets of their own into it, so that nothing in it may move: orientation is set in place,
and the thumbnail, which a second directory describes, is cut off or blanked. A TIFF file has no block; one is made of
those of its entries that describe the photograph rather than the file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

PREFIX = b"Exif\0\0"
ORIENTATION, EXIF, GPS, INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
THUMBNAIL, THUMBNAIL_BYTES = 0x0201, 0x0202
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}  # bytes of a value, by type
SHORT, LONG = 3, 4
MOST_ENTRIES = 256  # of a directory; a camera writes some sixty
LIMIT = 65_527  # bytes of a block: what a JPEG can hold
DESCRIPTIVE = frozenset({  # entries of a TIFF file's own directory that are about the photograph, whatever file it is in
    0x010D, 0x010E, 0x010F, 0x0110, 0x0112, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x9003, 0x9C9B, 0x9C9C,
    0x9C9D, 0x9C9E, 0x9C9F, EXIF, GPS,
})  # fmt: skip


class DamagedExif(ValueError):  # noqa: N818 - what it is, not that it is one
    """A block that does not hold what it says."""


@dataclass(frozen=True)
class _Entry:
    tag: int
    kind: int
    count: int
    at: int  # offset of the entry
    value: int  # offset of its value: in the entry where it has 4 bytes or fewer

    @property
    def size(self) -> int:
        return SIZES[self.kind] * self.count


class _Block:
    """TIFF structure in a file, read with bounds."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.length = file.seek(0, io.SEEK_END)
        head = self.read(0, 8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            raise DamagedExif
        self.order = "<" if head[:2] == b"II" else ">"
        self.first = self.number(head[4:8])

    def read(self, at: int, count: int) -> bytes:
        if at < 0 or count < 0 or at + count > self.length:
            raise DamagedExif
        self.file.seek(at)
        return self.file.read(count)

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def entries(self, at: int) -> Iterator[_Entry]:
        """Those of the directory at an offset; of types that nobody knows, none."""
        count = self.number(self.read(at, 2))
        if count > MOST_ENTRIES:
            raise DamagedExif
        table = self.read(at + 2, 12 * count)
        for i in range(count):
            tag, kind, number = struct.unpack(f"{self.order}HHI", table[12 * i : 12 * i + 8])
            if kind not in SIZES:
                continue
            place = at + 2 + 12 * i
            long = SIZES[kind] * number > 4
            entry = _Entry(tag, kind, number, place, self.number(table[12 * i + 8 : 12 * i + 12]) if long else place + 8)
            if entry.value + entry.size <= self.length:
                yield entry

    def following(self, at: int) -> tuple[int, int]:
        """Where the offset of the next directory stands, and that offset; 0 where there is none."""
        place = at + 2 + 12 * self.number(self.read(at, 2))
        return place, self.number(self.read(place, 4)) if place + 4 <= self.length else 0

    def value(self, entry: _Entry) -> bytes:
        return self.read(entry.value, entry.size)

    def pointer(self, entry: _Entry) -> int:
        return self.number(self.value(entry)[: SIZES[entry.kind]])


def cleaned(data: bytes) -> bytes | None:
    """A block as it is carried: orientation set to 1, which has been applied, and without a thumbnail.

    Everything else stays byte by byte, and where it is. Behind the prefix
    that a JPEG has; None where nothing is left to say. Raises ``DamagedExif``.
    """
    data = data.removeprefix(PREFIX)
    block, out = _Block(io.BytesIO(data)), bytearray(data)
    entries = list(block.entries(block.first))
    if all(entry.tag == ORIENTATION for entry in entries):
        return None
    for entry in entries:
        if entry.tag == ORIENTATION and entry.count:
            if entry.size > 4:  # its value would be somewhere else, in what is none of its own
                raise DamagedExif
            size = SIZES[entry.kind]
            out[entry.value : entry.value + size] = (1).to_bytes(size, "little" if block.order == "<" else "big")
    place, second = block.following(block.first)
    if not second:
        return PREFIX + bytes(out)
    out[place : place + 4] = bytes(4)
    return PREFIX + bytes(_without_thumbnail(block, out, entries, second))


def _without_thumbnail(block: _Block, out: bytearray, entries: list[_Entry], second: int) -> bytearray:
    """Blank what the second directory describes and, where it stands last, cut it off."""
    try:
        described = list(block.entries(second))
        end = block.following(second)[0] + 4
    except DamagedExif:
        return out
    spans = [(second, min(end, len(out)))]
    numbers = {entry.tag: block.pointer(entry) for entry in described if entry.count == 1 and entry.kind in (SHORT, LONG)}
    if THUMBNAIL in numbers and THUMBNAIL_BYTES in numbers:
        spans.append((numbers[THUMBNAIL], min(numbers[THUMBNAIL] + numbers[THUMBNAIL_BYTES], len(out))))
    spans += [(entry.value, entry.value + entry.size) for entry in described if entry.size > 4]
    used = _extent(block, block.first, entries, depth=2)
    for start, stop in spans:
        if start >= used:  # never into what the photograph's own entries hold
            out[start:stop] = bytes(max(0, stop - start))
    first = min(start for start, _ in spans)
    return out[:first] if first >= used else out


def _extent(block: _Block, at: int, entries: list[_Entry], depth: int) -> int:
    """Where the last byte of a directory, its values, and the directories in it ends."""
    end = block.following(at)[0] + 4
    for entry in entries:
        end = max(end, entry.value + entry.size)
        if depth and entry.tag in (EXIF, GPS, INTEROP) and entry.kind in (LONG, 13):
            try:
                inner = block.pointer(entry)
                end = max(end, _extent(block, inner, list(block.entries(inner)), depth - 1))
            except DamagedExif:
                continue
    return end


def of_tiff(file: IO[bytes]) -> bytes | None:
    """The block that describes the photograph in a TIFF file; None where there is nothing to say.

    Values are copied as bytes. Raises ``DamagedExif``, for a BigTIFF and for more than a block may hold too.
    """
    block = _Block(file)
    entries = [entry for entry in block.entries(block.first) if entry.tag in DESCRIPTIVE]
    if all(entry.tag == ORIENTATION for entry in entries):
        return None
    out = bytearray(block.read(0, 4) + struct.pack(f"{block.order}I", 8))
    _copy(block, entries, out, depth=2)
    return cleaned(bytes(out))


def _copy(block: _Block, entries: list[_Entry], out: bytearray, depth: int) -> None:
    """Append a directory of ``entries`` and all that belongs to them."""
    start = len(out)
    out += struct.pack(f"{block.order}H", len(entries)) + bytes(12 * len(entries) + 4)
    for i, entry in enumerate(sorted(entries, key=lambda entry: entry.tag)):
        if len(out) + entry.size > LIMIT:
            raise DamagedExif
        if entry.tag in (EXIF, GPS, INTEROP) and depth and entry.count == 1 and entry.kind in (LONG, 13):
            value = struct.pack(f"{block.order}I", len(out))
            _copy(block, list(block.entries(block.pointer(entry))), out, depth - 1)
        elif entry.size > 4:
            value = struct.pack(f"{block.order}I", len(out))
            out += block.value(entry) + bytes(entry.size % 2)
        else:
            value = block.value(entry).ljust(4, b"\0")
        at = start + 2 + 12 * i
        out[at : at + 12] = struct.pack(f"{block.order}HHI", entry.tag, entry.kind, entry.count) + value
