"""File formats: what is taken for an image, what is written, and what is too large."""

from __future__ import annotations

import os
from pathlib import Path

from carcli.errors import UsageError

MAX_PIXELS = 512_000_000  # more is taken for an attack, or for not a photograph
# what is taken for an image in a folder; files named one by one may have any suffix
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".qoi",
})  # fmt: skip
# known as images, but of kinds that cannot be read here
UNREAD = frozenset({
    ".heic", ".heif", ".hif", ".jxl", ".psd", ".psb", ".xcf", ".svg", ".svgz", ".exr",
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2",
    ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
WRITTEN = {".png": "PNG"}  # suffix → Pillow's name, of formats that keep every level and the tag


def written(path: str | os.PathLike[str]) -> Path:
    """A path that a picture can be written to. Raises ``UsageError`` for any other format."""
    path = Path(path)
    if path.suffix.lower() not in WRITTEN:
        raise UsageError(f"{path}: carcli writes PNG, because it is lossless; name a .png file")
    return path
