"""SRDenseNet (Tong et al., "Image super-resolution using dense skip connections", ICCV 2017), the form with all connections.

Eight dense blocks of eight convolutions of 16 features, whose 128 outputs together with the low-level features go into
every later block, and all of them through a bottleneck of 256 into one deconvolution for each doubling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.registry import upscaler
from carcli.models.upscaling import Upscaling, doublings

Some = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True)
class SrDenseNetConfig:
    """The size of an SRDenseNet; the defaults are the paper's."""

    scale: Scale  # 2, 4, 8…
    blocks: Some = 8
    layers: Some = 8  # of a block
    growth: Features = 16  # features that a layer adds
    bottleneck: Features = 256  # of what is enlarged
    on_bicubic: bool = False


class DenseBlock(nn.Module):
    """x (B, inputs, h, w) → what its layers make, (B, layers · growth, h, w); each sees what those before it made."""

    def __init__(self, inputs: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(growth * n or inputs, growth, 3, padding=1) for n in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        grown: list[Tensor] = []
        for layer in self.layers:
            grown.append(torch.relu(layer(torch.cat(grown, 1) if grown else x)))
        return torch.cat(grown, 1)


@upscaler("srdensenet", config=SrDenseNetConfig)
class SrDenseNet(Upscaling):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    tile = 128

    def __init__(self, config: SrDenseNetConfig) -> None:
        super().__init__(config.scale, config.on_bicubic)
        steps, wide = doublings(config.scale, "SRDenseNet"), config.bottleneck
        self.config = config
        self.halo = 1 + config.blocks * config.layers + 3  # the deconvolutions and the last convolution see less than 3
        f = config.layers * config.growth
        self.head = nn.Sequential(nn.Conv2d(3, f, 3, padding=1), nn.ReLU(inplace=True))
        self.body = nn.ModuleList(DenseBlock(f * (n + 1), config.layers, config.growth) for n in range(config.blocks))
        self.bottleneck = nn.Sequential(nn.Conv2d(f * (config.blocks + 1), wide, 1), nn.ReLU(inplace=True))
        enlarging: list[nn.Module] = []
        for _ in range(steps):
            enlarging += [nn.ConvTranspose2d(wide, wide, 3, 2, padding=1, output_padding=1), nn.ReLU(inplace=True)]
        last = nn.Conv2d(wide, 3, 3, padding=1)
        self.tail = nn.Sequential(*enlarging, last)
        self.start(last)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.seen(lr, self.head)
        for block in self.body:
            x = torch.cat([x, block(x)], 1)
        return self.finished(lr, self.tail(self.bottleneck(x)))
