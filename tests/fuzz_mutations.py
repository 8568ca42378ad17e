"""What damage, and malice, do to a file: bytes at random, and the parts of it that a reader trusts."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from pngs import chunk

from carcli.images import exif, png

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
Chunk = tuple[bytes, bytes]  # kind and content


# bytes, whatever they are


def _place(data: bytearray, chance: Random) -> int:
    """Anywhere, but seldom where it says what kind of file it is: all that follows is nobody's then."""
    return chance.randrange(16 if len(data) > 16 and chance.random() < 0.9 else 0, len(data))


def _flip(data: bytearray, chance: Random, _: bytes) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: Random, _: bytes) -> None:
    at, length = _place(data, chance), chance.choice((1, 2, 4, 16, 64))
    data[at : at + length] = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))[: len(data) - at]


def _truncate(data: bytearray, chance: Random, _: bytes) -> None:
    del data[_place(data, chance) :]


def _duplicate(data: bytearray, chance: Random, _: bytes) -> None:
    at, length = _place(data, chance), chance.choice((1, 4, 12, 64, 512))
    place = _place(data, chance)
    data[place:place] = data[at : at + length] * chance.choice((1, 1, 3))


def _cut_out(data: bytearray, chance: Random, _: bytes) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 12, 64))]


def _insert(data: bytearray, chance: Random, _: bytes) -> None:
    at = _place(data, chance)
    data[at:at] = chance.choice((chance.randbytes(chance.randrange(1, 40)), bytes(chance.randrange(1, 300))))


def _splice(data: bytearray, chance: Random, other: bytes) -> None:
    at = _place(data, chance)
    data[at:] = other[min(len(other), chance.choice((at, _place(data, chance)))) :]


def _extreme(data: bytearray, chance: Random, _: bytes) -> None:
    """What may be a length, a count or an offset."""
    size = chance.choice((1, 2, 4, 8))
    at = _place(data, chance)
    number = chance.choice(EXTREMES) & ((1 << 8 * size) - 1)
    data[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))[: len(data) - at]


ANY = (
    _flip,
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _truncate,
    _duplicate,
    _cut_out,
    _insert,
    _splice,
    _extreme,
    _extreme,
    _extreme,
)


