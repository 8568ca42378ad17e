"""A checkpoint as a file: both networks of a pair in one safetensors file that describes itself.

Tensor names are those of the networks behind ``down.`` and ``up.``; the header's metadata
holds, under ``carcli``, a JSON object with id, family, scale and architecture arguments.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from carcli.errors import WeightsError
from carcli.images.tag import MAX_SCALE
from carcli.models.base import Pair
from carcli.models.registry import build
from carcli.runtime.files import write_whole
from carcli.runtime.records import Record, complaint
from carcli.weights.manifest import Entry, Id

MAX_BYTES = 2 << 30  # no checkpoint of ours is near this


@dataclass(frozen=True)
class Description:
    """What a checkpoint is: enough to build its networks."""

    id: str
    family: str
    scale: int
    down: Mapping[str, Any] = field(default_factory=dict)  # architecture arguments of the downscaler
    up: Mapping[str, Any] = field(default_factory=dict)  # and of the upscaler

    @classmethod
    def of(cls, entry: Entry) -> Description:
        """Of a checkpoint of the manifest."""
        return cls(id=entry.id, family=entry.family, scale=entry.scale, down=entry.down, up=entry.up)


class _Stored(Record):
    """A description as a file holds it, whoever wrote that file."""

    id: Id
    family: str
    scale: Annotated[int, Field(ge=1, le=MAX_SCALE)]
    down: dict[str, Any] = Field(default_factory=dict)
    up: dict[str, Any] = Field(default_factory=dict)


def _check(fields: Mapping[str, Any], source: str) -> None:
    try:
        _Stored.model_validate(fields)
    except ValidationError as error:
        raise WeightsError(complaint(error, fields, source, _Stored)) from error


def write(path: Path, description: Description, down: nn.Module, up: nn.Module, dtype: torch.dtype = torch.float16) -> None:
    """Write both networks' weights, whole or not at all. Raises ``WeightsError`` for a description that none could read."""
    fields = asdict(description)
    _check(fields, str(path))
    tensors = {f"{half}.{name}": t for half, net in (("down", down), ("up", up)) for name, t in net.state_dict().items()}
    stored = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    data = save(stored, {"carcli": json.dumps(fields, sort_keys=True)})
    write_whole(path, lambda file: file.write(data))


def _open(path: Path) -> Any:
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise WeightsError(f"{path}: larger than any checkpoint ({MAX_BYTES >> 20} MB at most)")
        return safe_open(path, framework="pt", device="cpu")
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file, or a damaged one ({error})") from error


def describe(path: Path) -> Description:
    """The description stored in a checkpoint file. Raises ``WeightsError`` where there is none, or a malformed one."""
    with _open(path) as file:
        text = (file.metadata() or {}).get("carcli")
    try:
        fields = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: holds no carcli description; import it instead of naming it") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{path}: its carcli description is not a JSON object")
    _check(fields, f"{path}, its carcli description")
    return Description(**fields)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a network its weights.

    Raises ``WeightsError`` that names the first tensor that is missing, foreign, misshapen or not finite.
    """
    own = net.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing:
        raise WeightsError(f"{source}: tensor {missing[0]!r} is missing ({len(missing)} in all)")
    if extra:
        raise WeightsError(f"{source}: tensor {extra[0]!r} does not belong to this network ({len(extra)} in all)")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{source}: tensor {name!r} has shape {tuple(tensor.shape)}, the network wants {tuple(own[name].shape)}"
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{source}: tensor {name!r} is {tensor.dtype}, not floating point")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: tensor {name!r} holds values that are not finite; its training run broke")
        own[name] = tensor.float()
    net.load_state_dict(own)


def read(path: Path, description: Description) -> Pair:
    """Build the networks of ``description`` and fill them from a file, in float32, for inference.

    Raises ``WeightsError`` that names the first tensor that is missing, foreign or misshapen.
    """
    pair = build(description.family, description.scale, {"down": description.down, "up": description.up})
    with _open(path) as file:
        try:
            names = list(file.keys())
            for half, net in (("down", pair.down), ("up", pair.up)):
                prefix = f"{half}."
                fill(net, {n.removeprefix(prefix): file.get_tensor(n) for n in names if n.startswith(prefix)}, f"{path} ({half})")
        except SafetensorError as error:
            raise WeightsError(f"{path}: damaged ({error})") from error
    foreign = [n for n in names if not n.startswith(("down.", "up."))]
    if foreign:
        raise WeightsError(f"{path}: tensor {foreign[0]!r} belongs to neither half of the pair")
    for net in pair:
        net.eval().requires_grad_(False)
    return pair
