"""What a picture is here: 8-bit pixels, and all that travels with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from carcli.errors import ImageError
from carcli.images.tag import Tag

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, C) levels


@dataclass(frozen=True)
class Picture:
    """An image as carcli works on it.

    ``pixels``: (H, W, 3) RGB or (H, W, 1) grey, uint8. ``alpha``: (H, W, 1) uint8 or None.
    ``icc``, ``exif``, ``xmp`` (UTF-8) and ``iptc``: raw bytes that are carried along. ``tag``: what ``down`` noted.
    ``tag_error``: why a tag that is there cannot be used. ``notes``: what a user should know. ``dpi``: horizontal
    and vertical. ``colour``: PNG chunks, kind and content, that say what levels mean (cICP, cHRM, gAMA, sRGB).
    ``lossy``: whether it was read from a file that keeps no exact levels. ``exact``: why every level is needed, so that a
    lossy file would lose what ``down`` has hidden; None where none is.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    tag: Tag | None = None
    tag_error: str | None = None
    notes: tuple[str, ...] = field(default=())
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour: tuple[tuple[bytes, bytes], ...] = ()
    exact: str | None = None
    lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def check(self) -> None:
        """Raise ``ImageError`` where the planes are not what they are said to be above."""
        for name, plane, channels in (("pixels", self.pixels, (1, 3)), ("alpha", self.alpha, (1,))):
            if plane is None:
                continue
            if plane.dtype != np.uint8 or plane.ndim != 3 or plane.shape[2] not in channels or plane.size == 0:
                shapes = " or ".join(f"(H, W, {n})" for n in channels)
                raise ImageError(f"its {name} are {plane.dtype} {plane.shape}, not uint8 {shapes}")
            if plane.shape[:2] != self.pixels.shape[:2]:
                raise ImageError(f"its alpha is {plane.shape[:2]}, its pixels are {self.pixels.shape[:2]}")

    def cropped(self, width: int, height: int) -> Picture:
        """Its upper left part of that size, which fits no tag any more."""
        alpha = None if self.alpha is None else self.alpha[:height, :width]
        return replace(self, pixels=self.pixels[:height, :width], alpha=alpha, tag=None, tag_error=None)

    def save(self, path: str | os.PathLike[str], quality: int | None = None, *, lossy: bool = False) -> None:
        """Write it with its alpha, profile, EXIF and tag, whole or not at all, as PNG, WebP, JPEG or AVIF, as the name says.

        ``quality``, 1 to 100: where None, WebP is lossless, and JPEG and AVIF have their usual one. ``lossy``: whether an
        LR image that needs every level may lose them. What the file cannot keep is warned of.

        Raises ``UsageError`` where ``path`` names another format, ``ImageError`` where it
        cannot be written.

        >>> import carcli
        >>> picture = carcli.load("bicubic", scale=4).down("tests/photos/eyes.png")
        >>> picture.save("small.webp")
        >>> carcli.up("small.webp").size
        (221, 161)
        """
        from carcli.images.codec import write  # which makes pictures, and so needs this file first

        write(path, self, quality, lossy)
