"""A checkpoint as a file: both networks of a pair in one safetensors file that describes itself.

Tensor names are those of the networks behind ``down.`` and ``up.``; the header's metadata
holds, under ``carcli``, a JSON object with id, family, scale, architecture arguments and, where it has one, carrier.

A file is read once, as bytes: what is checked is what is used. Nothing is built before the header
says that the file holds exactly the tensors of the networks that it describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from carcli.errors import WeightsError
from carcli.models.base import Pair
from carcli.models.registry import build, outline
from carcli.runtime.files import write_whole
from carcli.weights.description import MAX_DESCRIPTION, Description, check, content
from carcli.weights.header import Header
from carcli.weights.store import digest_of

FLOATS = ("F16", "BF16", "F32", "F64")  # what safetensors calls the numbers that weights may be stored as


def write(path: Path, description: Description, down: nn.Module, up: nn.Module, dtype: torch.dtype = torch.float16) -> str:
    """Write both networks' weights, whole or not at all; returns the file's SHA-256.

    Raises ``WeightsError`` for a description that none could read.
    """
    fields = asdict(description)
    if description.carrier is None:  # as files have it that know of none
        del fields["carrier"]
    check(fields, str(path))
    text = json.dumps(fields, sort_keys=True)
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{path}: its carcli description would be longer than {MAX_DESCRIPTION >> 10} kB")
    tensors = {f"{half}.{name}": t for half, net in (("down", down), ("up", up)) for name, t in net.state_dict().items()}
    stored = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    data = safetensors.save(stored, {"carcli": text})
    write_whole(path, lambda file: file.write(data))
    return digest_of(data)


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
