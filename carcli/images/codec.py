"""Image files, and the bytes of them, to pictures and back."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from carcli.errors import ImageError
from carcli.images import formats, png, policy, written
from carcli.images import tag as tags
from carcli.images.kept import kept, refuse_loss
from carcli.images.metadata import digits_of, iptc_segment
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.images.written import LOSSLESS, Encoding
from carcli.runtime import paths
from carcli.runtime.files import write_whole

CICP = b"cICP"  # a chunk that Pillow does not write
Source = bytes | Path  # an image file, or what is in one


def _opened(source: Source) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else paths.open_ordinary(source)


def _image(file: IO[bytes], whole: bool = True) -> tuple[Image.Image, png.Chunks | None]:
    """What Pillow makes of a file, not decoded yet; of a PNG also what its chunks say, or those before the pixels."""
    head = file.read(len(png.SIGNATURE))
    if not head:
        raise ImageError("the file is empty")
    file.seek(0)
    if head != png.SIGNATURE:
        return Image.open(file, formats=formats.opened()), None
    chunks, rest = png.take_apart(file, whole)
    image = Image.open(rest, formats=("PNG",))
    image.info.update(chunks.texts)
    if chunks.exif is not None:
        image.info["exif"] = chunks.exif
    if chunks.icc is not None:
        image.info["icc_profile"] = chunks.icc
    return image, chunks


def decode(source: Source, suffix: str | None = None) -> Picture:
    """Decode an image file, or the bytes of one called with a ``suffix``, according to the image policy.

    Raises ``ImageError`` with one line of reason for whatever cannot be used.
    """
    suffix = source.suffix if isinstance(source, Path) else suffix
    how = formats.advice(suffix.lower()) if suffix is not None else None
    with policy.one_line(), ExitStack() as files:

        def opened() -> tuple[Image.Image, png.Chunks | None]:
            return _image(files.enter_context(_opened(source)))

        try:
            image, chunks = opened()
            if how is not None and image.format == "TIFF":  # a camera's raw file, of which only the preview can be read
                raise UnidentifiedImageError
        except UnidentifiedImageError as error:
            if how is None:
                raise
            raise ImageError(f"is an image of a kind that is not read here; {how}") from error
        picture = policy.apply(image, lambda: opened()[0], chunks)
        return replace(picture, lossy=formats.lossy(image, lambda: files.enter_context(_opened(source))))


def read(path: Path) -> Picture:
    """Read and decode an image file. Raises ``ImageError`` with one line of reason."""
    return decode(path)


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels: its size the right way up, its tag or what is wrong with that, its format."""

    width: int
    height: int
    tag: Tag | None = None
    tag_error: str | None = None
    format: str | None = None  # Pillow's name, in capitals

    @property
    def pixels(self) -> int:
        return self.width * self.height


def peek(source: Source) -> Header | None:
    """A file's header; None where it cannot be told."""
    try:
        with _opened(source) as file:
            image, chunks = _image(file, whole=False)
            return Header(*policy.size_of(image), *policy.tag_of(image, chunks), image.format)
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


def png_text(tag: str | None, xmp: bytes | None, iptc: str | None, colour: Iterable[tuple[bytes, bytes]]) -> PngInfo:
    """The chunks that Pillow is to write beside profile, EXIF and resolution; ``tag`` is JSON, ``iptc`` hexadecimal."""
    info = PngInfo()
    for kind, content in colour:
        info.add(kind, content)
    if tag is not None:
        info.add_itxt(tags.KEY, tag, zip=True)
    if xmp:
        info.add_itxt(png.XMP, xmp.decode())
    if iptc:
        info.add_text(png.IPTC, iptc, zip=True)
    return info


class WholeExif(Image.Exif):
    """EXIF that Pillow writes byte for byte, where it would else take it apart to look for an orientation."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._whole = data

    def __bool__(self) -> bool:
        return True

    def tobytes(self, offset: int = 8) -> bytes:
        return self._whole


def encode(picture: Picture, file: IO[bytes], encoding: Encoding = LOSSLESS) -> None:
    """Write a picture with its alpha, tag, and all that is carried along, as far as the format keeps it.

    Raises ``ImageError`` where the format cannot hold it.
    """
    encode_kept(kept(picture, encoding)[0], file, encoding)


def encode_kept(picture: Picture, file: IO[bytes], encoding: Encoding) -> None:
    """Write what ``kept`` has made of a picture for a format."""
    options: dict[str, Any] = encoding.options
    if encoding.format.tag == "text":
        tag = None if picture.tag is None else picture.tag.to_json()
        iptc = digits_of("iptc", picture.iptc) if picture.iptc else None
        options["pnginfo"] = png_text(tag, picture.xmp, iptc, picture.colour)
    else:
        carried = {"xmp": picture.xmp, "extra": iptc_segment(picture.iptc) if "iptc" in encoding.format.keeps else None}
        options |= {name: value for name, value in carried.items() if value}
    options |= {name: value for name, value in (("icc_profile", picture.icc), ("exif", picture.exif)) if value}
    if picture.exif and encoding.format.name == "avif":
        options["exif"] = WholeExif(picture.exif)
    if picture.dpi and "dpi" in encoding.format.keeps:
        options["dpi"] = picture.dpi
    image, coding = image_of(picture), dict(picture.colour).get(CICP)
    if coding is None or encoding.format.name != "png":
        image.save(file, encoding.format.pillow, **options)
    else:
        whole = io.BytesIO()
        image.save(whole, "PNG", **options)
        file.write(png.insert(whole.getvalue(), CICP, coding))


def to_bytes(picture: Picture, encoding: Encoding = LOSSLESS) -> bytes:
    """What ``encode`` writes."""
    file = io.BytesIO()
    encode(picture, file, encoding)
    return file.getvalue()


def write(path: str | os.PathLike[str], picture: Picture, quality: int | None = None, lossy: bool = False) -> None:
    """Write a picture to a file in the format that its name says, whole or not at all.

    ``quality``, 1 to 100: of a format that has one; where None, WebP is lossless. What the file cannot keep is warned of.
    Raises ``UsageError`` where ``path`` names no format that is written, ``ImageError`` where the file cannot be written, or
    would not restore because the picture needs every level, unless ``lossy`` is true.
    """
    target = Path(path)
    encoding = written.of_file(target, quality, lr=picture.tag is not None)
    try:
        refuse_loss(picture, encoding, lossy)
        held, notes = kept(picture, encoding)
        for note in notes:
            warnings.warn(f"{target}: {note}", stacklevel=3)
        write_whole(target, lambda file: encode_kept(held, file, encoding))
    except ImageError as error:
        raise ImageError(f"{target}: {error}") from error
    except OSError as error:
        raise ImageError(f"{target}: cannot be written ({paths.reason(error)})") from error
