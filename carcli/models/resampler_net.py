"""ResamplerNet (Sun and Chen, arXiv 1907.12904): predicts CAR's kernels and offsets.

``ResamplerNet`` is the authors' network, key for key, at any width. ``BaseResamplerNet`` is
ours for laptops: everything happens at LR resolution after one pixel-unshuffle, and kernels are
predicted as a signed correction of a smoothing kernel. ``ContentAdaptiveResampler`` joins
either with the resampling itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from carcli.models.layers import MeanShift, ResidualBlock, start_small
from carcli.ops.resample import resample
from carcli.ops.resample.definition import Heads


class ResamplerHeads(NamedTuple):
    """Raw network outputs, each (B, k², h, w): kernel scores, and offsets before tanh."""

    kernels: Tensor
    offsets_h: Tensor
    offsets_v: Tensor


@dataclass(frozen=True)
class ResamplerConfig:
    scale: int  # 2 or 4
    features: int = 128  # of the blocks; half of it at HR, twice of it in the trunks
    blocks: int = 5

    @property
    def kernel_size(self) -> int:
        return 3 * self.scale + 1


def _conv(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    return [nn.ReflectionPad2d(size // 2), nn.Conv2d(inputs, outputs, size)]


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(*_conv(features, features), nn.LeakyReLU(0.2), *_conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.transform(x))


class _Downsample(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.downsample(x))


class _Upsample(nn.Module):
    def __init__(self, features: int, factor: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(nn.Conv2d(features, features * factor**2, 1), nn.PixelShuffle(factor))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.upsample(x))


class ResamplerNet(nn.Module):
    """HR (B, 3, H, W) in [0, 1] → heads at (H / s, W / s); H and W multiples of 8, at least 16."""

    heads: Heads = "clamp"
    multiple_of = 8
    minimum = 16
    tile = 128

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        if config.scale not in (2, 4):
            raise ValueError(f"ResamplerNet exists for scales 2 and 4, not {config.scale}")
        f, wide, taps = config.features, 2 * config.features, config.kernel_size**2
        self.config = config
        self.sub_mean = MeanShift(-1)
        self.ds_1 = nn.Sequential(*_conv(3, f // 2, 5), nn.LeakyReLU(0.2))
        self.ds_2 = _Downsample(f // 2, f)
        self.ds_4 = _Downsample(f, f)
        self.res_4 = nn.Sequential(*(_Block(f) for _ in range(config.blocks)))
        self.ds_8 = _Downsample(f, wide)
        self.kernels_trunk = self._trunk(wide)
        self.kernels_weight = self._head(wide, taps)
        self.offsets_trunk = self._trunk(wide)
        self.offsets_h_generation = self._head(wide, taps)
        self.offsets_v_generation = self._head(wide, taps)

    def _trunk(self, features: int) -> nn.Sequential:
        convolutions: list[nn.Module] = []
        for _ in range(3):
            convolutions += [*_conv(features, features), nn.ReLU()]
        up = _Upsample(features, 8 // self.config.scale)
        return nn.Sequential(*convolutions, up, *_conv(features, features), nn.ReLU())

    def _head(self, features: int, taps: int) -> nn.Sequential:
        return nn.Sequential(*_conv(features, features), nn.ReLU(), *_conv(features, taps))

    @property
    def halo(self) -> int:
        """HR pixels: 5x5 at 1, the blocks at 1/4, three convolutions at 1/8, three at 1/s."""
        return 2 + 8 * self.config.blocks + 3 * 8 + 3 * self.config.scale + 8

    def forward(self, hr: Tensor) -> ResamplerHeads:
        x = self.ds_4(self.ds_2(self.ds_1(self.sub_mean(hr))))
        x = self.ds_8(x + self.res_4(x))
        kernels = self.kernels_weight(self.kernels_trunk(x))
        offsets = self.offsets_trunk(x)
        return ResamplerHeads(kernels, self.offsets_h_generation(offsets), self.offsets_v_generation(offsets))


@dataclass(frozen=True)
class BaseResamplerConfig:
    scale: int
    features: int = 64
    blocks: int = 6

    @property
    def kernel_size(self) -> int:
        return 3 * self.scale + 1


class BaseResamplerNet(nn.Module):
    """HR (B, 3, s·h, s·w) in [0, 1] → ``residual`` heads at (h, w)."""

    heads: Heads = "residual"
    minimum = 1

    def __init__(self, config: BaseResamplerConfig) -> None:
        super().__init__()
        f, taps = config.features, config.kernel_size**2
        self.config = config
        self.multiple_of = config.scale
        self.tile = 384 if taps < 100 else 256  # LR pixels a side: three maps of all taps are what is large
        self.unshuffle = nn.PixelUnshuffle(config.scale)
        self.head = nn.Conv2d(3 * config.scale**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)))
        self.taps = nn.Conv2d(f, 3 * taps, 3, padding=1)
        start_small(self.body)
        with torch.no_grad():
            self.taps.weight.mul_(0.1)
            cast(Tensor, self.taps.bias).zero_()

    @property
    def halo(self) -> int:
        """HR pixels: every convolution reaches one LR pixel."""
        return (2 + 2 * self.config.blocks) * self.config.scale

    def forward(self, hr: Tensor) -> ResamplerHeads:
        x = self.head(self.unshuffle(hr - 0.5))
        return ResamplerHeads(*self.taps(x + self.body(x)).chunk(3, 1))


class ContentAdaptiveResampler(nn.Module):
    """A resampler network and the resampling it steers: HR (B, 3, H, W) in [0, 1] → LR, not clamped, not rounded."""

    def __init__(self, net: ResamplerNet | BaseResamplerNet) -> None:
        super().__init__()
        self.net = net
        self.scale = net.config.scale
        self.multiple_of = net.multiple_of
        self.minimum = net.minimum
        self.tile = net.tile  # LR pixels a side

    @property
    def halo(self) -> int:
        """HR pixels around a tile that its LR depends on, a multiple of ``multiple_of``."""
        reach = self.net.config.kernel_size // 2 + self.scale + 1
        return -(-max(self.net.halo, reach) // self.multiple_of) * self.multiple_of

    def forward(self, hr: Tensor) -> Tensor:
        heads = cast(ResamplerHeads, self.net(hr))
        return resample(hr, heads.kernels, heads.offsets_h, heads.offsets_v, self.scale, heads=self.net.heads)
