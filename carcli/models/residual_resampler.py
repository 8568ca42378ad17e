"""The default downscaler: content adaptive resampling plus a learned residual.

CAR (Sun and Chen, arXiv 1907.12904) makes every LR pixel with a kernel of its own, one for all three
channels, and nothing added. TAD (Kim et al., ECCV 2018) adds a residual to the bicubic LR. Here both come
from one body: a kernel that corrects bicubic's, and three more channels that are added. Differently from
CAR the corrections are combinations of a learned basis of zero-sum kernels, without sample offsets, so that
the resampling is two ordinary convolutions and a sum, on any device. With nothing in the corrections this is
``TadEncoder``, and it can start from one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carcli.models.arguments import Blocks, Features, Scale
from carcli.models.base import Network
from carcli.models.layers import ResidualBlock, bicubic_down, start_at_zero, start_small
from carcli.models.registry import downscaler
from carcli.models.tad import TadEncoder


@dataclass(frozen=True)
class ResidualResamplerConfig:
    """The size of the default downscaler."""

    scale: Scale
    features: Features = 64  # of the blocks at LR resolution
    blocks: Blocks = 6
    basis: Features = 48  # kernels that every pixel's correction is a combination of
    fine_features: Features = 32  # of the blocks at twice the LR's resolution
    fine_blocks: Blocks = 0


class FineEncoder(nn.Module):
    """Residual blocks at twice the LR's resolution: HR (B, 3, s·h, s·w), centred on 0 → (B, features, h, w).

    Its last convolution starts at zero: a network that gains it computes what it did before.
    """

    def __init__(self, scale: int, fine_features: int, fine_blocks: int, features: int) -> None:
        super().__init__()
        if scale % 2:
            raise ValueError(f"blocks at twice the LR's resolution need an even scale, not {scale}")
        self.unshuffle = nn.PixelUnshuffle(scale // 2)
        self.head = nn.Conv2d(3 * (scale // 2) ** 2, fine_features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(fine_features) for _ in range(fine_blocks)))
        self.shrink = nn.PixelUnshuffle(2)
        self.tail = nn.Conv2d(4 * fine_features, features, 3, padding=1)
        start_small(self.body)
        start_at_zero(self.tail, 0)

    def forward(self, hr: Tensor) -> Tensor:
        added: Tensor = self.tail(self.shrink(self.body(self.head(self.unshuffle(hr)))))
        return added


@downscaler("residual", family="edsr", config=ResidualResamplerConfig)
class ResidualResampler(Network):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), not clamped."""

    tile = 384
    adds = ("fine", "coefficients", "basis")

    def __init__(self, config: ResidualResamplerConfig) -> None:
        super().__init__(config.scale)
        f, s = config.features, config.scale
        self.config = config
        self.multiple_of = s
        self.halo = self._halo()
        self.unshuffle = nn.PixelUnshuffle(s)
        self.head = nn.Conv2d(3 * s**2, f, 3, padding=1)
        self.fine = FineEncoder(s, config.fine_features, config.fine_blocks, f) if config.fine_blocks else None
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)))
        self.tail = nn.Conv2d(f, 3, 3, padding=1)
        self.coefficients = nn.Conv2d(f, config.basis, 3, padding=1)
        self.basis = nn.Parameter(torch.empty(config.basis, s**2, 3, 3))  # (J, s², 3, 3): 3s x 3s taps, unshuffled
        if not self.basis.is_meta:  # where torch loads its compiler to draw nothing: a second
            with torch.no_grad():
                self.basis.normal_().div_(3 * s)
        start_small(self.body)
        start_at_zero(self.tail)
        start_at_zero(self.coefficients, 0)

    def _halo(self) -> int:
        """HR pixels: every convolution at LR resolution reaches s of them, those of ``fine`` s / 2."""
        config, s = self.config, self.scale
        fine = -(-(1 + 2 * config.fine_blocks) * s // 2) if config.fine_blocks else 0
        return max(-(-(fine + (2 + 2 * config.blocks) * s) // s), 3) * s

    def correction(self, hr: Tensor, coefficients: Tensor) -> Tensor:
        """What the content adaptive kernels add to bicubic's LR: (B, 3, h, w) float32.

        ``coefficients`` (B, J, h, w): a pixel's correcting kernel is their combination of the basis, taken to
        sum 0, so that flat areas stay as they are. Beyond its border the image repeats its edge.
        """
        b, channels, height, width = hr.shape
        s = self.scale
        h, w = height // s, width // s
        planes = F.pad(hr.reshape(b * channels, 1, height, width), (s, s, s, s), mode="replicate")
        kernels = self.basis - self.basis.mean((1, 2, 3), keepdim=True)
        filtered = F.conv2d(F.pixel_unshuffle(planes, s), kernels).view(b, channels, -1, h, w)
        return (filtered.float() * coefficients.float().unsqueeze(1)).sum(2)

    def forward(self, hr: Tensor) -> Tensor:
        centred = hr - 0.5
        x = self.head(self.unshuffle(centred))
        if self.fine is not None:
            x = x + self.fine(centred)
        x = x + self.body(x)
        residual: Tensor = self.tail(x)
        return bicubic_down(hr, self.scale) + self.correction(centred, self.coefficients(x)) + residual.float()

    def can_start_from(self, other: Network) -> bool:
        return isinstance(other, TadEncoder | ResidualResampler)
