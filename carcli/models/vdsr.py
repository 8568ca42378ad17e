"""VDSR (Kim et al., "Accurate image super-resolution using very deep convolutional networks", CVPR 2016).

Twenty convolutions make what is added to the bicubic enlargement: for any scale, at the cost of working at HR resolution.
The paper has one channel, Y (665 K weights, no biases); here are three, since a learned LR image has something in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.base import Network
from carcli.models.layers import autocast_like, bicubic_up, start_at_zero
from carcli.models.registry import upscaler


@dataclass(frozen=True)
class VdsrConfig:
    """The size of a VDSR; the defaults are the paper's."""

    scale: Scale
    features: Features = 64
    depth: Annotated[int, Field(ge=2, le=256)] = 20  # convolutions


@upscaler("vdsr", config=VdsrConfig)
class Vdsr(Network):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    def __init__(self, config: VdsrConfig) -> None:
        super().__init__(config.scale)
        f = config.features
        self.config = config
        self.halo = -(-config.depth // config.scale) + 3  # every convolution reaches one HR pixel, bicubic three LR pixels
        self.tile = max(16, 512 // config.scale)
        widths = [3, *[f] * (config.depth - 1), 3]
        convolutions = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False) for inputs, outputs in pairwise(widths)]
        for layer in convolutions:
            if not layer.weight.is_meta:  # where torch loads its compiler to draw nothing: a second
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # twenty layers without it pass nothing on
        start_at_zero(convolutions[-1])
        *hidden, last = convolutions
        self.body = nn.Sequential(*(layer for c in hidden for layer in (c, nn.ReLU(inplace=True))), last)

    def forward(self, lr: Tensor) -> Tensor:
        enlarged = bicubic_up(lr, self.scale)
        residual: Tensor = self.body(autocast_like(enlarged - 0.5))
        return enlarged + residual.float()
