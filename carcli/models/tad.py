"""Task-aware downscaling (Kim et al., ECCV 2018): an encoder that adds what a decoder needs to the bicubic LR.

``TadEncoder`` is the paper's principle in a network of our own size: everything happens at LR
resolution, after one pixel-unshuffle, and the decoder (the paper's TAU) has EDSR's body.
``PaperEncoder`` is the paper's own x2 network; its decoder is an EDSR of three blocks of 64
features with the progressive tail. ``GreyEncoder`` and ``GreyDecoder`` turn the principle to
colour: the size stays, and one channel holds what restores three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from carcli.models.arguments import Blocks, Cell, Features, Scale
from carcli.models.base import Network
from carcli.models.layers import ResidualBlock, autocast_like, bicubic_down, luma, start_at_zero, start_small
from carcli.models.registry import downscaler, upscaler


@dataclass(frozen=True)
class TadConfig:
    """The size of an encoder at LR resolution."""

    scale: Scale
    features: Features = 64
    blocks: Blocks = 6
    guided: bool = True  # the bicubic LR is added; else the LR is predicted directly, as the paper's recursion does


@downscaler("base", family="tad", config=TadConfig, default=True)
class TadEncoder(Network):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), the bicubic LR plus a learned residual, not clamped."""

    tile = 384

    def __init__(self, config: TadConfig) -> None:
        super().__init__(config.scale)
        f = config.features
        self.config = config
        self.multiple_of = config.scale
        # every convolution reaches one LR pixel, bicubic two
        self.halo = max(2 + 2 * config.blocks, 3) * config.scale
        self.unshuffle = nn.PixelUnshuffle(config.scale)
        self.head = nn.Conv2d(3 * config.scale**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)))
        self.tail = nn.Conv2d(f, 3, 3, padding=1)
        start_small(self.body)
        start_at_zero(self.tail)

    def forward(self, hr: Tensor) -> Tensor:
        x = self.head(self.unshuffle(hr - 0.5))
        residual: Tensor = self.tail(x + self.body(x))
        return residual.float() + (bicubic_down(hr, self.scale) if self.config.guided else 0.5)


@dataclass(frozen=True)
class PaperConfig:
    """The size of the paper's x2 encoder; the defaults are the paper's."""

    scale: Scale
    features: Features = 64
    blocks: Blocks = 3
    guided: bool = True


@downscaler("paper", family="tad", config=PaperConfig)
class PaperEncoder(Network):
    """The paper's x2 encoder, ten convolutions: HR (B, 3, 2h, 2w) in [0, 1] → LR (B, 3, h, w), not clamped."""

    multiple_of = 2
    minimum = 2
    tile = 192

    def __init__(self, config: PaperConfig) -> None:
        if config.scale != 2:
            raise ValueError(f"the TAD paper's encoder halves; scale {config.scale} is it again and again (--scale)")
        if config.features % 4:
            raise ValueError(f"the TAD paper's encoder has a multiple of 4 features, not {config.features}")
        super().__init__(2)
        f = config.features
        self.config = config
        # two for the first two convolutions, and two for each of the others
        self.halo = 2 + 2 * (2 * config.blocks + 2)
        self.head = nn.Conv2d(3, f, 3, padding=1)
        self.shrink = nn.Sequential(nn.Conv2d(f, f // 4, 3, padding=1), nn.PixelUnshuffle(2))
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)), nn.Conv2d(f, f, 3, padding=1))
        self.tail = nn.Conv2d(f, 3, 3, padding=1)
        start_at_zero(self.tail)

    def forward(self, hr: Tensor) -> Tensor:
        x = self.shrink(self.head(hr - 0.5))
        residual: Tensor = self.tail(x + self.body(x))
        return residual.float() + (bicubic_down(hr, 2) if self.config.guided else 0.5)


@dataclass(frozen=True)
class GreyConfig:
    """The size of either direction between colour and grey."""

    scale: Scale
    features: Features = 64
    blocks: Blocks = 6
    cell: Cell = 2  # pixels a side that the network sees as one: 1 as in the paper, 2 is four times as fast


class _Grey(Network):
    """What both directions are: residual blocks on cells of pixels, between ``inputs`` and ``outputs`` channels."""

    def __init__(self, config: GreyConfig, inputs: int, outputs: int) -> None:
        super().__init__(1)
        if config.scale != 1:
            raise ValueError(f"grey keeps the size: its scale is 1, not {config.scale}")
        f, cell = config.features, config.cell
        self.config = config
        self.channels_in, self.channels_out = inputs, outputs
        self.multiple_of = cell
        self.halo = (2 * config.blocks + 3) * cell  # every convolution reaches one cell
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(cell), nn.PixelShuffle(cell)
        self.head = nn.Conv2d(inputs * cell**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)), nn.Conv2d(f, f, 3, padding=1))
        self.tail = nn.Conv2d(f, outputs * cell**2, 3, padding=1)
        start_small(self.body)
        start_at_zero(self.tail)

    def residual(self, x: Tensor) -> Tensor:
        """The head's output → what is added to the image, float32."""
        added: Tensor = self.shuffle(self.tail(x + self.body(x)).float())
        return added


@downscaler("grey", family="tad", config=GreyConfig, up="grey")
class GreyEncoder(_Grey):
    """RGB (B, 3, h, w) in [0, 1] → grey (B, 1, h, w): luma (BT.601) plus a learned residual, not clamped."""

    def __init__(self, config: GreyConfig) -> None:
        super().__init__(config, 3, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        return luma(rgb) + self.residual(self.head(self.unshuffle(rgb - 0.5)))


@upscaler("grey", config=GreyConfig)
class GreyDecoder(_Grey):
    """Grey (B, 1, h, w) in [0, 1] → RGB (B, 3, h, w), the grey itself plus a learned residual, not clamped."""

    def __init__(self, config: GreyConfig) -> None:
        super().__init__(config, 1, 3)

    def forward(self, grey: Tensor) -> Tensor:
        with torch.autocast(grey.device.type, enabled=False):  # half precision would blur single levels
            x = self.head(self.unshuffle(grey.float() - 0.5))
        return grey.float() + self.residual(autocast_like(x))
