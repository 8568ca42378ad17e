"""The page's folder: what a web server hands out as it stands, once ``npm install`` has fetched onnxruntime-web into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from carcli.errors import CarcliError
from carcli.runtime.files import write_whole
from carcli.runtime.paths import reason
from carcli.version import __version__
from carcli.web.halved import halved

RUNTIME = "1.30.0"  # of onnxruntime-web, which the page was tested with
NETWORK = "up.onnx"
SLIDER = "slider.js"  # a part of the report's page and the server's too
TOLD = ("checkpoint", "digest", "scale", "multiple_of", "minimum", "halo", "tile", "channels_in", "channels_out")


def write_site(network: bytes, metadata: Mapping[str, Any], folder: Path, *, ordinary: bool = False) -> list[Path]:
    """Write a page that restores LR images in a browser with one upscaler, and return its files.

    Parameters: ``network``, the upscaler as an ONNX file's bytes: ``image`` (1, C, h, w) float32 in [0, 1] →
    (1, C', s·h, s·w), not clamped; ``metadata``, what an exported file says of itself (``checkpoint``, ``digest``, ``scale``,
    ``multiple_of``, ``minimum``, ``halo``, ``tile``, ``channels_in``, ``channels_out``); ``folder``, made where there is none,
    whose files of the same names are replaced, and others left alone; ``ordinary``, whether the model is for images without a
    tag too. Weights are stored in half precision and computed with in full.

    Raises ``CarcliError`` where nothing can be written.
    """
    files = {path.name: path.read_bytes() for path in (resources.files("carcli.web") / "page").iterdir() if path.is_file()}
    files[SLIDER] = (resources.files("carcli") / "pages" / SLIDER).read_bytes()
    files[NETWORK] = halved(network)
    files["model.json"] = _json({**{name: metadata[name] for name in TOLD}, "file": NETWORK, "ordinary": ordinary})
    files["package.json"] = _json(_package(metadata["checkpoint"]))
    written = []
    for name, data in sorted(files.items()):
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda file, data=data: file.write(data))  # type: ignore[misc]
        except OSError as error:
            raise CarcliError(f"{path}: cannot be written ({reason(error)}); name another folder with --web") from error
        written.append(path)
    return written


def _package(checkpoint: str) -> dict[str, Any]:
    return {
        "name": "carcli-page",
        "description": f"Restores in a browser what carcli {__version__} made small with {checkpoint}",
        "private": True,
        "type": "module",
        "scripts": {"postinstall": "node runtime.mjs"},
        "dependencies": {"onnxruntime-web": RUNTIME},
    }


def _json(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()
