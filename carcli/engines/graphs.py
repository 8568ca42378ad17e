"""Graphs of networks for the engines that want them, kept in the cache folder: tracing one takes seconds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging

import torch

from carcli.engines.apart import graph
from carcli.errors import WeightsError
from carcli.export.metadata import metadata
from carcli.models.base import Half, Network
from carcli.runtime import paths
from carcli.runtime.files import write_whole
from carcli.weights.choose import Choice
from carcli.weights.store import MAX_BYTES, cache_folder, digest_of

DIGEST = 64  # characters that a cached file begins with: the SHA-256 of the rest

_log = logging.getLogger("carcli")


def graph_of(choice: Choice, network: Network, half: Half, precision: str) -> bytes:
    """The graph of a network that ``choice`` has, from the cache or made anew. Raises ``WeightsError`` where it cannot be one.

    A cached one is of the same checkpoint, version and torch, and is what was written: anything else is made again. Where
    the cache cannot be written, it is made each time.
    """
    said = metadata(choice, network, half, precision)
    key = hashlib.sha256(json.dumps([said, torch.__version__], sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "graphs" / f"{key}.onnx"
    with contextlib.suppress(OSError):
        kept = paths.read(path, MAX_BYTES)
        if digest_of(kept[DIGEST:]).encode() == kept[:DIGEST]:
            return kept[DIGEST:]
    _log.info("exporting %s for another engine: some seconds, once", said["checkpoint"])
    try:
        made = graph(choice, half, precision)
    except ValueError as error:
        raise WeightsError(f"{said['checkpoint']} is computed by torch alone ({error}); leave --backend out") from error
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(digest_of(made).encode() + made))
    return made
