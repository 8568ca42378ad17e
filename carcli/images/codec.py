"""From image files to 8-bit pixels and back: orientation, colour, alpha, profiles and the tag.

The image policy: models see 8-bit RGB. EXIF orientation is applied; ICC profile and the rest
of EXIF travel along; alpha is a plane of its own; grey stays grey; palettes become RGB(A); CMYK
goes through its profile to sRGB; 16 bits are rounded to 8 with a warning; several frames,
truncated or absurdly large files are errors for that file alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from carcli.errors import ImageError
from carcli.images import tag as tags
from carcli.images.tag import Tag

Pixels = NDArray[np.uint8]
Source = bytes | Path  # an image file, or what is in one

BAND = 1 << 26  # bytes that are turned into an array at once
MAX_PIXELS = 512_000_000  # more is taken for an attack, or for not a photograph
# what is taken for an image in a folder; files named one by one may have any suffix
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".qoi",
})  # fmt: skip
SIXTEEN_BIT = "16 bits a channel were rounded to 8"
DAMAGED_EXIF = "its EXIF data is damaged and was left out"


@dataclass(frozen=True)
class Picture:
    """An image as carcli works on it.

    ``pixels``: (H, W, 3) RGB or (H, W, 1) grey, uint8. ``alpha``: (H, W, 1) uint8 or None.
    ``icc`` and ``exif``: raw bytes that are carried along. ``tag``: what ``down`` noted.
    ``tag_error``: why a tag that is there cannot be used. ``notes``: what a user should know.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    tag: Tag | None = None
    tag_error: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def _reason(error: BaseException) -> str:
    """One short line out of a decoder's exception."""
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def _to_8_bit(values: NDArray[Any]) -> Pixels:
    """16-bit levels to the nearest 8-bit ones: 0 → 0, 65535 → 255."""
    wide = values.astype(np.uint32)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _sixteen_bit_grey(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("its grey values are outside 16 bits; convert it to 8 or 16 bits first")
    return _to_8_bit(values)


def _array(image: Image.Image) -> Pixels:
    """An 8-bit image's pixels, (H, W) or (H, W, C).

    ``numpy.asarray`` of a large image holds it three times over; bands of rows hold it once.
    """
    width, height = image.size
    rows = max(1, BAND // max(1, width * len(image.getbands())))
    if rows >= height:
        return np.asarray(image)
    first = np.asarray(image.crop((0, 0, width, 1)))
    pixels = np.empty((height, *first.shape[1:]), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # convert copies even where there is nothing to do


def _sixteen_bit_colour(image: ImageFile.ImageFile, source: Source) -> Image.Image | None:
    """A 16-bit RGB(A) file rounded, not truncated, to 8 bits; None for any other file.

    Pillow decodes one byte of each 16-bit sample, which one depends on the byte order it is
    told; told both, it gives both.
    """
    if not image.tile or image.mode not in ("RGB", "RGBA"):
        return None
    arguments = image.tile[0].args
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    other = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}.get(str(raw))
    if other is None:
        return None
    low: Any = Image.open(_opened(source))
    low.tile = [
        t._replace(args=other if isinstance(t.args, str) else (other, *(t.args or ())[1:])) for t in low.tile
    ]  # fmt: skip
    wide = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    rounded = Image.fromarray(_to_8_bit(wide))
    rounded.info = image.info
    rounded.getexif().update(image.getexif())
    return rounded


def _from_cmyk(image: Image.Image) -> Image.Image:
    """CMYK through its own profile to sRGB, or by the plain formula where it has none that works."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, TypeError):
            pass
    return image.convert("RGB")


def _exif(image: Image.Image) -> bytes | None:
    """EXIF without orientation, which has been applied, and without an embedded thumbnail."""
    exif = image.getexif()
    exif.pop(ExifTags.Base.Orientation, None)
    if not len(exif) and not exif.get_ifd(ExifTags.IFD.Exif) and not exif.get_ifd(ExifTags.IFD.GPSInfo):
        return None
    return exif.tobytes()


def _planes(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Pixels (H, W, 1 or 3) and alpha (H, W, 1) of an image in any 8-bit mode."""
    mode = image.mode
    if mode in ("1", "L"):
        return _array(_as_mode(image, "L"))[..., None], None
    transparent = "transparency" in image.info
    if mode in ("LA", "La"):
        both = _array(_as_mode(image, "LA"))
        return both[..., :1], both[..., 1:]
    if mode in ("RGBA", "RGBa", "PA") or transparent:
        both = _array(_as_mode(image, "RGBA"))
        return both[..., :3], both[..., 3:]
    return _array(_as_mode(image, "RGB")), None


def _is_sequence(image: Image.Image) -> bool:
    return getattr(image, "n_frames", 1) > 1 and image.format != "MPO"  # a camera's preview is no second frame


def _opened(source: Source) -> IO[bytes] | Path:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def decode(source: Source) -> Picture:
    """Decode an image file, or the bytes of one, according to the image policy.

    Raises ``ImageError`` with one line of reason for whatever cannot be used.
    """
    notes: list[str] = []
    try:
        if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
            raise ImageError("the file is empty")
        return _decode(source, notes)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS // 1_000_000} megapixels; split it first") from error
    except MemoryError as error:
        raise ImageError("not enough memory to decode it") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            raise ImageError(error.strerror) from error
        raise ImageError(f"cannot be decoded: {_reason(error)}") from error


def _tag(image: ImageFile.ImageFile, texts: Mapping[Any, Any]) -> tuple[Tag | None, str | None]:
    """What ``down`` noted in a file's text chunks, or why that cannot be used."""
    text = texts.get(tags.KEY) if image.format == "PNG" else None
    if text is None:
        return None, None
    try:
        return tags.parse(str(text), image.size), None
    except ImageError as error:
        return None, str(error)


def _decode(source: Source, notes: list[str]) -> Picture:
    with Image.open(_opened(source)) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"{width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels; split it first")
        if _is_sequence(image):
            raise ImageError(f"has {getattr(image, 'n_frames', 1)} frames; extract the one you want first")
        rounded = _sixteen_bit_colour(image, source)  # before anything loads the image
        tag, tag_error = _tag(image, getattr(image, "text", {}))  # which decodes it: chunks may stand at the end
        decoded: Image.Image = image
        icc = image.info.get("icc_profile")
        if rounded is not None:
            notes.append(SIXTEEN_BIT)
            decoded = rounded
        decoded.load()
        exif = None
        try:
            if decoded.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # it copies in any case
                decoded = ImageOps.exif_transpose(decoded)
            exif = _exif(decoded)
        except Exception:  # Pillow's EXIF reader trusts what it reads; the pixels are good all the same
            notes.append(DAMAGED_EXIF)
        if decoded.mode.startswith("I") or decoded.mode == "F":
            if decoded.mode == "F":
                raise ImageError("holds floating-point values; convert it to 8 or 16 bits first")
            pixels, alpha = _sixteen_bit_grey(decoded)[..., None], None
            notes.append(SIXTEEN_BIT)
        elif decoded.mode == "CMYK":
            pixels, alpha, icc = np.asarray(_from_cmyk(decoded)), None, None
        else:
            pixels, alpha = _planes(decoded)
            if decoded.mode == "LAB":
                icc = None
        return Picture(pixels, alpha, icc, exif, tag, tag_error, tuple(notes))


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
        with Image.open(path) as image:
            return Header(*image.size, *_tag(image, image.info))
    except Exception:  # whatever is wrong with it, decoding it will say
        return None


def _image(picture: Picture) -> Image.Image:
    """L, LA, RGB or RGBA, made in bands of rows, so that nothing large is held but the picture and the result."""
    width, height = picture.size
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    rows = max(1, BAND // (4 * width))
    mode = ("L" if picture.pixels.shape[2] == 1 else "RGB") + ("" if picture.alpha is None else "A")
    image = Image.new(mode, (width, height))
    for top in range(0, height, rows):
        band = np.concatenate([plane[top : top + rows] for plane in planes], 2)
        image.paste(Image.fromarray(band[..., 0] if band.shape[2] == 1 else band), (0, top))
    return image


def encode(picture: Picture, file: IO[bytes], compression: int = 6) -> None:
    """Write a picture as PNG with its alpha, profile, EXIF and tag.

    ``compression`` is zlib's level, 0 to 9.
    """
    image = _image(picture)
    options: dict[str, Any] = {"compress_level": compression}
    if picture.tag is not None:
        info = PngInfo()
        info.add_itxt(tags.KEY, picture.tag.to_json(), zip=True)
        options["pnginfo"] = info
    if picture.icc:
        options["icc_profile"] = picture.icc
    if picture.exif:
        options["exif"] = picture.exif
    image.save(file, "PNG", **options)
