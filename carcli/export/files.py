"""A checkpoint's networks as files: ``up.onnx`` and ``down.onnx``, each whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from carcli.errors import CarcliError, UsageError
from carcli.export.graph import graph
from carcli.export.metadata import metadata
from carcli.export.request import check, halves_of
from carcli.models.base import Half
from carcli.runtime.files import write_whole
from carcli.runtime.paths import reason
from carcli.weights.choose import Choice
from carcli.weights.loading import load
from carcli.weights.store import digest_of


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    half: Half
    path: Path
    bytes: int
    sha256: str  # of the file
    metadata: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def export(
    model: str,
    folder: str | Path,
    *,
    scale: int | None = None,
    precision: str = "fp32",
    halves: Sequence[Half] | None = None,
    overwrite: bool = False,
) -> list[Exported]:
    """Write the networks of ``model`` (a family, a checkpoint id or a file) into a folder, which is made where there is none.

    Parameters: ``scale``, None for the checkpoint's own, or 4; ``precision``, ``fp32`` or ``fp16``; ``halves``, ``down`` and
    ``up`` where the model has both. Raises ``UsageError``, ``WeightsError`` and, where nothing can be written,
    ``CarcliError``.

    >>> from carcli.export.files import export
    >>> [str(file.path) for file in export("tad-x4", "onnx")]  # doctest: +SKIP
    ['onnx/down.onnx', 'onnx/up.onnx']
    """
    folder = Path(folder)
    choice = check(model, folder, scale=scale, precision=precision, overwrite=overwrite)
    return write(choice, folder, precision, halves or halves_of(choice))


class Graph(NamedTuple):
    """A half of a checkpoint as an ONNX file's bytes, and what it says of itself."""

    half: Half
    metadata: dict[str, Any]
    data: bytes


def graphs(choice: Choice, precision: str, halves: Sequence[Half]) -> list[Graph]:
    """Halves of what was chosen. Raises as ``export`` does."""
    pair = load(choice)
    made = []
    for half in halves:
        network = getattr(pair, half)
        if precision not in network.precisions:
            raise UsageError(f"{choice.description.id} does not compute in {precision}; use {' or '.join(network.precisions)}")
        fields = metadata(choice, network, half, precision)
        try:
            made.append(Graph(half, fields, graph(network, precision, fields)))
        except ValueError as error:
            raise CarcliError(f"{choice.description.id}: its {half} network cannot be exported: {error}") from error
    return made


def write(choice: Choice, folder: Path, precision: str, halves: Sequence[Half]) -> list[Exported]:
    """Write halves of what was chosen; nothing is written before all of them are made. Raises as ``export`` does."""
    written = []
    for half, fields, data in graphs(choice, precision, halves):
        path = folder / f"{half}.onnx"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda file, data=data: file.write(data))  # type: ignore[misc]
        except OSError as error:
            raise CarcliError(f"{path}: cannot be written ({reason(error)}); name another folder with -o") from error
        written.append(Exported(half, path, len(data), digest_of(data), fields))
    return written
