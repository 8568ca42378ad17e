"""From a family's name and a checkpoint's architecture arguments to its pair of networks.

What tiling and batching need to know of a network it says itself, as attributes of the module:
``scale``; ``multiple_of`` and ``minimum``, the sizes it takes, in its own input's pixels;
``halo``, the input pixels around a tile that the tile's result depends on; ``tile``, the side
of the default tile in LR pixels; ``channels_in`` and ``channels_out`` where they are not 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from torch import Tensor, nn

from carcli.errors import WeightsError
from carcli.models.bicubic import BicubicDown, BicubicUp
from carcli.models.edsr import Edsr, EdsrConfig
from carcli.models.lanczos import LanczosDown, LanczosUp
from carcli.models.resampler_net import (
    BaseResamplerConfig,
    BaseResamplerNet,
    ContentAdaptiveResampler,
    ResamplerConfig,
    ResamplerNet,
)
from carcli.models.residual_resampler import ResidualResampler, ResidualResamplerConfig
from carcli.models.tad import GreyConfig, GreyDecoder, GreyEncoder, PaperConfig, PaperEncoder, TadConfig, TadEncoder

Architecture = Mapping[str, Any]
Config = TypeVar("Config")
Kinds = Mapping[str, tuple[Callable[..., nn.Module], Callable[..., Any]]]  # what ``net`` may be: network and its config

RESAMPLERS: Kinds = {
    "paper": (ResamplerNet, ResamplerConfig),
    "base": (BaseResamplerNet, BaseResamplerConfig),
    "residual": (ResidualResampler, ResidualResamplerConfig),
}
ENCODERS: Kinds = {
    "base": (TadEncoder, TadConfig),
    "paper": (PaperEncoder, PaperConfig),
    "grey": (GreyEncoder, GreyConfig),
}


class Network(Protocol):
    """What every half of a pair offers."""

    scale: int
    multiple_of: int
    minimum: int

    @property
    def halo(self) -> int: ...

    @property
    def tile(self) -> int: ...

    def __call__(self, image: Tensor) -> Tensor: ...


class Pair(NamedTuple):
    """A downscaler and the upscaler that was trained with it."""

    down: nn.Module
    up: nn.Module


def configure(config: Callable[..., Config], arguments: Architecture, scale: int) -> Config:
    """A config dataclass from a checkpoint's arguments; an unknown one is an error that names it."""
    known = {field.name for field in fields(cast(Any, config))}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise WeightsError(f"unknown architecture argument {unknown[0]!r} (known: {', '.join(sorted(known))})")
    return config(scale=scale, **arguments)


def _upscaler(scale: int, architecture: Architecture) -> nn.Module:
    arguments = dict(architecture.get("up", {}))
    if arguments == {"net": "bicubic"}:
        return BicubicUp(scale)
    return Edsr(configure(EdsrConfig, arguments, scale))


def _downscaler(what: str, kinds: Kinds, default: str, scale: int, architecture: Architecture) -> nn.Module:
    """The network that ``net`` names, one of ``kinds``."""
    arguments = dict(architecture.get("down", {}))
    kind = arguments.pop("net", default)
    if kind not in kinds:
        raise WeightsError(f"unknown {what} {kind!r} (known: {', '.join(sorted(kinds))})")
    network, config = kinds[kind]
    return network(configure(config, arguments, scale))


def _edsr(scale: int, architecture: Architecture) -> Pair:
    if dict(architecture.get("down", {})) == {"net": "bicubic"}:  # plain super-resolution
        return Pair(BicubicDown(scale), _upscaler(scale, architecture))
    net = _downscaler("resampler network", RESAMPLERS, "paper", scale, architecture)
    if isinstance(net, ResamplerNet | BaseResamplerNet):
        return Pair(ContentAdaptiveResampler(net), _upscaler(scale, architecture))
    return Pair(net, _upscaler(scale, architecture))


def _tad(scale: int, architecture: Architecture) -> Pair:
    down = _downscaler("encoder", ENCODERS, "base", scale, architecture)
    if isinstance(down, GreyEncoder):
        return Pair(down, GreyDecoder(configure(GreyConfig, architecture.get("up", {}), scale)))
    return Pair(down, _upscaler(scale, architecture))


def _bicubic(scale: int, architecture: Architecture) -> Pair:
    return Pair(BicubicDown(scale), BicubicUp(scale))


def _lanczos(scale: int, architecture: Architecture) -> Pair:
    return Pair(LanczosDown(scale), LanczosUp(scale))


BUILDERS: dict[str, Callable[[int, Architecture], Pair]] = {
    "edsr": _edsr,
    "tad": _tad,
    "bicubic": _bicubic,
    "lanczos": _lanczos,
}


def build(family: str, scale: int, architecture: Architecture) -> Pair:
    """The networks of a checkpoint, with fresh weights.

    Raises ``WeightsError`` for an unknown family or architecture argument.
    """
    if family not in BUILDERS:
        raise WeightsError(f"unknown family {family!r} (known: {', '.join(BUILDERS)})")
    try:
        return BUILDERS[family](scale, architecture)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"architecture of family {family} at scale {scale}: {error}") from error
