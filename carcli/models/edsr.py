"""EDSR (Lim et al., CVPRW 2017), the upscaler that CAR is trained with.

At 32 blocks of 256 features and the progressive tail it is the network of the CAR authors,
key for key. The base size replaces the tail, whose convolutions at HR resolution cost more
than half of a small network, by one convolution and one pixel shuffle, and adds the result
to the bicubic enlargement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from carcli.models.layers import MeanShift, ResidualBlock, autocast_like, bicubic_up, start_small


@dataclass(frozen=True)
class EdsrConfig:
    scale: int  # 2 or 4 (any for the direct tail)
    features: int = 256
    blocks: int = 32
    res_scale: float = 0.1
    tail: Literal["progressive", "direct"] = "progressive"


class Edsr(nn.Module):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    multiple_of = 1
    minimum = 1  # pixels a side

    def __init__(self, config: EdsrConfig) -> None:
        super().__init__()
        f, s = config.features, config.scale
        self.config = config
        self.scale = s
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(+1)
        self.head = nn.Sequential(nn.Conv2d(3, f, 3, padding=1))
        self.body = nn.Sequential(
            *(ResidualBlock(f, config.res_scale) for _ in range(config.blocks)),
            nn.Conv2d(f, f, 3, padding=1),
        )
        if config.tail == "progressive":
            if s not in (2, 4):
                raise ValueError(f"the progressive tail of EDSR exists for scales 2 and 4, not {s}")
            steps: list[nn.Module] = []
            for _ in range(s // 2):
                steps += [nn.Conv2d(f, 4 * f, 3, padding=1), nn.PixelShuffle(2)]
            self.tail = nn.Sequential(nn.Sequential(*steps), nn.Conv2d(f, 3, 3, padding=1))
        else:
            self.tail = nn.Sequential(nn.Conv2d(f, 3 * s * s, 3, padding=1), nn.PixelShuffle(s))
            start_small(self.body)
            with torch.no_grad():
                cast(nn.Conv2d, self.tail[0]).weight.mul_(0.1)

    @property
    def halo(self) -> int:
        """LR pixels around a tile that its SR depends on."""
        convolutions = 1 + 2 * self.config.blocks + 1
        return convolutions + 3  # the tail (its second step and last convolution need less than 2), or one and bicubic

    @property
    def tile(self) -> int:
        """LR pixels a side of the default tile: activations stay within a few hundred MB."""
        return 96 if self.config.tail == "progressive" else 512

    def forward(self, lr: Tensor) -> Tensor:
        with torch.autocast(lr.device.type, enabled=False):  # half precision would blur single LR levels
            x = self.head(self.sub_mean(lr.float()))
        x = autocast_like(x)
        x = self.tail(x + self.body(x))
        if self.config.tail == "progressive":
            return cast(Tensor, self.add_mean(x))
        return bicubic_up(lr, self.scale) + cast(Tensor, x).float()
