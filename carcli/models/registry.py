"""From a family's name and a checkpoint's architecture arguments to its pair of networks.

A network registers itself, where it is defined, under the name that ``net`` gives it in
``down = { net = "base", … }`` and ``up = { net = "edsr", … }``. Every module of this package is
looked through, so that a new network is a new file here and nothing else.

A *family* is what its downscalers have in common; one of them is meant where ``net`` is not given:

* ``edsr``: content adaptive resamplers, with EDSR (CAR, arXiv 1907.12904)
* ``tad``: task-aware downscaling, a learned residual on the bicubic LR, restored by EDSR's body
  (TAD/TAU, ECCV 2018)
* ``irn``: invertible rescaling, one network for both ways (IRN, arXiv 2005.05650)
* ``bicubic`` and ``lanczos``: the classical baselines, without weights
* ``perceptual``, ``dpid``, ``dpid-0.5`` and ``l0``: classical downscalers that look at what they shrink
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

import carcli.models
from carcli.errors import WeightsError
from carcli.models.arguments import brief, check
from carcli.models.base import Network, Pair

Architecture = Mapping[str, Any]  # arguments of one half, as in a recipe: {"net": "base", "features": 64}
Builder = TypeVar("Builder", bound=Callable[..., Network])

EDSR = "edsr"  # the upscaler where nothing is said


@dataclass(frozen=True)
class Kind:
    """A registered network."""

    make: Callable[..., Network]
    config: type[Any] | None  # the dataclass of its arguments; None: it takes the scale alone
    up: str = EDSR  # of a downscaler: the upscaler where nothing is said

    def check(self, arguments: Architecture, scale: int) -> Architecture:
        """The arguments, with the scale. Raises ``WeightsError`` that names one that is unknown or out of bounds."""
        if "scale" in arguments:
            raise WeightsError("architecture argument scale is the checkpoint's, and not that of one half")
        return check(self.config, {"scale": scale, **arguments})

    def build(self, checked: Architecture) -> Network:
        """The network, of arguments that were checked."""
        return self.make(checked["scale"] if self.config is None else self.config(**checked))


DOWNSCALERS: dict[str, dict[str, Kind]] = {}  # by family and name
UPSCALERS: dict[str, Kind] = {}  # by name
DEFAULTS: dict[str, str] = {}  # by family: its downscaler where nothing is said


def downscaler(
    name: str, *, family: str, config: type[Any] | None = None, up: str = EDSR, default: bool = False
) -> Callable[[Builder], Builder]:
    """Registers a downscaler of a family: a class, or a function, that takes its ``config``.

    Parameters: ``config``, a dataclass with a field ``scale`` (without one the network takes the
    scale alone); ``up``, the upscaler that it is paired with where nothing is said; ``default``,
    whether it is the one meant where the family is named alone, as a family's only one is.
    Raises ``ValueError`` for a name that is taken.
    """

    def register(make: Builder) -> Builder:
        known = DOWNSCALERS.setdefault(family, {})
        if name in known:
            raise ValueError(f"family {family} has two downscalers {name!r}")
        known[name] = Kind(make, config, up)
        if default or family not in DEFAULTS:
            DEFAULTS[family] = name
        return make

    return register


def upscaler(name: str, *, config: type[Any] | None = None) -> Callable[[Builder], Builder]:
    """Registers an upscaler, for any family, as ``downscaler`` does."""

    def register(make: Builder) -> Builder:
        if name in UPSCALERS:
            raise ValueError(f"two upscalers are called {name!r}")
        UPSCALERS[name] = Kind(make, config)
        return make

    return register


def _look_through() -> None:
    """Import every network there is, so that it registers itself."""
    for module in pkgutil.iter_modules(carcli.models.__path__, "carcli.models."):
        importlib.import_module(module.name)


def _named(kinds: Mapping[str, Kind], arguments: Architecture, default: str, what: str) -> tuple[Kind, Architecture]:
    """The kind that ``net`` names, and the other arguments."""
    rest = dict(arguments)
    name = rest.pop("net", default)
    if not isinstance(name, str) or name not in kinds:
        raise WeightsError(f"unknown {what} {brief(name)} (known: {', '.join(sorted(kinds))})")
    return kinds[name], rest


def build(family: str, scale: int, architecture: Mapping[str, Architecture]) -> Pair:
    """The networks of a checkpoint, with fresh weights.

    ``architecture`` holds the arguments of ``down`` and ``up``. Raises ``WeightsError`` for an
    unknown family, network or argument, one out of bounds, and for halves that do not fit together.
    """
    _look_through()
    if family not in DOWNSCALERS:
        raise WeightsError(f"unknown family {brief(family)} (known: {', '.join(sorted(DOWNSCALERS))})")
    given = architecture.get("down", {})
    try:
        down, down_arguments = _named(DOWNSCALERS[family], given, DEFAULTS[family], f"downscaler of family {family}")
        up, up_arguments = _named(UPSCALERS, architecture.get("up", {}), down.up, "upscaler")
        down_arguments, up_arguments = down.check(down_arguments, scale), up.check(up_arguments, scale)
        pair = Pair(down.build(down_arguments), up.build(up_arguments))
        pair.up.match(pair.down)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"architecture of family {family} at scale {scale}: {error}") from error
    if pair.down.channels_out != pair.up.channels_in:
        raise WeightsError(
            f"architecture of family {family}: the LR image has {pair.down.channels_out} channels where it is made, "
            f"and {pair.up.channels_in} where it is restored"
        )
    return pair


def outline(family: str, scale: int, architecture: Mapping[str, Architecture]) -> Pair:
    """The same networks without memory, on torch's ``meta`` device: the names and shapes of their weights.

    Raises ``WeightsError`` as ``build`` does.
    """
    _look_through()  # on the device that is the usual one
    with torch.device("meta"):
        return build(family, scale, architecture)