def blind(data: bytes, chance: Random, other: bytes) -> bytes:
    """One to three changes anywhere; ``other`` is a file to splice it with."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if out:
            chance.choice(ANY)(out, chance, other)
    return bytes(out)


# PNG, with every check sum right


def chunks_of(data: bytes) -> list[Chunk]:
    out, at = [], len(png.SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        out.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return out


def png_of(chunks: Sequence[Chunk]) -> bytes:
    return png.SIGNATURE + b"".join(chunk(*one) for one in chunks)


def _other_header(content: bytes, chance: Random) -> bytes:
    fields = list(struct.unpack(">IIBBBBB", content))
    which = chance.randrange(7)
    few: tuple[int, ...] = (0, 1, 7, 8, 9, 12, 13, 255, 256, 1 << 15, 1 << 24, (1 << 31) - 1, (1 << 32) - 1)
    fields[which] = chance.choice(few if which < 2 else (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 255))
    return struct.pack(">IIBBBBB", *fields)


def _inside(kind: bytes, content: bytes, chance: Random, other: bytes) -> bytes:
    """Content that is compressed, changed before it was."""
    head = {b"IDAT": 0, b"iCCP": content.find(b"\0") + 2, b"zTXt": content.find(b"\0") + 2}.get(kind)
    try:
        if head is not None:
            return content[:head] + zlib.compress(blind(zlib.decompress(content[head:]), chance, other))
    except zlib.error:
        pass
    return blind(content, chance, other)


KINDS = (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"cICP", b"gAMA", b"cHRM", b"pHYs", b"iTXt", b"zTXt", b"acTL", b"fcTL", b"zzZz")


def in_png(data: bytes, chance: Random, other: bytes) -> bytes:
    """Changes to chunks, their order and their content, with the check sums of a whole file."""
    chunks, others = chunks_of(data), chunks_of(other)
    for _ in range(chance.choice((1, 1, 2, 3))):
        beside = [i for i, (kind, _) in enumerate(chunks) if kind not in (b"IHDR", b"IDAT", b"IEND")]
        i = chance.choice(beside) if beside and chance.random() < 0.7 else chance.randrange(len(chunks))
        kind, content = chunks[i]
        what = chance.randrange(10)
        if what < 3:
            chunks[i] = (kind, _inside(kind, content, chance, other) if content else chance.randbytes(chance.randrange(20)))
        elif what == 3 and len(chunks[0][1]) == 13:
            chunks[0] = (chunks[0][0], _other_header(chunks[0][1], chance))
        elif what == 4:
            del chunks[i]
        elif what == 5:
            chunks.insert(chance.randrange(1, len(chunks) + 1), chunks[i])
        elif what == 6:
            chunks.insert(chance.randrange(1, len(chunks) + 1), chance.choice(others or chunks))
        elif what == 7:
            chunks[i] = (
                chance.choice(KINDS),
                content,
            )
        elif what == 8:
            extreme = chance.choice(EXTREMES).to_bytes(4, "big")
            at = chance.randrange(len(content) + 1)
            chunks[i] = (kind, content[:at] + extreme + content[at + 4 :])
        else:
            middle = chunks[1:-1]
            chance.shuffle(middle)
            chunks[1:-1] = middle
        if not chunks:
            break
    return png_of(chunks)


# TIFF, and the EXIF in other files


TAGS = (exif.EXIF, exif.GPS, exif.INTEROP, exif.ORIENTATION, exif.THUMBNAIL, 256, 257, 258, 262, 277, 282, 296, 339, 700, 33723)


def in_tiff(data: bytes, chance: Random, start: int = 0) -> bytes:
    """Changes to entries of the directories of a TIFF structure, which begins at ``start``."""
    out = bytearray(data)
    order = "<" if data[start : start + 2] == b"II" else ">"
    at = start + struct.unpack_from(f"{order}I", data.ljust(start + 8, b"\0"), start + 4)[0]
    entries = _entries(data, order, start, at, depth=2)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not entries:
            break
        place = chance.choice(entries)
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", out, place)
        which = chance.randrange(5)
        if which == 0:
            tag = chance.choice((tag ^ 1, chance.randrange(1 << 16), *TAGS))
        elif which == 1:
            kind = chance.choice((*exif.SIZES, 0, 16, 18, 0xFFFF))
        elif which == 2:
            count = chance.choice((0, 1, 2, 3, 4, count + 1, *EXTREMES))
        elif which == 3:
            value = chance.choice((*EXTREMES, at - start, place - start, len(out), len(out) - 1))
        else:
            value = chance.choice((0, 1, 2, 3, 4, 5, 7, 8, 16, 32773, value ^ 1 << chance.randrange(32)))
        struct.pack_into(f"{order}HHII", out, place, tag & 0xFFFF, kind, count & 0xFFFFFFFF, value & 0xFFFFFFFF)
    return bytes(out)


def _entries(data: bytes, order: str, start: int, at: int, depth: int) -> list[int]:
    """Where the entries of a directory stand, and of those below and behind it."""
    if not 0 < at <= len(data) - 2 or depth < 0:
        return []
    count = struct.unpack_from(f"{order}H", data, at)[0]
    places = [at + 2 + 12 * i for i in range(count) if at + 14 + 12 * i <= len(data)]
    below = [struct.unpack_from(f"{order}HHII", data, place) for place in places]
    inner = [start + value for tag, _, _, value in below if tag in (exif.EXIF, exif.GPS, exif.INTEROP)]
    end = at + 2 + 12 * count
    if end + 4 <= len(data) and (following := struct.unpack_from(f"{order}I", data, end)[0]):
        inner.append(start + following)
    return places + [place for other in inner for place in _entries(data, order, start, other, depth - 1)]


def exif_start(data: bytes) -> int | None:
    """Where a file other than a TIFF has a TIFF structure."""
    found = [at for at in (data.find(b"II*\0"), data.find(b"MM\0*")) if at >= 0]
    return min(found) if found else None


# JSON and what is written like it

Value = Callable[[Random], Any]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 127, 128, 129, 1 << 20, 1 << 31, 1 << 63, 10**30, -(1 << 64), 0.5, 1e308, float("nan"),
    float("inf"), float("-inf"), "", "4", "a\nb", "\x1b[31mred\x1b[0m", "\x00", "\u202e", "\ud800", "é" * 3, "x" * 5000,
    "../../x", "bicubic", "bicubic+bicubic", "edsr-base-x4", [], [1], {}, {"a": 1}, [[[[]]]], {"net": "base"},
)  # fmt: skip


def changed(value: Any, chance: Random) -> Any:
    """A JSON value with one part of it replaced, left out or put somewhere else."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        out = dict(value)
        key = chance.choice(list(out))
        what = chance.randrange(8)
        if what == 0:
            del out[key]
        elif what == 1:
            out[chance.choice(("", "x", "a\nb", "\x1b[2J", "k" * 3000, key.upper(), "net", "scale"))] = out[key]
        elif what == 2:
            out[chance.choice(list(out))] = out[key]
        else:
            out[key] = changed(out[key], chance)
        return out
    if isinstance(value, list) and value and chance.random() < 0.6:
        i = chance.randrange(len(value))
        return [*value[:i], changed(value[i], chance), *value[i + chance.randrange(2) :]]
    if isinstance(value, str) and value and chance.random() < 0.4:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(("\n", "\x1b", "\x9b", "\u2028", "\ufeff", "é", value, "+", "")) + value[at:]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.4:
        return chance.choice((value + 1, value - 1, -value, value * 2, value * 1000, float(value), str(value)))
    return chance.choice(VALUES)


def text_of(value: Any, chance: Random) -> str:
    """As JSON; now and then as what a reader may take too long for, or run out of stack over."""
    what = chance.randrange(40)
    if what == 0:
        return "[" * 100_000
    if what == 1:
        return '{"a":' * 2_000 + "1" + "}" * 2_000
    if what == 2:
        return json.dumps(value).replace("1", "1" * 5000)
    return json.dumps(value, ensure_ascii=chance.random() < 0.9)
