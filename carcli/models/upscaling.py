"""What the published super-resolvers have in common here: what they see, how they enlarge, what they add to.

The upscalers that CAR (arXiv 1907.12904, tables 2 and 3) is trained with are as their papers have them at their default sizes.
Trained for an hour and not for a week they do better where what they make is added to bicubic, as EDSR's direct tail does:
``on_bicubic``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carcli.models.base import Network
from carcli.models.layers import MeanShift, autocast_like, bicubic_up, start_at_zero


class Upscaling(Network):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped: DIV2K's mean colour is subtracted, and added again."""

    def __init__(self, scale: int, on_bicubic: bool) -> None:
        super().__init__(scale)
        self.on_bicubic = on_bicubic
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(+1)

    def seen(self, lr: Tensor, head: nn.Module) -> Tensor:
        """The first features, computed in single precision: half would blur single LR levels."""
        with torch.autocast(lr.device.type, enabled=False):
            x: Tensor = head(self.sub_mean(lr.float()))
        return autocast_like(x)

    def finished(self, lr: Tensor, sr: Tensor) -> Tensor:
        """The SR of what the last layer makes."""
        shifted: Tensor = self.add_mean(sr)
        return bicubic_up(lr, self.scale) + sr.float() if self.on_bicubic else shifted

    def start(self, last: nn.Conv2d) -> None:
        """Where it is added to bicubic, it begins as little."""
        if self.on_bicubic:
            start_at_zero(last)


def doublings(scale: int, name: str) -> int:
    """How often an image is doubled for a scale. Raises ``ValueError`` for a scale that is no power of 2."""
    times = scale.bit_length() - 1
    if scale < 2 or scale != 1 << times:
        raise ValueError(f"{name} doubles its images: its scales are 2, 4, 8…, not {scale}")
    return times


def shuffled(features: int, scale: int, name: str) -> nn.Sequential:
    """Features (B, f, h, w) → (B, f, s·h, s·w) by a convolution and a pixel shuffle for every doubling, or one for scale 3."""
    factors = [3] if scale == 3 else [2] * doublings(scale, name)
    steps: list[nn.Module] = []
    for factor in factors:
        steps += [nn.Conv2d(features, factor**2 * features, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*steps)


SHUFFLED_HALO = 3  # LR pixels that ``shuffled`` and a convolution behind it see: 1 + 1/2 + 1/4 + …, and 1
