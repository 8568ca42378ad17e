"""Invertible rescaling (IRN: Xiao et al., ECCV 2020, arXiv 2005.05650).

One network is both halves. A Haar transform halves the image, and coupling blocks move what is left of the details between
its low frequencies, the LR image, and its high ones, z; backwards everything is undone exactly. Of an LR image z is not
known, and taken to be 0, its mean: what training must not leave in z is then what the restored image lacks, and the
paper's loss on the distribution of z is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.base import Network
from carcli.models.layers import start_at_zero
from carcli.models.registry import downscaler, upscaler
from carcli.models.upscaling import doublings

CLAMP = 1.0  # of the exponents that z is scaled by
REACH = 10  # pixels that a block sees each way: five convolutions, twice


@dataclass(frozen=True)
class IrnConfig:
    """The size of an IRN; the defaults are the paper's."""

    scale: Scale  # 2, 4, 8…
    blocks: Annotated[int, Field(ge=1, le=64)] = 8  # for each halving
    growth: Features = 32  # features that a layer of a dense block adds


def haar(x: Tensor) -> Tensor:
    """(B, C, 2h, 2w) → (B, 4C, h, w): all means of 2x2 first, then the differences across, down, and both ways."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 1) / 4


def unhaar(x: Tensor) -> Tensor:
    """(B, 4C, h, w) → (B, C, 2h, 2w), the inverse of ``haar``."""
    mean, across, down, both = x.chunk(4, 1)
    four = mean + across + down + both, mean - across + down - both, mean + across - down - both, mean - across - down + both
    return F.pixel_shuffle(torch.stack(four, 2).flatten(1, 2), 2)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all before it; four begin as little, the last as nothing, as in the paper."""

    def __init__(self, inputs: int, outputs: int, growth: int) -> None:
        super().__init__()
        widths = [*[growth] * 4, outputs]
        self.layers = nn.ModuleList(nn.Conv2d(inputs + n * growth, width, 3, padding=1) for n, width in enumerate(widths))
        *hidden, last = self.layers.children()
        for layer in hidden:
            start_at_zero(layer)  # type: ignore[arg-type]
        start_at_zero(last, 0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.cat([x, F.leaky_relu(layer(x), 0.2)], 1)
        made: Tensor = last(x)
        return made.float()  # what is added and taken away again is in single precision


class Coupling(nn.Module):
    """Low ↔ high (equations 5 and 6): low' = low + φ(high), high' = high · exp(ρ(low')) + η(low')."""

    def __init__(self, high: int, growth: int) -> None:
        super().__init__()
        self.phi, self.rho, self.eta = DenseBlock(high, 3, growth), DenseBlock(3, high, growth), DenseBlock(3, high, growth)

    def _exponent(self, low: Tensor) -> Tensor:
        return CLAMP * torch.tanh(self.rho(low) / 2)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        low = low + self.phi(high)
        return low, high * self._exponent(low).exp() + self.eta(low)

    def inverse(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        high = (high - self.eta(low)) * (-self._exponent(low)).exp()
        return low - self.phi(high), high


class Halving(nn.Module):
    """x (B, C, 2h, 2w) ↔ (B, 4C, h, w), of which the first three channels are the smaller image."""

    def __init__(self, channels: int, config: IrnConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Coupling(4 * channels - 3, config.growth) for _ in range(config.blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = haar(x)
        low, high = x[:, :3], x[:, 3:]
        for block in self.blocks:
            low, high = block(low, high)
        return torch.cat([low, high], 1)

    def inverse(self, x: Tensor) -> Tensor:
        low, high = x[:, :3], x[:, 3:]
        for block in reversed(self.blocks):
            low, high = block.inverse(low, high)  # type: ignore[operator]
        return unhaar(torch.cat([low, high], 1))


class Invertible(nn.Module):
    """HR (B, 3, s·h, s·w) ↔ LR (B, 3, h, w) and z (B, 3s² − 3, h, w)."""

    def __init__(self, config: IrnConfig) -> None:
        super().__init__()
        self.halvings = nn.ModuleList(Halving(3 * 4**n, config) for n in range(doublings(config.scale, "IRN")))

    def forward(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        x = hr.float()
        for halving in self.halvings:
            x = halving(x)
        return x[:, :3], x[:, 3:]

    def inverse(self, lr: Tensor, z: Tensor) -> Tensor:
        x = torch.cat([lr.float(), z.float()], 1)
        for halving in reversed(self.halvings):
            x = halving.inverse(x)  # type: ignore[operator]
        return x


@downscaler("irn", family="irn", config=IrnConfig, up="irn")
class InvertibleDown(Network):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), not clamped."""

    tile = 256

    def __init__(self, config: IrnConfig) -> None:
        super().__init__(config.scale)
        self.config = config
        self.invertible = Invertible(config)
        self.multiple_of = config.scale
        self.halo = self.reach * config.scale

    @property
    def reach(self) -> int:
        """LR pixels, in either direction: the blocks after each halving see ``REACH`` of its pixels each."""
        finest = REACH * self.config.blocks * (self.scale - 1)  # in pixels of the first halving: s/2 + … + 2 + 1 of it
        return -(-finest // (self.scale // 2))

    def forward(self, hr: Tensor) -> Tensor:
        lr: Tensor = self.invertible(hr)[0]
        return lr


@upscaler("irn")
class InvertibleUp(Network):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped: the downscaler's own network backwards, with z = 0.

    It has no weights: those of the downscaler that it is built beside are its too.
    """

    tile = 256

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self._network: tuple[Invertible, ...] = ()  # in a tuple it is no part of this one, and written but once

    def match(self, down: Network) -> None:
        if not isinstance(down, InvertibleDown):
            raise ValueError("irn restores what its own downscaler makes; name it for both, or for neither")
        self._network, self.halo = (down.invertible,), down.reach

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> InvertibleUp:
        """To a device or a layout, also where the downscaler is not taken there."""
        for network in self._network:
            network._apply(fn)
        super()._apply(fn, recurse)
        return self

    def forward(self, lr: Tensor) -> Tensor:
        (network,) = self._network
        b, _, h, w = lr.shape
        return network.inverse(lr, lr.new_zeros(b, 3 * self.scale**2 - 3, h, w))
