"""RCAN (Zhang et al., "Image super-resolution using very deep residual channel attention networks", ECCV 2018).

Channel attention weighs every channel by its mean over the image, which no tile knows: the network is shown the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.registry import upscaler
from carcli.models.upscaling import Upscaling, shuffled

Some = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True)
class RcanConfig:
    """The size of an RCAN; the defaults are the paper's."""

    scale: Scale  # 2, 3, 4, 8…
    groups: Some = 10
    blocks: Some = 20  # of a group
    features: Features = 64
    reduction: Features = 16  # of the features, within the attention
    on_bicubic: bool = False


class AttentionBlock(nn.Module):
    """x + a · conv3(ReLU(conv3(x))), a of every channel from all channels' means over the image."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        few = max(1, features // reduction)
        self.body = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(features, features, 3, padding=1)
        )
        self.attention = nn.Sequential(
            nn.Conv2d(features, few, 1), nn.ReLU(inplace=True), nn.Conv2d(few, features, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        change = self.body(x)
        added: Tensor = change * self.attention(change.mean((2, 3), keepdim=True))
        return x + added


class Group(nn.Module):
    """Blocks and a convolution behind them, added to their input."""

    def __init__(self, config: RcanConfig) -> None:
        super().__init__()
        f = config.features
        blocks = (AttentionBlock(f, config.reduction) for _ in range(config.blocks))
        self.body = nn.Sequential(*blocks, nn.Conv2d(f, f, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.body(x)
        return x + change


@upscaler("rcan", config=RcanConfig)
class Rcan(Upscaling):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    def __init__(self, config: RcanConfig) -> None:
        super().__init__(config.scale, config.on_bicubic)
        f = config.features
        self.config = config
        self.head = nn.Conv2d(3, f, 3, padding=1)
        self.body = nn.Sequential(*(Group(config) for _ in range(config.groups)), nn.Conv2d(f, f, 3, padding=1))
        last = nn.Conv2d(f, 3, 3, padding=1)
        self.tail = nn.Sequential(shuffled(f, config.scale, "RCAN"), last)
        self.start(last)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.seen(lr, self.head)
        return self.finished(lr, self.tail(x + self.body(x)))
