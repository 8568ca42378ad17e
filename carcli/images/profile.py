"""ICC profiles: whether one says what these pixels mean, and a grey one for pixels in colour.

A grey photograph's LR image may be in colour, and a file must not hold a grey profile then. Viewers would take
its levels for sRGB and show it too dark or too light, and ``up`` could not give the profile back. So the LR image gets
an RGB profile with the grey one's tone curve, and the grey one inside it, byte for byte, as an element of our own:
wherever a profile is kept, whatever the file's format, so is this one. Equal channels mean exactly what the grey level
meant. Where the grey profile has no curve (a table, or damage), the curve is sRGB's: viewers then see the LR image
as they would without a profile, and the restored photograph is right all the same.
"""

from __future__ import annotations

import struct

from carcli.runtime.text import shown

HEADER = 128  # bytes (ICC.1:2022, 7.2)
SPACES = {1: b"GRAY", 3: b"RGB "}  # by channels, as the header has them
DAMAGED_PROFILE = "its colour profile is damaged and was left out"
OTHER_PROFILE = "its colour profile is for another kind of image ({}) and was left out"

GREY = b"grey"  # the element of ours that holds a grey profile
NAME = "Grey, in three channels"
MOST = 256  # elements of a profile that are looked at
FIXED = 1 << 16  # 1 as s15Fixed16 has it
WHITE = (0xF6D6, 0x10000, 0xD32D)  # D50, X, Y, Z
RED, BLUE = (0x6FA2, 0x38F5, 0x0390), (0x24A0, 0x0F84, 0xB6CF)  # of sRGB, adapted to D50
GREEN = tuple(white - red - blue for white, red, blue in zip(WHITE, RED, BLUE, strict=True))
# IEC 61966-2-1 as a function of type 3: g, a, b, c, d
SRGB_CURVE = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(FIXED * n) for n in (
    2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))  # fmt: skip

Found = tuple[bytes | None, tuple[str, ...]]  # a profile, and what to say where there is none any more


def fitting(icc: bytes | None, channels: int) -> Found:
    """A profile for an image of 1 or 3 channels; none, and what to say of it, where it is for another kind.

    A PNG must not hold another (PNG, 11.3.2.3).
    """
    if icc is None:
        return None, ()
    if len(icc) <= HEADER or icc[36:40] != b"acsp":
        return None, (DAMAGED_PROFILE,)
    space = icc[16:20]
    return (icc, ()) if space == SPACES[channels] else (None, (OTHER_PROFILE.format(shown(space.decode("latin-1").strip())),))


def in_colour(icc: bytes | None) -> Found:
    """A grey image's profile for its levels in three channels; ``in_grey`` finds it again."""
    grey, notes = fitting(icc, 1)
    return (None, notes) if grey is None else (_around(grey), ())


def in_grey(icc: bytes | None) -> Found:
    """The grey profile that ``in_colour`` put into one, or the profile itself where that is grey."""
    inner = None if fitting(icc, 3)[0] is None else _elements(icc or b"").get(GREY)
    return fitting(icc if inner is None else inner[12:], 1)  # behind type, reserved bytes and flag


def _elements(icc: bytes) -> dict[bytes, bytes]:
    """A profile's elements by signature, those that lie inside it."""
    (count,) = struct.unpack_from(">I", icc.ljust(HEADER + 4, b"\0"), HEADER)
    elements = {}
    for at in range(HEADER + 4, HEADER + 4 + 12 * min(count, MOST), 12):
        if at + 12 > len(icc):
            break
        signature, start, length = struct.unpack_from(">4sII", icc, at)
        if HEADER < start <= start + length <= len(icc):
            elements[signature] = icc[start : start + length]
    return elements


def _around(grey: bytes) -> bytes:
    """An RGB display profile (version 4) with a grey profile's curve, and the profile inside."""
    curve = _elements(grey).get(b"kTRC", b"")
    if grey[20:24] != b"XYZ " or curve[:4] not in (b"curv", b"para"):  # to Lab a curve means something else
        curve = SRGB_CURVE
    elements = {
        b"desc": _text(NAME),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _colour(WHITE),
        b"rXYZ": _colour(RED),
        b"gXYZ": _colour(GREEN),
        b"bXYZ": _colour(BLUE),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
        GREY: b"data" + bytes(4) + struct.pack(">I", 1) + grey,  # 1: binary
    }
    table, body, places = struct.pack(">I", len(elements)), b"", {}
    begin = HEADER + 4 + 12 * len(elements)
    for signature, element in elements.items():
        if element not in places:  # elements may share their bytes
            places[element] = begin + len(body)
            body += element + bytes(-len(element) % 4)
        table += struct.pack(">4sII", signature, places[element], len(element))
    date = grey[24:36]
    header = struct.pack(">I4xI4s4s4s12s4s", begin + len(body), 0x04300000, b"mntr", SPACES[3], b"XYZ ", date, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", *WHITE)
    return header.ljust(HEADER, b"\0") + table + body


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(data), 28) + data


def _colour(xyz: tuple[int, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *xyz)
