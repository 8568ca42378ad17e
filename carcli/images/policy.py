"""The image policy: from a Pillow image of any mode to 8-bit pixels.

Models see 8-bit RGB. EXIF orientation is applied; ICC profile and the rest of EXIF travel
along; alpha is a plane of its own; grey stays grey; palettes become RGB(A); CMYK goes through
its profile to sRGB; 16 bits are rounded to 8 with a warning; several frames, truncated or
absurdly large images are errors for that image alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from carcli.errors import ImageError
from carcli.images import tag as tags
from carcli.images.formats import MAX_PIXELS
from carcli.images.picture import Picture, Pixels
from carcli.images.tag import Tag

BAND = 1 << 26  # bytes that are turned into an array at once
SIXTEEN_BIT = "16 bits a channel were rounded to 8"
DAMAGED_EXIF = "its EXIF data is damaged and was left out"

Reopen = Callable[[], Image.Image | None]  # the same file once more, not yet decoded; None where there is none


def to_8_bit(values: NDArray[Any]) -> Pixels:
    """16-bit levels to the nearest 8-bit ones: 0 → 0, 65535 → 255."""
    wide = values.astype(np.uint32)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _sixteen_bit_grey(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("its grey values are outside 16 bits; convert it to 8 or 16 bits first")
    return to_8_bit(values)


def pixels_of(image: Image.Image) -> Pixels:
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


def _sixteen_bit_colour(image: Image.Image, reopen: Reopen) -> Image.Image | None:
    """A 16-bit RGB(A) file rounded, not truncated, to 8 bits; None for any other image.

    Pillow decodes one byte of each 16-bit sample, which one depends on the byte order it is
    told; told both, it gives both. An image that Pillow has decoded already has lost the other.
    """
    tile = getattr(image, "tile", None)
    if not tile or image.mode not in ("RGB", "RGBA"):
        return None
    arguments = tile[0].args
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    swapped = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}
    other = swapped.get(str(raw))
    low: Any = None if other is None else reopen()
    if low is None:
        return None
    low.tile = [
        t._replace(args=other if isinstance(t.args, str) else (other, *(t.args or ())[1:])) for t in low.tile
    ]  # fmt: skip
    wide = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    rounded = Image.fromarray(to_8_bit(wide))
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
    orientation = exif.pop(ExifTags.Base.Orientation, None)
    try:
        if not len(exif) and not exif.get_ifd(ExifTags.IFD.Exif) and not exif.get_ifd(ExifTags.IFD.GPSInfo):
            return None
        return exif.tobytes()
    finally:
        if orientation is not None:  # the image may be somebody's who goes on using it
            exif[ExifTags.Base.Orientation] = orientation


def _planes(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Pixels (H, W, 1 or 3) and alpha (H, W, 1) of an image in any 8-bit mode."""
    mode = image.mode
    if mode in ("1", "L"):
        return pixels_of(_as_mode(image, "L"))[..., None], None
    transparent = "transparency" in image.info
    if mode in ("LA", "La"):
        both = pixels_of(_as_mode(image, "LA"))
        return both[..., :1], both[..., 1:]
    if mode in ("RGBA", "RGBa", "PA") or transparent:
        both = pixels_of(_as_mode(image, "RGBA"))
        return both[..., :3], both[..., 3:]
    return pixels_of(_as_mode(image, "RGB")), None


def _is_sequence(image: Image.Image) -> bool:
    return getattr(image, "n_frames", 1) > 1 and image.format != "MPO"  # a camera's preview is no second frame


def tag_of(image: Image.Image) -> tuple[Tag | None, str | None]:
    """What ``down`` noted in a PNG, or in an image that was made of one, or why that cannot be used."""
    text = image.info.get(tags.KEY) if image.format in ("PNG", None) else None
    if text is None:
        return None, None
    try:
        return tags.parse(str(text), image.size), None
    except ImageError as error:
        return None, str(error)


def _reason(error: BaseException) -> str:
    """One short line out of a decoder's exception."""
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def _most_megapixels() -> int:
    """What is decoded at most: our own limit, or what Pillow allows in this process."""
    return min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)) // 1_000_000


@contextmanager
def one_line() -> Iterator[None]:
    """Whatever goes wrong while decoding, as an ``ImageError`` with one line of reason."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        limit = "PIL.Image.MAX_IMAGE_PIXELS sets the limit" if _most_megapixels() < MAX_PIXELS // 1_000_000 else "split it first"
        raise ImageError(f"more than {_most_megapixels()} megapixels; {limit}") from error
    except MemoryError as error:
        raise ImageError("not enough memory to decode it") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            raise ImageError(error.strerror) from error
        raise ImageError(f"cannot be decoded: {_reason(error)}") from error


def apply(image: Image.Image, reopen: Reopen = lambda: None) -> Picture:
    """The picture of a Pillow image, decoded or not. ``reopen`` is for files of 16-bit colour."""
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{width}x{height} holds no pixel")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels; split it first")
    if _is_sequence(image):
        raise ImageError(f"has {getattr(image, 'n_frames', 1)} frames; extract the one you want first")
    notes: list[str] = []
    rounded = _sixteen_bit_colour(image, reopen)  # before anything loads the image
    image.load()
    tag, tag_error = tag_of(image)  # once it is decoded: chunks may stand at the end
    decoded = image
    icc = image.info.get("icc_profile")
    if rounded is not None:
        notes.append(SIXTEEN_BIT)
        decoded = rounded
    exif = None
    try:
        if decoded.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # it copies in any case
            decoded = ImageOps.exif_transpose(decoded)
        exif = _exif(decoded)
    except Exception:  # Pillow's EXIF reader trusts what it reads; the pixels are good all the same
        notes.append(DAMAGED_EXIF)
    alpha: Pixels | None = None
    if decoded.mode.startswith("I") or decoded.mode == "F":
        if decoded.mode == "F":
            raise ImageError("holds floating-point values; convert it to 8 or 16 bits first")
        pixels = _sixteen_bit_grey(decoded)[..., None]
        notes.append(SIXTEEN_BIT)
    elif decoded.mode == "CMYK":
        pixels, icc = np.asarray(_from_cmyk(decoded)), None
    else:
        pixels, alpha = _planes(decoded)
        if decoded.mode == "LAB":
            icc = None
    return Picture(pixels, alpha, icc, exif, tag, tag_error, tuple(notes))
