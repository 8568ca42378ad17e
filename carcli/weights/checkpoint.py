"""A checkpoint as a file: both networks of a pair in one safetensors file that describes itself.

Tensor names are those of the networks behind ``down.`` and ``up.``; the header's metadata
holds, under ``carcli``, a JSON object with id, family, scale, architecture arguments and, where it has one, carrier.

A file is read once, as bytes: what is checked is what is used. Nothing is built before the header
says that the file holds exactly the tensors of the networks that it describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from carcli.errors import WeightsError
from carcli.images.tag import MAX_SCALE
from carcli.models.base import Pair
from carcli.models.registry import build, outline
from carcli.runtime import paths
from carcli.runtime.files import write_whole
from carcli.runtime.records import Record, complaint
from carcli.weights.header import Header
from carcli.weights.manifest import Carrier, Entry, Id, variety
from carcli.weights.store import MAX_BYTES, digest_of

MAX_DESCRIPTION = 1 << 16  # characters of JSON
FLOATS = ("F16", "BF16", "F32", "F64")  # what safetensors calls the numbers that weights may be stored as


@dataclass(frozen=True)
class Description:
    """What a checkpoint is: enough to build its networks."""

    id: str
    family: str
    scale: int
    down: Mapping[str, Any] = field(default_factory=dict)  # architecture arguments of the downscaler
    up: Mapping[str, Any] = field(default_factory=dict)  # and of the upscaler
    carrier: str | None = None  # the lossy format that it was trained through (``jpeg``); None: LR images need every level

    @classmethod
    def of(cls, entry: Entry) -> Description:
        """Of a checkpoint of the manifest."""
        return cls(
            id=entry.id, family=entry.family, scale=entry.scale, down=entry.down, up=entry.up, carrier=entry.carrier or None
        )

    @property
    def variety(self) -> str:
        """Its family as users name it."""
        return variety(self.family, self.carrier)


class _Stored(Record):
    """A description as a file holds it, whoever wrote that file."""

    id: Id
    family: str
    scale: Annotated[int, Field(ge=1, le=MAX_SCALE)]
    down: dict[str, Any] = Field(default_factory=dict)
    up: dict[str, Any] = Field(default_factory=dict)
    carrier: Carrier | None = None


def _check(fields: Mapping[str, Any], source: str) -> None:
    try:
        _Stored.model_validate(fields)
    except ValidationError as error:
        raise WeightsError(complaint(error, fields, source, _Stored)) from error


def write(path: Path, description: Description, down: nn.Module, up: nn.Module, dtype: torch.dtype = torch.float16) -> str:
    """Write both networks' weights, whole or not at all; returns the file's SHA-256.

    Raises ``WeightsError`` for a description that none could read.
    """
    fields = asdict(description)
    if description.carrier is None:  # as files have it that know of none
        del fields["carrier"]
    _check(fields, str(path))
    text = json.dumps(fields, sort_keys=True)
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{path}: its carcli description would be longer than {MAX_DESCRIPTION >> 10} kB")
    tensors = {f"{half}.{name}": t for half, net in (("down", down), ("up", up)) for name, t in net.state_dict().items()}
    stored = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    data = safetensors.save(stored, {"carcli": text})
    write_whole(path, lambda file: file.write(data))
    return digest_of(data)


def content(path: Path) -> bytes:
    """A checkpoint's file as bytes. Raises ``WeightsError`` where it cannot be read, or is larger than any checkpoint."""
    try:
        return paths.read(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such checkpoint file") from error
    except OSError as error:
        raise WeightsError(f"{path}: {paths.reason(error)}") from error


def describes_itself(data: bytes, source: str) -> bool:
    """Whether a safetensors file says that it is a checkpoint of carcli's. Raises ``WeightsError`` for a damaged one."""
    return "carcli" in Header.parse(data, source).metadata


def description(data: bytes, source: str) -> Description:
    """The description stored in a checkpoint.

    Raises ``WeightsError``, which names ``source``, where there is none, or a malformed one.
    """
    text = Header.parse(data, source).metadata.get("carcli", "")
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{source}: its carcli description is longer than {MAX_DESCRIPTION >> 10} kB")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source}: holds no carcli description; import it instead of naming it") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{source}: its carcli description is not a JSON object")
    _check(fields, f"{source}, its carcli description")
    return Description(**{**fields, "carrier": fields.get("carrier") or None})


def describe(path: Path) -> Description:
    """The description stored in a checkpoint's file. Raises ``WeightsError`` as ``content`` and ``description`` do."""
    return description(content(path), str(path))


def _check_names(own: Set[str], given: Set[str], source: str) -> None:
    missing, extra = sorted(own - given), sorted(given - own)
    if missing:
        raise WeightsError(f"{source}: tensor {missing[0]!r} is missing ({len(missing)} in all)")
    if extra:
        raise WeightsError(f"{source}: tensor {extra[0][:80]!r} does not belong to this network ({len(extra)} in all)")


def _check_shape(own: tuple[int, ...], given: tuple[int, ...], name: str, source: str) -> None:
    if given != own:
        raise WeightsError(f"{source}: tensor {name!r} has shape {given}, the network wants {own}")


def fill(net: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a network its weights.

    Raises ``WeightsError`` that names the first tensor that is missing, foreign, misshapen or not finite.
    """
    own = net.state_dict()
    _check_names(own.keys(), tensors.keys(), source)
    for name, tensor in tensors.items():
        _check_shape(tuple(own[name].shape), tuple(tensor.shape), name, source)
        if not tensor.is_floating_point():
            raise WeightsError(f"{source}: tensor {name!r} is {tensor.dtype}, not floating point")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: tensor {name!r} holds values that are not finite; its training run broke")
        own[name] = tensor.float()
    net.load_state_dict(own)


def _check_tensors(header: Header, pair: Pair, source: str) -> None:
    """That a file holds the tensors of the networks, each as numbers and of the right shape, and no other."""
    own = {f"{half}.{name}": t for half, net in pair._asdict().items() for name, t in net.state_dict().items()}
    _check_names(own.keys(), header.tensors.keys(), source)
    for name, tensor in header.tensors.items():
        _check_shape(tuple(own[name].shape), tensor.shape, name, source)
        if tensor.dtype not in FLOATS:
            raise WeightsError(f"{source}: tensor {name!r} is stored as {tensor.dtype[:20]!r}, not as one of {', '.join(FLOATS)}")


def networks(data: bytes, description: Description, source: str) -> Pair:
    """Build the networks of ``description`` and fill them from a checkpoint's bytes, in float32, for inference.

    Nothing is built before the file is known to hold just these networks. Raises ``WeightsError``, which names
    ``source`` and the first tensor that is missing, foreign, misshapen or not finite.
    """
    header = Header.parse(data, source)
    parts = description.family, description.scale, {"down": description.down, "up": description.up}
    try:
        expected = outline(*parts)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    _check_tensors(header, expected, source)
    pair = build(*parts)
    try:
        tensors = safetensors.load(data)
    except SafetensorError as error:
        raise WeightsError(f"{source}: a damaged safetensors file") from error
    for half, net in pair._asdict().items():
        prefix = f"{half}."
        fill(net, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, f"{source} ({half})")
        net.eval().requires_grad_(False)
    return pair


def read(path: Path, description: Description) -> Pair:
    """Both networks of a checkpoint's file. Raises ``WeightsError`` as ``content`` and ``networks`` do."""
    return networks(content(path), description, str(path))
