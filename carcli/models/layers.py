"""Layers that several networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # DIV2K, in [0, 1]; EDSR and CAR


class MeanShift(nn.Conv2d):
    """A fixed 1x1 convolution that adds ``sign`` times the mean colour of DIV2K."""

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, 1)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.eye(3, device="cpu").view(3, 3, 1, 1))  # to compute on meta, torch would load its compiler
            self.bias.copy_(torch.tensor([sign * mean for mean in RGB_MEAN], device="cpu"))
        self.requires_grad_(False)


class ResidualBlock(nn.Module):
    """x + res_scale · conv3(ReLU(conv3(x))), zero padded, no normalisation (EDSR, figure 2c)."""

    def __init__(self, features: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.res_scale = res_scale

    @property
    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The one whose channels the ReLU lets through or silences, and the one they go into."""
        first, _, last = self.body
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        return first, last

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.body(x)
        if self.res_scale != 1:
            change = change * self.res_scale
        return change.add_(x)


def autocast_like(x: Tensor) -> Tensor:
    """``x`` in the precision that autocast computes with here, or as it is without autocast."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def start_small(blocks: nn.Module, factor: float = 0.1) -> None:
    """Scale the last convolution of every residual block down, so that a deep body starts near the identity."""
    with torch.no_grad():
        for block in blocks.modules():
            if isinstance(block, ResidualBlock):
                block.convolutions[1].weight.mul_(factor)


def start_at_zero(tail: nn.Conv2d, factor: float = 0.1) -> None:
    """A residual that begins small, or as nothing: a fresh encoder's LR is close to what it adds to."""
    with torch.no_grad():
        tail.weight.mul_(factor)
        if tail.bias is not None:
            tail.bias.zero_()


def bicubic_down(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic (a = -0.5, as Pillow's), (B, C, s·h, s·w) → (B, C, h, w), float32, not clamped."""
    hr = hr.float()
    if hr.shape[3] == scale:  # one pixel wide: torch (2.13) takes its first pass's result for another layout, and is wrong
        turned = hr.transpose(2, 3).contiguous()
        return F.interpolate(turned, scale_factor=1 / scale, mode="bicubic", antialias=True).transpose(2, 3)
    return F.interpolate(hr, scale_factor=1 / scale, mode="bicubic", antialias=True)


def bicubic_up(lr: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement (a = -0.5, as Pillow's), (B, C, h, w) → (B, C, s·h, s·w), float32, not clamped."""
    return F.interpolate(lr.float(), scale_factor=scale, mode="bicubic", antialias=True)


LUMA = (0.299, 0.587, 0.114)  # BT.601, full range: what the word grey means to Pillow and JPEG


def luma(rgb: Tensor) -> Tensor:
    """(B, 3, h, w) → (B, 1, h, w), float32."""
    weights = torch.tensor(LUMA, device=rgb.device).view(1, 3, 1, 1)
    return (rgb.float() * weights).sum(1, keepdim=True)
