"""The image policy: from a Pillow image of any mode to 8-bit pixels.

Models see 8-bit RGB. EXIF orientation is applied; what else a file says travels along; alpha is a plane of its own;
grey stays grey; palettes become RGB(A); CMYK goes through its profile to sRGB; more bits are rounded to 8 with a
warning; several frames, truncated or absurdly large images are errors for that image alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from carcli.errors import ImageError
from carcli.images import alpha as transparency
from carcli.images import depth, grey, metadata, png, xmp
from carcli.images import tag as tags
from carcli.images.depth import Levels, Reopen, to_8_bit
from carcli.images.formats import MAX_PIXELS
from carcli.images.metadata import DAMAGED_EXIF, Metadata
from carcli.images.picture import Picture, Pixels
from carcli.images.tag import Tag
from carcli.runtime.text import shown

BAND = 1 << 26  # bytes that are turned into an array at once
SIXTEEN_BIT = "16 bits a channel were rounded to 8"
DEEPER = "{} bits a channel were reduced to 8"  # by a decoder, which rounds
# EXIF orientation → quarter turns to the left, and whether it is mirrored left to right first
TURNED = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
STEPS = {"L;2": 85, "L;4": 17}  # between 8-bit levels, by how a PNG of 2 or 4 bits is read


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


def _planes(image: Image.Image, step: int = 1) -> tuple[Pixels, Pixels | None]:
    """Pixels (H, W, 1 or 3) and alpha (H, W, 1) of an image in any 8-bit mode; ``step`` is what its grey levels are apart."""
    mode = image.mode
    level = image.info.get("transparency")
    if mode in ("1", "L"):
        grey = pixels_of(_as_mode(image, "L"))
        if not isinstance(level, int):
            return grey[..., None], None
        level = 255 * bool(level) if mode == "1" else level * step
        return grey[..., None], transparency.of_level(grey, level) if level < 256 else None
    if mode in ("LA", "La"):
        both = pixels_of(_as_mode(image, "LA"))
        return both[..., :1], both[..., 1:]
    if mode in ("RGBA", "RGBa", "PA") or level is not None:
        both = pixels_of(_as_mode(image, "RGBA"))
        return both[..., :3], both[..., 3:]
    if mode == "CMYK":
        return np.asarray(_from_cmyk(image)), None
    return pixels_of(_as_mode(image, "RGB")), None


def _planes_of_levels(levels: Levels, image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """The same of 16-bit levels, which ``image`` was decoded to."""
    rounded = to_8_bit(levels)
    level = image.info.get("transparency")
    if image.mode == "CMYK":
        inks = Image.fromarray(rounded, "CMYK")
        inks.info = image.info
        return _planes(inks)
    if levels.ndim == 2:
        transparent = isinstance(level, int) and level < 1 << 16
        return rounded[..., None], transparency.of_level(levels, level) if transparent else None  # type: ignore[arg-type]
    if levels.shape[2] == 3:
        transparent = isinstance(level, tuple) and len(level) == 3
        return rounded, transparency.of_level(levels, level) if transparent else None  # type: ignore[arg-type]
    return rounded[..., :-1], rounded[..., -1:]


def _turned(plane: Pixels, orientation: int) -> Pixels:
    """A plane (H, W, C) the right way up."""
    if orientation not in TURNED:
        return plane
    quarters, mirrored = TURNED[orientation]
    return np.ascontiguousarray(np.rot90(plane[:, ::-1] if mirrored else plane, quarters))


def _is_sequence(image: Image.Image) -> bool:
    return getattr(image, "n_frames", 1) > 1 and image.format != "MPO"  # a camera's preview is no second frame


def tag_of(image: Image.Image, chunks: png.Chunks | None = None) -> tuple[Tag | None, str | None]:
    """What ``down`` noted in an image, in a PNG's own text or in XMP, or why that cannot be used."""
    if chunks is not None and tags.KEY in chunks.damaged:
        return None, f"its carcli tag is damaged; {tags.HOW}"
    if chunks is not None and tags.KEY in chunks.too_large:
        return None, f"its carcli tag is longer than {tags.MAX_LENGTH} characters; {tags.HOW}"
    text = image.info.get(tags.KEY) if image.format in ("PNG", None) else None
    if text is None:
        try:
            text = _in_xmp(image).get(xmp.TAG)
        except xmp.DamagedXmp:
            return None, f"its carcli tag is in XMP data that is damaged or too large; {tags.HOW}"
    if text is None:
        return None, None
    try:
        return tags.parse(str(text), image.size), None
    except ImageError as error:
        return None, str(error)


