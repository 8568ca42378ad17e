"""RDN (Zhang et al., "Residual dense network for image super-resolution", CVPR 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.registry import upscaler
from carcli.models.upscaling import SHUFFLED_HALO, Upscaling, shuffled

Some = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True)
class RdnConfig:
    """The size of an RDN; the defaults are the paper's: D = 16, C = 8, G = G0 = 64."""

    scale: Scale  # 2, 3, 4, 8…
    blocks: Some = 16  # D
    layers: Some = 8  # C, convolutions of a block
    growth: Features = 64  # G, features that each adds
    features: Features = 64  # G0, between blocks
    on_bicubic: bool = False


class ResidualDenseBlock(nn.Module):
    """Every convolution sees the block's input and all that was made before it; a 1x1 fuses them, and the input is added."""

    def __init__(self, features: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(features + n * growth, growth, 3, padding=1) for n in range(layers))
        self.fusion = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        grown = x
        for layer in self.layers:
            grown = torch.cat([grown, torch.relu(layer(grown))], 1)
        fused: Tensor = self.fusion(grown)
        return x + fused


@upscaler("rdn", config=RdnConfig)
class Rdn(Upscaling):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    tile = 192

    def __init__(self, config: RdnConfig) -> None:
        super().__init__(config.scale, config.on_bicubic)
        f = config.features
        self.config = config
        self.halo = 2 + config.blocks * config.layers + 1 + SHUFFLED_HALO
        self.head, self.second = nn.Conv2d(3, f, 3, padding=1), nn.Conv2d(f, f, 3, padding=1)
        self.body = nn.ModuleList(ResidualDenseBlock(f, config.layers, config.growth) for _ in range(config.blocks))
        self.fusion = nn.Sequential(nn.Conv2d(f * config.blocks, f, 1), nn.Conv2d(f, f, 3, padding=1))
        last = nn.Conv2d(f, 3, 3, padding=1)
        self.tail = nn.Sequential(shuffled(f, config.scale, "RDN"), last)
        self.start(last)

    def forward(self, lr: Tensor) -> Tensor:
        shallow = self.seen(lr, self.head)
        x, deep = self.second(shallow), []
        for block in self.body:
            x = block(x)
            deep.append(x)
        return self.finished(lr, self.tail(shallow + self.fusion(torch.cat(deep, 1))))
