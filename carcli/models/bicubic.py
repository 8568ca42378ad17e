"""The classical baseline as a pair: bicubic down (antialiased) and bicubic up, as Pillow does them."""

from __future__ import annotations

from torch import Tensor, nn

from carcli.models.layers import bicubic_down, bicubic_up


class BicubicDown(nn.Module):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), not clamped."""

    minimum = 1

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = self.multiple_of = scale
        self.halo = 3 * scale  # the kernel is two LR pixels wide each way
        self.tile = max(8, min(512, 2048 // scale))

    def forward(self, hr: Tensor) -> Tensor:
        return bicubic_down(hr, self.scale)


class BicubicUp(nn.Module):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    multiple_of = 1
    minimum = 1
    halo = 3

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.tile = max(8, min(512, 2048 // scale))

    def forward(self, lr: Tensor) -> Tensor:
        return bicubic_up(lr, self.scale)
