"""``carcli info``: what a PNG's tag says, and what this machine would use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from carcli.cli.common import SOME_FAILED, Json, allow_large_images, emit, say_error


def _file(path: Path) -> dict[str, Any]:
    from carcli.images import codec

    picture = codec.read(path)
    width, height = picture.size
    record: dict[str, Any] = {
        "file": str(path), "width": width, "height": height, "grey": picture.pixels.shape[2] == 1,
        "alpha": picture.alpha is not None, "icc_bytes": len(picture.icc or b""), "exif_bytes": len(picture.exif or b""),
        "tag": None, "tag_error": picture.tag_error,
    }  # fmt: skip
    if picture.tag is not None:
        record["tag"] = {**asdict(picture.tag), "padding": picture.tag.padding}
    return record


def _say_file(record: dict[str, Any]) -> None:
    kind = ("grey" if record["grey"] else "RGB") + (" with alpha" if record["alpha"] else "")
    print(f"{record['file']}: {record['width']}x{record['height']} {kind}")
    tag = record["tag"]
    if tag:
        print(f"  made by carcli with {tag['checkpoint']} (SHA-256 {tag['digest'][:12] or 'none'}), scale {tag['scale']}")
        print(f"  original {tag['width']}x{tag['height']}; restore it with: carcli up {record['file']}")
    elif record["tag_error"]:
        print(f"  {record['tag_error']}")
    else:
        print("  no carcli tag: an ordinary image")


def _machine() -> dict[str, Any]:
    import os
    import platform

    import torch

    import carcli
    from carcli.ops.resample import dispatch
    from carcli.runtime.device import has_bf16, pick_device, processor
    from carcli.weights import manifest, store

    device = pick_device("auto")
    path = dispatch.path_for(device)
    return {
        "carcli": carcli.__version__, "python": platform.python_version(), "torch": torch.__version__,
        "platform": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "device": str(device), "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "resampler": path.name, "resampler_note": path.reason,
        "bf16": has_bf16(device), "processor": processor(),
        "checkpoints": [e.id for e in manifest.entries() if store.state(e) != "missing"],
        "manifest": str(manifest.location()), "store": str(store.data_folder()), "cache": str(store.cache_folder()),
    }  # fmt: skip


def info(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Images to describe.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the tag in a PNG says; without a file, what this machine would use."""
    from carcli.errors import ImageError

    if not files:
        machine = _machine()
        if as_json:
            emit({"event": "machine", **machine})
        else:
            for name, value in machine.items():
                if value or value == 0:
                    print(f"{name.replace('_', ' '):>15}  {', '.join(value) if isinstance(value, list) else value}")
        return
    allow_large_images()
    failed = False
    for path in files:
        try:
            record = _file(path)
        except ImageError as error:
            failed = True
            say_error(f"{path}: {error}")
            if as_json:
                emit({"event": "file", "file": str(path), "error": str(error)})
            continue
        if as_json:
            emit({"event": "file", **record})
        else:
            _say_file(record)
    if failed:
        raise typer.Exit(SOME_FAILED)
