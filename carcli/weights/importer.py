"""The CAR authors' checkpoints, in whatever form somebody has them, as checkpoints of the store.

Taken: ``kgn.pth`` (the resampler network) and ``usn.pth`` (EDSR) under any name, a folder or an
archive of them. Nothing is left behind where a file is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from carcli.errors import WeightsError
from carcli.models.base import Pair
from carcli.models.registry import build
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.runtime.paths import reason
from carcli.weights import checkpoint, manifest, state_dicts, store
from carcli.weights.checkpoint import fill
from carcli.weights.description import Description
from carcli.weights.manifest import Entry

SCALE_OF_TAPS = {49: 2, 169: 4}  # a kernel of 7x7 or 13x13
NAMES = {"down": "resampler network (kgn.pth)", "up": "EDSR (usn.pth)"}


@dataclass(frozen=True)
class Half:
    """One network's tensors and where they are from."""

    side: str  # "down" or "up"
    scale: int
    tensors: dict[str, Tensor]
    source: str


def _classify(tensors: dict[str, Tensor], source: str) -> Half:
    """Which network these are the weights of, from their names and shapes alone."""
    taps = next((t for n, t in tensors.items() if n.startswith("kernels_weight.4.") and n.endswith("weight")), None)
    if taps is not None and taps.dim() == 4 and taps.shape[0] in SCALE_OF_TAPS:
        return Half("down", SCALE_OF_TAPS[taps.shape[0]], tensors, source)
    if any(n.startswith("body.") for n in tensors) and any(n.startswith("tail.0.0.") for n in tensors):
        return Half("up", 4 if any(n.startswith("tail.0.2.") for n in tensors) else 2, tensors, source)
    raise WeightsError(f"{source}: holds neither the resampler network nor EDSR of the CAR authors")


def collect(paths: Iterable[Path]) -> dict[tuple[int, str], Half]:
    """Every network in files, folders and archives, by scale and side; each with its other half.

    Raises ``WeightsError`` that names the file at fault, or what is missing for a pair.
    """
    halves: dict[tuple[int, str], Half] = {}
    for source, tensors in (found for path in paths for found in state_dicts.read(path)):
        half = _classify(tensors, source)
        twin = halves.setdefault((half.scale, half.side), half)
        if twin is not half:
            raise WeightsError(f"{half.source} and {twin.source} are the same network at x{half.scale}; name one of them")
    for (scale, side), half in halves.items():
        other = "up" if side == "down" else "down"
        if (scale, other) not in halves:
            raise WeightsError(f"{half.source}: its {NAMES[other]} at x{scale} is missing; name both files")
    return halves


def _pair(entry: Entry, down: Half, up: Half) -> Pair:
    pair = build(entry.family, entry.scale, {"down": entry.down, "up": entry.up})
    assert isinstance(pair.down, ContentAdaptiveResampler)
    fill(pair.down.net, down.tensors, down.source)
    fill(pair.up, up.tensors, up.source)
    return pair


def _store(entry: Entry, pair: Pair) -> Path:
    target = store.checkpoint_path(entry)
    with store.writing(entry.id):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = checkpoint.write(target, Description.of(entry), pair.down, pair.up, dtype=torch.float32)
            store.pin(entry, digest)
        except OSError as error:
            raise WeightsError(f"{error.filename or target}: {reason(error)}; let CARCLI_HOME name another folder") from error
    return target


def import_files(paths: Iterable[Path]) -> list[tuple[Entry, Path]]:
    """Convert the authors' networks into checkpoints of the store, a pair at every scale that is there.

    Returns the checkpoints and their files. Raises ``WeightsError`` as ``collect`` does; nothing
    is stored then.
    """
    halves = collect(paths)
    official = {entry.scale: entry for entry in manifest.entries() if entry.archive}
    scales = sorted({scale for scale, _ in halves})
    pairs = [(official[s], _pair(official[s], halves[s, "down"], halves[s, "up"])) for s in scales]
    return [(entry, _store(entry, pair)) for entry, pair in pairs]
