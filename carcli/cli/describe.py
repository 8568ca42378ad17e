"""What ``carcli info`` tells: of an image file, and of this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from carcli.cli.common import allow_large_images
from carcli.images import codec
from carcli.ops.resample import dispatch
from carcli.runtime.device import has_bf16, pick_device, processor
from carcli.version import __version__
from carcli.weights import manifest, store


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


def machine() -> dict[str, Any]:
    """Versions, device, kernels and folders that are used here."""
    device = pick_device("auto")
    path = dispatch.path_for(device)
    return {
        "carcli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "resampler": path.name,
        "resampler_note": path.reason,
        "bf16": has_bf16(device),
        "processor": processor(),
        "checkpoints": [entry.id for entry in manifest.entries() if store.state(entry) != "missing"],
        "manifest": str(manifest.location()),
        "store": str(store.data_folder()),
        "cache": str(store.cache_folder()),
    }
