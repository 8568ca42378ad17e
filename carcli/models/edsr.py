"""EDSR (Lim et al., CVPRW 2017), the upscaler that CAR is trained with.

At 32 blocks of 256 features and the progressive tail it is the network of the CAR authors,
key for key. The base size replaces the tail, whose convolutions at HR resolution cost more
than half of a small network, by one convolution and one pixel shuffle, and adds the result
to the bicubic enlargement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from carcli.models.arguments import Blocks, Features, Scale
from carcli.models.base import Network
from carcli.models.layers import MeanShift, ResidualBlock, autocast_like, bicubic_up, start_at_zero, start_small
from carcli.models.registry import upscaler


@dataclass(frozen=True)
class EdsrConfig:
    """The size of an EDSR; the defaults are the CAR authors'."""

    scale: Scale  # 2 or 4 (any for the direct tail)
    features: Features = 256
    blocks: Blocks = 32
    res_scale: float = 0.1  # of what a block adds
    # doublings with convolutions between, or one pixel shuffle that is added to bicubic
    tail: Literal["progressive", "direct"] = "progressive"
    fine_features: Features = 32  # of the blocks at twice the LR's resolution (direct tail)
    fine_blocks: Blocks = 0


class FineDecoder(nn.Module):
    """Residual blocks at twice the LR's resolution: features (B, f, h, w) → (B, 3, s·h, s·w) to be added to the SR.

    Its last convolution starts at zero: a network that gains it computes what it did before.
    """

    def __init__(self, features: int, fine_features: int, fine_blocks: int, scale: int) -> None:
        super().__init__()
        if scale % 2:
            raise ValueError(f"blocks at twice the LR's resolution need an even scale, not {scale}")
        self.head = nn.Conv2d(features, 4 * fine_features, 3, padding=1)
        self.grow = nn.PixelShuffle(2)
        self.body = nn.Sequential(*(ResidualBlock(fine_features) for _ in range(fine_blocks)))
        self.tail = nn.Conv2d(fine_features, 3 * (scale // 2) ** 2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale // 2)
        start_small(self.body)
        start_at_zero(self.tail, 0)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.shuffle(self.tail(self.body(self.grow(self.head(x)))))
        return added


@upscaler("edsr", config=EdsrConfig)
class Edsr(Network):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    adds = ("fine",)

    def __init__(self, config: EdsrConfig) -> None:
        super().__init__(config.scale)
        f, s = config.features, config.scale
        self.config = config
        self.halo = self._halo()
        self.tile = 96 if config.tail == "progressive" else 512
        self.keeps_in_half = config.tail == "direct"  # else the SR itself is made in half precision: 0.03 dB
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(+1)
        self.head = nn.Sequential(nn.Conv2d(3, f, 3, padding=1))
        self.body = nn.Sequential(
            *(ResidualBlock(f, config.res_scale) for _ in range(config.blocks)),
            nn.Conv2d(f, f, 3, padding=1),
        )
        self.fine = FineDecoder(f, config.fine_features, config.fine_blocks, s) if config.fine_blocks else None
        if config.tail == "progressive":
            if config.fine_blocks:
                raise ValueError("blocks at twice the LR's resolution stand beside the direct tail only")
            if s not in (2, 4):
                raise ValueError(f"the progressive tail of EDSR exists for scales 2 and 4, not {s}")
            steps: list[nn.Module] = []
            for _ in range(s // 2):
                steps += [nn.Conv2d(f, 4 * f, 3, padding=1), nn.PixelShuffle(2)]
            self.tail = nn.Sequential(nn.Sequential(*steps), nn.Conv2d(f, 3, 3, padding=1))
        else:
            last = nn.Conv2d(f, 3 * s * s, 3, padding=1)
            self.tail = nn.Sequential(last, nn.PixelShuffle(s))
            start_small(self.body)
            with torch.no_grad():
                last.weight.mul_(0.1)

    def _halo(self) -> int:
        """LR pixels around a tile that its SR depends on."""
        convolutions = 1 + 2 * self.config.blocks + 1
        fine = 1 + -(-(1 + 2 * self.config.fine_blocks) // 2) if self.config.fine_blocks else 0
        return convolutions + max(fine, 3)  # the tail (its second step and last convolution need less than 2), or one and bicubic

    def forward(self, lr: Tensor) -> Tensor:
        with torch.autocast(lr.device.type, enabled=False):  # half precision would blur single LR levels
            x = self.head(self.sub_mean(lr.float()))
        x = autocast_like(x)
        x = x + self.body(x)
        sr: Tensor = self.tail(x)
        sr = self.add_mean(sr) if self.config.tail == "progressive" else bicubic_up(lr, self.scale) + sr.float()
        if self.fine is not None:
            sr = sr + self.fine(x).float()
        return sr
