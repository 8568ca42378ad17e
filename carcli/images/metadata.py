"""What travels with the pixels of a file: profile, EXIF, XMP, IPTC, resolution, and what levels mean.

All of it is carried as bytes. What would be wrong for the result stays behind, with a note where a user may miss it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any

from PIL import Image

from carcli.images import exif, png, xmp
from carcli.images.profile import DAMAGED_PROFILE, fitting, in_grey

RESOLUTIONS = 2, 1e5  # dpi; Pillow calls it 1 where a TIFF says nothing, and a PNG counts in whole pixels a metre
MAX_XMP = 1 << 16  # bytes; more is a history of edits, or thumbnails
DAMAGED_EXIF = "its EXIF data is damaged and was left out"
LARGE_XMP = f"its XMP data is larger than {MAX_XMP >> 10} kB and was left out"
LEFT_OUT = {"iCCP": DAMAGED_PROFILE, "eXIf": DAMAGED_EXIF, png.XMP: LARGE_XMP}  # by what a PNG calls it
XMP, IPTC = 700, 33723  # entries of a TIFF file
IPTC_RESOURCE = 0x0404  # of Photoshop's, in a JPEG
LARGEST_SEGMENT = 65_533  # bytes of what a JPEG's segment holds
THUMBNAILS = b"xmp:Thumbnails", b"xap:Thumbnails"
ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[1-8]")

Dpi = tuple[float, float]  # horizontal and vertical


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels. ``colour`` are PNG chunks that say what levels mean."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: Dpi | None = None
    colour: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()

    def fitting(self, channels: int) -> Metadata:
        """Without a profile that is none for pixels of 1 or 3 channels; of grey ones, the grey profile inside one for colour."""
        icc, notes = in_grey(self.icc) if channels == 1 else fitting(self.icc, channels)
        return replace(self, icc=icc, notes=(*self.notes, *notes))


@dataclass
class _Raw:
    """The same as a file or an image holds it, not yet looked at."""

    icc: Any = None
    exif: Any = None
    xmp: Any = None
    iptc: Any = None
    dpi: Any = None
    colour: Mapping[bytes, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def of(image: Image.Image, file: IO[bytes] | None = None, chunks: png.Chunks | None = None) -> Metadata:
    """Of Pillow's image. ``file`` is what a TIFF was read from, out of which its EXIF is copied; ``chunks`` are a PNG's."""
    info, chunks = image.info, chunks or png.Chunks()
    raw = _Raw(icc=info.get("icc_profile"), exif=info.get("exif"), dpi=info.get("dpi"), colour=chunks.colour)
    raw.xmp = packet_of(image)
    raw.exif = raw.exif or _bytes_from_digits(info.get(png.EXIF) or info.get(png.APP1))
    raw.iptc = _bytes_from_digits(info.get(png.IPTC))
    resources = info.get("photoshop")
    if isinstance(resources, Mapping):
        raw.iptc = resources.get(IPTC_RESOURCE)
    raw.notes = tuple(LEFT_OUT[name] for name in (*chunks.damaged, *chunks.too_large) if name in LEFT_OUT)
    if image.format == "TIFF":
        entries = getattr(image, "tag_v2", {})
        raw.xmp, raw.iptc = raw.xmp or entries.get(XMP), entries.get(IPTC)
        if file is not None:
            try:
                raw.exif = exif.of_tiff(file)
            except exif.DamagedExif:
                raw.exif, raw.notes = None, (DAMAGED_EXIF,)
    return _checked(raw)


def _checked(raw: _Raw) -> Metadata:
    notes = list(raw.notes)
    block: bytes | None = None
    if isinstance(raw.exif, bytes) and raw.exif:
        try:
            block = exif.cleaned(raw.exif)
        except exif.DamagedExif:
            notes.append(DAMAGED_EXIF)
    packet = _plain_xmp(raw.xmp)
    if packet is not None and len(packet) > MAX_XMP:
        packet = None
        notes.append(LARGE_XMP)
    return Metadata(
        icc=raw.icc if isinstance(raw.icc, bytes) and raw.icc else None,
        exif=block,
        xmp=packet,
        iptc=raw.iptc if isinstance(raw.iptc, bytes) and raw.iptc else None,
        dpi=_plain_dpi(raw.dpi),
        colour=tuple((kind, raw.colour[kind]) for kind in png.COLOUR if kind in raw.colour),
        notes=tuple(dict.fromkeys(notes)),
    )


def _plain_xmp(data: object) -> bytes | None:
    """Without thumbnails and without our tag, which says how *these* pixels were made, and turned the right way, as they are."""
    data = data.encode(errors="replace") if isinstance(data, str) else data
    if not isinstance(data, bytes):
        return None
    plain = ORIENTATION.sub(rb"\g<1>1", _without_thumbnails(data.strip(b"\0 \r\n\t")))
    try:
        plain.decode()
    except UnicodeDecodeError:  # a PNG holds it as UTF-8
        return None
    return xmp.without_properties(plain) or None


def _without_thumbnails(data: bytes) -> bytes:
    """One pass, however large it is and whatever is in it."""
    for name in THUMBNAILS:
        kept, at, opening, closing = [], 0, b"<%b>" % name, b"</%b>" % name
        while (start := data.find(opening, at)) >= 0 and (stop := data.find(closing, start)) >= 0:
            kept.append(data[at:start])
            at = stop + len(closing)
        data = b"".join([*kept, data[at:]])
    return data


def packet_of(image: Image.Image) -> bytes | None:
    """XMP as an image has it, of any format but TIFF."""
    data = image.info.get("xmp") or image.info.get(png.XMP)
    data = data.encode(errors="replace") if isinstance(data, str) else data
    return data if isinstance(data, bytes) else None


def _plain_dpi(dpi: object) -> Dpi | None:
    try:
        x, y = (float(n) for n in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    least, most = RESOLUTIONS
    return (x, y) if least <= x <= most and least <= y <= most else None


def _bytes_from_digits(text: object) -> bytes | None:
    """What ImageMagick and ExifTool write as text: a name, a length, and the bytes as hexadecimal digits."""
    if not isinstance(text, str):
        return None
    lines = text.strip("\n").split("\n")
    try:
        return bytes.fromhex("".join(lines[2:])) or None
    except ValueError:
        return None


def digits_of(name: str, data: bytes) -> str:
    """The other way round."""
    digits = data.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(["", name, f"{len(data):8}", *lines, ""])


def iptc_segment(data: bytes | None) -> bytes | None:
    """IPTC data as a JPEG holds it, in a segment of Photoshop's; None where there is none, or too much for one."""
    if not data:
        return None
    resource = b"8BIM" + IPTC_RESOURCE.to_bytes(2, "big") + bytes(2) + len(data).to_bytes(4, "big") + data + bytes(len(data) % 2)
    content = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content if len(content) <= LARGEST_SEGMENT else None
