"""The classical baseline as a pair: bicubic down (antialiased) and bicubic up, as Pillow does them."""

from __future__ import annotations

from torch import Tensor

from carcli.models.base import ByChannel
from carcli.models.layers import bicubic_down, bicubic_up
from carcli.models.registry import downscaler, upscaler


@downscaler("bicubic", family="bicubic", up="bicubic")
@downscaler("bicubic", family="edsr")  # plain super-resolution
class BicubicDown(ByChannel):
    """HR (B, C, s·h, s·w) in [0, 1] → LR (B, C, h, w), not clamped."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.multiple_of = scale
        self.halo = 3 * scale  # the kernel is two LR pixels wide each way
        self.tile = max(8, min(512, 2048 // scale))

    def forward(self, hr: Tensor) -> Tensor:
        return bicubic_down(hr, self.scale)


@upscaler("bicubic")
class BicubicUp(ByChannel):
    """LR (B, C, h, w) in [0, 1] → SR (B, C, s·h, s·w), not clamped."""

    halo = 3

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.tile = max(8, min(512, 2048 // scale))

    def forward(self, lr: Tensor) -> Tensor:
        return bicubic_up(lr, self.scale)
