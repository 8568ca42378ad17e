"""What ``carcli info`` tells of an image file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carcli.images import codec
from carcli.images.formats import allow_large_images


def file(path: Path) -> dict[str, Any]:
    """An image's size, kind, metadata and tag. Raises ``ImageError`` where it cannot be read."""
    allow_large_images()
    picture, header = codec.read(path), codec.peek(path)
    width, height = picture.size
    return {
        "file": str(path),
        "format": None if header is None else header.format,
        "width": width,
        "height": height,
        "grey": picture.pixels.shape[2] == 1,
        "alpha": picture.alpha is not None,
        "icc_bytes": len(picture.icc or b""),
        "exif_bytes": len(picture.exif or b""),
        "xmp_bytes": len(picture.xmp or b""),
        "iptc_bytes": len(picture.iptc or b""),
        "dpi_x": picture.dpi[0] if picture.dpi else None,
        "dpi_y": picture.dpi[1] if picture.dpi else None,
        "tag": picture.tag.fields() if picture.tag is not None else None,
        "tag_error": picture.tag_error,
    }
