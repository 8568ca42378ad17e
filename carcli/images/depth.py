"""Files of more than 8 bits a sample: all their bits, so that they are rounded; Pillow's decoders drop the lower half.

Of 16-bit colour a decoder gives one byte of each sample, and which one depends on the byte order that it is told: told
both, it gives both. What a decoder is known to get wrong is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carcli.errors import ImageError
from carcli.images.picture import Pixels

Levels = NDArray[np.uint16]  # (H, W) or (H, W, C), 0 to 65535
Reopen = Callable[[], Image.Image | None]  # the same file once more, not yet decoded; None where there is none

CONVERT = "convert it to 8 bits, or to a 16-bit PNG, first"
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # TIFF 6.0
WHITE_IS_ZERO, SEPARATE, UNSIGNED = 0, 2, 1
OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ of JPEG 2000 (ISO 15444-1, A.5.1)


def to_8_bit(values: NDArray[Any]) -> Pixels:
    """16-bit levels to the nearest 8-bit ones: 0 → 0, 65535 → 255."""
    wide = values.astype(np.uint32)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def bits(image: Image.Image) -> int:
    """Bits a sample of the file that an image is being read from; 8 where nothing says more."""
    if image.format == "TIFF":
        depths = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
        return max(depths) if isinstance(depths, tuple) and depths else 8
    if image.format == "JPEG2000":
        return _jpeg_2000_bits(image)
    if image.format == "PPM":
        arguments = _arguments(image)
        most = arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 255
        return 16 if most > 255 else 8
    depth = image.info.get("bit_depth", 8)  # HEIF's
    if isinstance(depth, int) and depth > 8:
        return depth
    return 16 if image.mode.startswith("I") or ";16" in raw_mode(image) else 8


def _arguments(image: Image.Image) -> Any:
    tile = getattr(image, "tile", None)
    return tile[0].args if tile else None


def raw_mode(image: Image.Image) -> str:
    """What the decoder is told of the layout; empty once an image is decoded."""
    arguments = _arguments(image)
    if isinstance(arguments, tuple):
        arguments = arguments[0] if arguments else ""
    return str(arguments or "")


def _jpeg_2000_bits(image: Image.Image) -> int:
    file = getattr(image, "fp", None)
    if file is None:
        return 16 if image.mode.startswith("I") else 8
    position = file.tell()
    file.seek(0)
    head = file.read(1 << 20)
    file.seek(position)
    at = head.find(CODESTREAM)
    count = int.from_bytes(head[at + 40 : at + 42], "big") if at >= 0 else 0
    depths = head[at + 42 : at + 42 + 3 * count : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=8)


def refuse_garbled(image: Image.Image, depth: int) -> None:
    """Raise ``ImageError`` for layouts of ``depth`` bits that Pillow decodes to something else; to be asked before it decodes."""
    if image.format == "JPEG2000" and depth > 8 and not image.mode.startswith("I"):
        raise ImageError(f"holds {depth}-bit JPEG 2000 colours, whose brightest its decoder makes black; {CONVERT}")
    if image.format != "TIFF":
        return
    tags = getattr(image, "tag_v2", {})
    if depth > 8 and tags.get(PLANES, 1) == SEPARATE and len(image.getbands()) > 1:
        raise ImageError(f"holds {depth}-bit colours in separate planes, which its decoder mixes up; {CONVERT}")
    formats = tags.get(SAMPLE_FORMAT, (UNSIGNED,))
    if depth > 8 and image.mode != "F" and any(kind != UNSIGNED for kind in formats):
        raise ImageError(f"holds {depth}-bit levels with a sign; {CONVERT}")
    if depth > 16 and image.mode != "F":
        raise ImageError(f"holds {depth}-bit levels; {CONVERT}")


def levels(image: Image.Image, depth: int, reopen: Reopen) -> Levels | None:
    """All ``depth`` bits of an image of more than 8, decoding it: (H, W), or (H, W, C) as its mode says; None for any other.

    Premultiplied alpha is taken out. Raises ``ImageError`` for levels that are no 16 bits.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey(image, depth)
    if raw_mode(image) == "LA;16B":
        return _grey_with_alpha(image, reopen)
    layout, _, order = raw_mode(image).partition(";")
    if order not in OTHER_BYTE or image.mode not in ("RGB", "RGBA", "CMYK"):
        return None
    premultiplied = layout == "RGBa"  # which the decoder would take out of each byte by itself
    high, low = reopen() if premultiplied else image, reopen()
    if high is None or low is None:
        return None
    if premultiplied:
        layout = "RGBA"
        _tell(high, f"{layout};{order}")
    _tell(low, f"{layout};{OTHER_BYTE[order]}")
    wide: Levels = np.bitwise_or(np.asarray(high).astype(np.uint16) << 8, np.asarray(low))
    return _without_premultiplication(wide) if premultiplied else wide


def _tell(image: Any, layout: str) -> None:
    """Let an image that is not decoded yet be decoded so."""
    image.tile = [
        tile._replace(args=layout if isinstance(tile.args, str) else (layout, *(tile.args or ())[1:])) for tile in image.tile
    ]


def _grey(image: Image.Image, depth: int) -> Levels:
    white_is_zero = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    values = np.asarray(image).astype(np.int64)
    if image.format == "JPEG2000" and depth < 16:
        values >>= 16 - depth  # where its decoder has shifted them to
    most = (1 << depth) - 1 if depth in range(9, 16) else 65535
    if values.min() < 0 or values.max() > most:
        raise ImageError("its grey values are outside 16 bits; convert it to 8 or 16 bits first")
    if white_is_zero:
        values = most - values
    return ((values * 65535 + most // 2) // most).astype(np.uint16)


def _grey_with_alpha(image: Image.Image, reopen: Reopen) -> Levels | None:
    """(H, W, 2): the four bytes of a pixel, which have the shape of an 8-bit RGBA pixel."""
    other = reopen()
    if other is None:
        return None
    _tell(other, "RGBA")
    wide: Levels = np.asarray(other).astype(np.uint16)
    both: Levels = np.bitwise_or(wide[..., 0::2] << 8, wide[..., 1::2])
    return both


def _without_premultiplication(wide: Levels) -> Levels:
    alpha = wide[..., 3:].astype(np.uint64)
    colours = np.minimum((wide[..., :3] * np.uint64(65535) + alpha // 2) // np.maximum(alpha, 1), 65535)
    return np.concatenate([np.where(alpha > 0, colours, 0).astype(np.uint16), wide[..., 3:]], 2)
