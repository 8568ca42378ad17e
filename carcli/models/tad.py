"""Task-aware downscaling (Kim et al., ECCV 2018): an encoder that adds what a decoder needs to the bicubic LR.

``TadEncoder`` is the paper's principle in a network of our own size: everything happens at LR
resolution, after one pixel-unshuffle, and the decoder (the paper's TAU) has EDSR's body.
``PaperEncoder`` is the paper's own x2 network; its decoder is an EDSR of three blocks of 64
features with the progressive tail. ``GreyEncoder`` and ``GreyDecoder`` turn the principle to
colour: the size stays, and one channel holds what restores three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from carcli.models.layers import ResidualBlock, autocast_like, bicubic_down, luma, start_at_zero, start_small


@dataclass(frozen=True)
class TadConfig:
    scale: int
    features: int = 64
    blocks: int = 6
    guided: bool = True  # the bicubic LR is added; else the LR is predicted directly, as the paper's recursion does


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
        start_at_zero(self.tail)

    @property
    def halo(self) -> int:
        """HR pixels: every convolution reaches one LR pixel, bicubic reaches two."""
        return max(2 + 2 * self.config.blocks, 3) * self.scale

    def forward(self, hr: Tensor) -> Tensor:
        x = self.head(self.unshuffle(hr - 0.5))
        residual = cast(Tensor, self.tail(x + self.body(x))).float()
        return residual + (bicubic_down(hr, self.scale) if self.config.guided else 0.5)


@dataclass(frozen=True)
class PaperConfig:
    scale: int
    features: int = 64
    blocks: int = 3
    guided: bool = True


class PaperEncoder(nn.Module):
    """The paper's x2 encoder, ten convolutions: HR (B, 3, 2h, 2w) in [0, 1] → LR (B, 3, h, w), not clamped."""

    multiple_of = 2
    minimum = 2
    tile = 192

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        if config.scale != 2:
            raise ValueError(f"the TAD paper's encoder halves; scale {config.scale} is it again and again (--scale)")
        f = config.features
        self.config, self.scale = config, 2
        self.head = nn.Conv2d(3, f, 3, padding=1)
        self.shrink = nn.Sequential(nn.Conv2d(f, f // 4, 3, padding=1), nn.PixelUnshuffle(2))
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)), nn.Conv2d(f, f, 3, padding=1))
        self.tail = nn.Conv2d(f, 3, 3, padding=1)
        start_at_zero(self.tail)

    @property
    def halo(self) -> int:
        """HR pixels: two for the first two convolutions, and two for each of the others."""
        return 2 + 2 * (2 * self.config.blocks + 2)

    def forward(self, hr: Tensor) -> Tensor:
        x = self.shrink(self.head(hr - 0.5))
        residual = cast(Tensor, self.tail(x + self.body(x))).float()
        return residual + (bicubic_down(hr, 2) if self.config.guided else 0.5)


@dataclass(frozen=True)
class GreyConfig:
    scale: int
    features: int = 64
    blocks: int = 6
    cell: int = 2  # pixels a side that the network sees as one: 1 as in the paper, 2 is four times as fast


class _Grey(nn.Module):
    """What both directions are: residual blocks on cells of pixels, between ``inputs`` and ``outputs`` channels."""

    minimum = 1
    tile = 512
    scale = 1

    def __init__(self, config: GreyConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        if config.scale != 1:
            raise ValueError(f"grey keeps the size: its scale is 1, not {config.scale}")
        f, cell = config.features, config.cell
        self.config, self.multiple_of = config, cell
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(cell), nn.PixelShuffle(cell)
        self.head = nn.Conv2d(inputs * cell**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)), nn.Conv2d(f, f, 3, padding=1))
        self.tail = nn.Conv2d(f, outputs * cell**2, 3, padding=1)
        start_small(self.body)
        start_at_zero(self.tail)

    @property
    def halo(self) -> int:
        """Pixels: every convolution reaches one cell."""
        return (2 * self.config.blocks + 3) * self.config.cell

    def residual(self, x: Tensor) -> Tensor:
        """The head's output → what is added to the image, float32."""
        return cast(Tensor, self.shuffle(self.tail(x + self.body(x)).float()))


class GreyEncoder(_Grey):
    """RGB (B, 3, h, w) in [0, 1] → grey (B, 1, h, w): luma (BT.601) plus a learned residual, not clamped."""

    channels_out = 1

    def __init__(self, config: GreyConfig) -> None:
        super().__init__(config, 3, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        return luma(rgb) + self.residual(self.head(self.unshuffle(rgb - 0.5)))


class GreyDecoder(_Grey):
    """Grey (B, 1, h, w) in [0, 1] → RGB (B, 3, h, w), the grey itself plus a learned residual, not clamped."""

    channels_in = 1

    def __init__(self, config: GreyConfig) -> None:
        super().__init__(config, 1, 3)

    def forward(self, grey: Tensor) -> Tensor:
        with torch.autocast(grey.device.type, enabled=False):  # half precision would blur single levels
            x = self.head(self.unshuffle(grey.float() - 0.5))
        return grey.float() + self.residual(autocast_like(x))
