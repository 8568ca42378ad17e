"""What of a picture a format keeps, and what to say of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from carcli.errors import ImageError
from carcli.images import grey, profile, xmp
from carcli.images.metadata import iptc_segment
from carcli.images.picture import Picture
from carcli.images.written import Encoding, Format, lossless_ones

OPAQUE = "its alpha hides nothing and was left out: {} keeps no such"
NO_ROOM = "its XMP data leaves no room for the carcli tag in {} and was left out"
LARGE = "its {} data is larger than {} holds and was left out"
NOT_KEPT = {
    "iptc": "its IPTC data was left out: {} has no room for it",
    "colour": "what it says of its colours was left out: {} has no room for it",
}
SRGB = b"\x01\x0d\0\x01"  # a cICP chunk that says what is taken for granted


def kept(picture: Picture, encoding: Encoding) -> tuple[Picture, tuple[str, ...]]:
    """A picture with what a file in that format will hold of it, its tag in XMP where it lives there, and notes for the user.

    Raises ``ImageError`` where the format cannot hold it.
    """
    form = encoding.format
    refuse_size(picture.size, form)
    refuse_transparency(picture, form)
    notes: list[str] = []
    if picture.alpha is not None and form.name != "png" and picture.alpha.min() == 255:  # encoders drop it unasked
        picture = replace(picture, alpha=None)
        notes.append(OPAQUE.format(form.name))
    picture = replace(picture, icc=profile.fitting(picture.icc, picture.pixels.shape[2])[0])
    becomes_colour = picture.pixels.shape[2] == 1 and not form.grey
    if becomes_colour:
        picture = replace(picture, pixels=grey.in_colour(picture.pixels), icc=profile.in_colour(picture.icc)[0])
    if _too_large(picture.exif, form.largest_exif):
        picture = replace(picture, exif=None)
        notes.append(LARGE.format("EXIF", form.name))
    notes += [NOT_KEPT[name].format(form.name) for name in _missed(picture, form)]
    if form.tag == "xmp":
        data, said = _xmp(picture, form, becomes_colour)
        picture = replace(picture, xmp=data)
        notes += said
    return picture, tuple(notes)


def refuse_loss(picture: Picture, encoding: Encoding, lossy: bool = False) -> None:
    """Raise ``ImageError`` where a picture needs every level and would not keep them, unless loss is wanted."""
    if picture.exact is not None and encoding.lossy and not lossy:
        others = " or ".join(f"lossless {name}" for name in lossless_ones())
        raise ImageError(f"{picture.exact}; write {others}, or pass lossy=True")


def refuse_size(size: tuple[int, int], form: Format) -> None:
    """Raise ``ImageError`` where an image of that width and height is larger than the format holds."""
    width, height = size
    if max(size) > form.largest or (form.most is not None and width * height > form.most):
        raise ImageError(f"would be {width}x{height}, more than {form.name} holds ({form.largest} a side); write it as png")


def refuse_transparency(picture: Picture, form: Format) -> None:
    """Raise ``ImageError`` where something shows through a picture, and would not in the format."""
    if picture.alpha is not None and "alpha" not in form.keeps and picture.alpha.min() < 255:
        raise ImageError(f"has transparency, which {form.name} cannot keep; write it as {' or '.join(lossless_ones())}")


def _too_large(data: bytes | None, most: int | None) -> bool:
    return data is not None and most is not None and len(data) > most


def _missed(picture: Picture, form: Format) -> Iterator[str]:
    """What a user may miss in a file of that format."""
    if picture.iptc and ("iptc" not in form.keeps or (form.name == "jpeg" and iptc_segment(picture.iptc) is None)):
        yield "iptc"
    colour = dict(picture.colour)
    if "colour" not in form.keeps and picture.icc is None and colour.get(b"cICP", SRGB) != SRGB:
        yield "colour"


def _xmp(picture: Picture, form: Format, was_grey: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """XMP with the tag; the tag alone, and what to say, where what is there has no place for it."""
    if picture.tag is None:
        return (None, (LARGE.format("XMP", form.name),)) if _too_large(picture.xmp, form.largest_xmp) else (picture.xmp, ())
    ours = {xmp.TAG: picture.tag.to_json()}
    if was_grey:
        ours[xmp.CHANNELS] = "1"
    data, whole = xmp.with_room_for(picture.xmp, ours, form.largest_xmp)
    return data, () if whole else (NO_ROOM.format(form.name),)
