"""Image files, and the bytes of them, to pictures and back."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from carcli.errors import ImageError
from carcli.images import policy
from carcli.images import tag as tags
from carcli.images.formats import written
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.runtime.files import write_whole
from carcli.runtime.paths import open_ordinary

Source = bytes | Path  # an image file, or what is in one


def _opened(source: Source) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open_ordinary(source)


def decode(source: Source) -> Picture:
    """Decode an image file, or the bytes of one, according to the image policy.

    Raises ``ImageError`` with one line of reason for whatever cannot be used.
    """
    with policy.one_line(), ExitStack() as files:

        def opened() -> IO[bytes]:
            return files.enter_context(_opened(source))

        file = opened()
        if not file.seek(0, os.SEEK_END):
            raise ImageError("the file is empty")
        file.seek(0)
        with Image.open(file) as image:
            return policy.apply(image, lambda: Image.open(opened()))


def read(path: Path) -> Picture:
    """Read and decode an image file. Raises ``ImageError`` with one line of reason."""
    return decode(path)


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels: its size as stored, and its tag or what is wrong with that."""

    width: int
    height: int
    tag: Tag | None = None
    tag_error: str | None = None

    @property
    def pixels(self) -> int:
        return self.width * self.height


def peek(path: Path) -> Header | None:
    """A file's header, its size as it is stored; None where it cannot be told."""
    try:
        with open_ordinary(path) as file, Image.open(file) as image:
            return Header(*image.size, *policy.tag_of(image))
    except Exception:  # whatever is wrong with it, decoding it will say
        return None


def image_of(picture: Picture) -> Image.Image:
    """L, LA, RGB or RGBA, made in bands of rows: nothing large is held but the picture and the result."""
    width, height = picture.size
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    rows = max(1, policy.BAND // (4 * width))
    mode = ("L" if picture.pixels.shape[2] == 1 else "RGB") + ("" if picture.alpha is None else "A")
    image = Image.new(mode, (width, height))
    for top in range(0, height, rows):
        band = np.concatenate([plane[top : top + rows] for plane in planes], 2)
        image.paste(Image.fromarray(band[..., 0] if band.shape[2] == 1 else band), (0, top))
    return image


def png_text(tag: str) -> PngInfo:
    """The chunk that holds a tag, which is given as JSON."""
    info = PngInfo()
    info.add_itxt(tags.KEY, tag, zip=True)
    return info


def encode(picture: Picture, file: IO[bytes], compression: int = 6) -> None:
    """Write a picture as PNG with its alpha, profile, EXIF and tag.

    ``compression`` is zlib's level, 0 to 9.
    """
    image = image_of(picture)
    options: dict[str, Any] = {"compress_level": compression}
    if picture.tag is not None:
        options["pnginfo"] = png_text(picture.tag.to_json())
    if picture.icc:
        options["icc_profile"] = picture.icc
    if picture.exif:
        options["exif"] = picture.exif
    image.save(file, "PNG", **options)


def to_bytes(picture: Picture) -> bytes:
    """What ``encode`` writes."""
    file = io.BytesIO()
    encode(picture, file)
    return file.getvalue()


def write(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a picture to a file, whole or not at all.

    Raises ``UsageError`` where ``path`` names another format than PNG, ``ImageError`` where it
    cannot be written.
    """
    target = written(path)
    try:
        write_whole(target, lambda file: encode(picture, file))
    except OSError as error:
        raise ImageError(f"{target}: cannot be written ({error.strerror or error})") from error
