"""Task-aware downscaling (Kim et al., ECCV 2018): an encoder that adds what a decoder needs to the bicubic LR.

The paper's principle in networks of our own size: everything happens at LR resolution, between
one pixel-unshuffle and one pixel-shuffle, and the decoder (the paper's TAU) has EDSR's body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from carcli.models.layers import ResidualBlock, bicubic_down, start_small


@dataclass(frozen=True)
class TadConfig:
    scale: int
    features: int = 64
    blocks: int = 6


class TadEncoder(nn.Module):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), the bicubic LR plus a learned residual, not clamped."""

    minimum = 1
    tile = 384  # LR pixels a side

    def __init__(self, config: TadConfig) -> None:
        super().__init__()
        f = config.features
        self.config = config
        self.scale = self.multiple_of = config.scale
        self.unshuffle = nn.PixelUnshuffle(config.scale)
        self.head = nn.Conv2d(3 * config.scale**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)))
        self.tail = nn.Conv2d(f, 3, 3, padding=1)
        start_small(self.body)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)
            cast(Tensor, self.tail.bias).zero_()

    @property
    def halo(self) -> int:
        """HR pixels: every convolution reaches one LR pixel, bicubic reaches two."""
        return max(2 + 2 * self.config.blocks, 3) * self.scale

    def forward(self, hr: Tensor) -> Tensor:
        x = self.head(self.unshuffle(hr - 0.5))
        return bicubic_down(hr, self.scale) + cast(Tensor, self.tail(x + self.body(x))).float()
