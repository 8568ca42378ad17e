"""A Pillow image that is saved with all that Pillow would leave behind: tag, profile, EXIF, XMP, IPTC, resolution."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from PIL import Image

from carcli.images import codec, formats, png, policy, profile, written, xmp
from carcli.images import tag as tags
from carcli.images.metadata import digits_of
from carcli.images.picture import Picture

COLOUR, EXACT = "carcli-colour", "carcli-exact"  # keys of info
TAKEN = {  # what Pillow's writers take as a parameter, by its name in info, and those that do
    "icc_profile": ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MPO"),
    "exif": ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MPO"),
    "xmp": ("JPEG", "WEBP", "AVIF"),
    "dpi": ("PNG", "JPEG", "TIFF"),
}
StrOrBytesPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class CarcliImage(Image.Image):
    """An ordinary Pillow image (L, LA, RGB or RGBA), but that ``save`` keeps the tag and what a picture carries along.

    They stand in ``info`` under ``carcli``, ``icc_profile``, ``exif``, ``xmp`` and ``dpi``. Copies and pickles are
    such images too. What Pillow makes of one by cropping, resizing or filtering is an image of
    its own, and is saved as one: without the tag, which says how *these* pixels were made.
    PNG, WebP, JPEG and AVIF keep the tag; saving as anything else loses it, with a warning, and so
    does saving with loss what needs every level (``lossless=True`` makes a WebP that keeps them).
    """

    @classmethod
    def of(cls, picture: Picture) -> CarcliImage:
        """A picture as a Pillow image, with whatever travels with it."""
        image = cls._from(codec.image_of(picture))
        carried = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp, "dpi": picture.dpi}
        image.info |= {name: value for name, value in carried.items() if value}
        if picture.tag is not None:
            image.info[tags.KEY] = picture.tag.to_json()
        if picture.iptc:
            image.info[png.IPTC] = digits_of("iptc", picture.iptc)
        if picture.colour:
            image.info[COLOUR] = picture.colour
        if picture.exact:
            image.info[EXACT] = picture.exact
        return image

    @classmethod
    def _from(cls, image: Image.Image) -> CarcliImage:
        own = cls()
        own.__dict__.update(image.__dict__)
        return own

    def copy(self) -> CarcliImage:
        return self._from(super().copy())

    __copy__ = copy

    def save(self, fp: StrOrBytesPath | IO[bytes], format: str | None = None, **params: Any) -> None:  # noqa: A002 - Pillow's name
        """Pillow's ``save``, of any format and with any of its options, which go before what is carried.

        >>> import carcli
        >>> from PIL import Image
        >>> small = carcli.load("bicubic", scale=4).down(Image.open("tests/photos/eyes.png"))
        >>> small.save("small.png")
        >>> carcli.up("small.png").size
        (221, 161)
        """
        kind = _format_name(fp, format)
        carried = {name: self.info[name] for name, kinds in TAKEN.items() if kind in kinds and self.info.get(name)}
        if self._becomes_colour(kind) and "icc_profile" in carried:
            carried["icc_profile"] = profile.in_colour(carried["icc_profile"])[0] or b""
        if kind == "AVIF" and isinstance(carried.get("exif"), bytes):
            carried["exif"] = codec.WholeExif(carried["exif"])
        params = carried | params
        text = self._tag_text(kind) if tags.KEY in self.info else None
        if kind == "PNG":
            chunks = codec.png_text(text, self.info.get("xmp"), self.info.get(png.IPTC), self.info.get(COLOUR, ()))
            if params.get("pnginfo") is not None:  # what a user wants in it goes before
                chunks.chunks = [*params["pnginfo"].chunks, *chunks.chunks]
            params["pnginfo"] = chunks
        elif text is not None:
            params["xmp"] = self._with_tag(kind, params.get("xmp"), text)
            if EXACT in self.info and not (kind == "WEBP" and params.get("lossless")):
                warnings.warn(f"saved with loss: {self.info[EXACT]}", stacklevel=2)
        if self._becomes_colour(kind):
            self.convert("RGB" if self.mode == "L" else "RGBA").save(fp, format, **params)
        else:
            super().save(fp, format, **params)

    def _becomes_colour(self, kind: str) -> bool:
        """Whether it is grey, and will not be in a file of that format."""
        return self.mode in ("L", "LA") and kind in written.BY_PILLOW and not written.BY_PILLOW[kind].grey

    def _with_tag(self, kind: str, packet: object, text: str) -> bytes:
        """XMP with the tag; where what is there has no place for it, the tag alone, and a warning."""
        ours = {xmp.TAG: text} | ({xmp.CHANNELS: "1"} if self._becomes_colour(kind) else {})
        data = packet.encode() if isinstance(packet, str) else packet
        most = written.BY_PILLOW[kind].largest_xmp
        tagged, whole = xmp.with_room_for(data if isinstance(data, bytes) else None, ours, most)
        if not whole:
            warnings.warn("saved without its XMP data, which leaves no room for the carcli tag", stacklevel=3)
        return tagged

    def _tag_text(self, kind: str) -> str | None:
        """The tag to be written; None, and a warning, where it cannot be or no longer holds."""
        tag, error = policy.tag_of(self)
        if tag is not None and kind not in written.BY_PILLOW:
            error = f"{kind or 'this format'} keeps no carcli tag, so that carcli up will not know this image; save it as PNG"
        if tag is None or error is not None:
            warnings.warn(f"saved without its carcli tag: {error}", stacklevel=3)
            return None
        return tag.to_json()


def _format_name(fp: StrOrBytesPath | IO[bytes], name: str | None) -> str:
    """What Pillow will write, in capitals; empty where it will say that it does not know."""
    if name:
        return name.upper()
    path = fp if isinstance(fp, str | bytes | os.PathLike) else getattr(fp, "name", "")
    suffix = Path(os.fsdecode(path)).suffix.lower() if isinstance(path, str | bytes | os.PathLike) else ""
    return Image.registered_extensions().get(suffix, "").upper()


def from_pillow(image: Image.Image) -> Picture:
    """The picture of a Pillow image of any mode, by the image policy, as if read from a file.

    Raises ``ImageError`` with one line of reason for whatever cannot be used.
    """

    def reopen() -> Image.Image | None:
        """The file of an image that is not decoded yet."""
        name, file = getattr(image, "filename", ""), getattr(image, "fp", None)
        kinds = None if image.format is None else [image.format]
        if name and Path(os.fsdecode(name)).is_file():
            return Image.open(name, formats=kinds)
        if file is None or not file.seekable():
            return None
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
        return Image.open(io.BytesIO(data), formats=kinds)

    with policy.one_line():
        picture = policy.apply(image, reopen)
        exact = image.info.get(EXACT) if picture.tag is not None else None
        return replace(picture, lossy=formats.lossy(image), exact=exact if isinstance(exact, str) else None)