def _in_xmp(image: Image.Image) -> dict[str, str]:
    """Our properties in an image's XMP. Raises ``DamagedXmp``."""
    packet = metadata.packet_of(image)
    return {} if packet is None else xmp.properties(packet)


def _grey_again(pixels: Pixels, image: Image.Image, tag: Tag | None) -> Pixels:
    """One channel of three where ``down`` made one, and the format has no grey."""
    if tag is None or pixels.shape[2] == 1 or _in_xmp(image).get(xmp.CHANNELS) != "1":
        return pixels
    return grey.averaged(pixels)


def _reason(error: BaseException) -> str:
    """One short line out of a decoder's exception."""
    first = error.args[0] if error.args else ""
    text = shown(" ".join((first.decode("latin-1") if isinstance(first, bytes) else str(error)).split()))
    told = text[:200] if any(character.isalpha() for character in text) else f"{type(error).__name__} {text[:200]}"
    return told.strip()


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


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """What EXIF or XMP says of how a decoded image is to be turned, and what to say where that cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)), ()
    except Exception:  # Pillow's EXIF reader trusts what it reads; the pixels are good all the same
        return 1, (DAMAGED_EXIF,)


def size_of(image: Image.Image) -> tuple[int, int]:
    """Width and height the right way up, of an image that is not decoded yet, nor is by this."""
    width, height = image.size
    if image.format == "TIFF":  # whose size Pillow has turned already
        return width, height
    try:
        orientation = int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))  # a PNG's own decodes it
    except Exception:
        orientation = 1
    return (height, width) if TURNED.get(orientation, (0,))[0] % 2 else (width, height)


def _metadata(image: Image.Image, reopen: Reopen, chunks: png.Chunks | None) -> Metadata:
    other = reopen() if image.format == "TIFF" else None
    return metadata.of(image, getattr(other, "fp", None), chunks)


def apply(image: Image.Image, reopen: Reopen = lambda: None, chunks: png.Chunks | None = None) -> Picture:
    """The picture of a Pillow image, decoded or not.

    ``reopen`` opens its file once more: of 16-bit colour both bytes are wanted, of a TIFF its EXIF. ``chunks`` are what a
    PNG said beside what Pillow was shown of it.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{width}x{height} holds no pixel")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels; split it first")
    if _is_sequence(image):
        raise ImageError(f"has {getattr(image, 'n_frames', 1)} frames; extract the one you want first")
    if image.mode == "F":
        raise ImageError("holds floating-point values; convert it to 8 or 16 bits first")
    bits = depth.bits(image)
    depth.refuse_garbled(image, bits)
    step = STEPS.get(depth.raw_mode(image), 1)
    levels = depth.levels(image, bits, reopen)  # before anything else loads the image
    image.load()
    tag, tag_error = tag_of(image, chunks)  # once it is decoded: chunks may stand at the end
    pixels, alpha = _planes(image, step) if levels is None else _planes_of_levels(levels, image)
    pixels = _grey_again(pixels, image, tag)
    orientation, notes = _orientation(image)
    said = _metadata(image, reopen, chunks)
    if notes:
        said = replace(said, exif=None)
    if image.mode in ("CMYK", "LAB"):
        said = replace(said, icc=None)  # they have been converted
    said = said.fitting(pixels.shape[2])
    if levels is not None:
        notes = (SIXTEEN_BIT, *notes)
    elif bits > 8:
        notes = (DEEPER.format(bits), *notes)
    return Picture(
        _turned(pixels, orientation),
        None if alpha is None else _turned(alpha, orientation),
        icc=said.icc,
        exif=said.exif,
        tag=tag,
        tag_error=tag_error,
        notes=tuple(dict.fromkeys((*notes, *said.notes))),
        xmp=said.xmp,
        iptc=said.iptc,
        dpi=said.dpi,
        colour=said.colour,
    )
