"""ResamplerNet (Sun and Chen, arXiv 1907.12904): predicts CAR's kernels and offsets.

``ResamplerNet`` is the authors' network, key for key, at any width. ``BaseResamplerNet`` is
ours for laptops: everything happens at LR resolution after one pixel-unshuffle, and kernels are
predicted as a signed correction of a smoothing kernel. ``ContentAdaptiveResampler`` joins
either with the resampling itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from carcli.models.arguments import Blocks, Features, Scale
from carcli.models.base import Network
from carcli.models.layers import MeanShift, ResidualBlock, start_at_zero, start_small
from carcli.models.registry import downscaler
from carcli.models.resampler_heads import ResamplerHeads, offset_regularisers
from carcli.ops.resample import resample
from carcli.ops.resample.definition import Heads


class HeadsNet(nn.Module):
    """HR (B, 3, H, W) in [0, 1] → raw heads (B, k², H / s, W / s) with k = 3s + 1.

    ``multiple_of`` and the rest are as a ``Network``'s.
    """

    heads: Heads  # how kernels and offsets are made of them
    multiple_of: int
    minimum: int
    halo: int
    tile: int

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.kernel_size = 3 * scale + 1

    if TYPE_CHECKING:

        def __call__(self, hr: Tensor, /) -> ResamplerHeads: ...


@dataclass(frozen=True)
class ResamplerConfig:
    """The size of the authors' network; the defaults are theirs."""

    scale: Scale  # 2 or 4
    features: Features = 128  # of the blocks; half of it at HR, twice of it in the trunks
    blocks: Blocks = 5


def _conv(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    return [nn.ReflectionPad2d(size // 2), nn.Conv2d(inputs, outputs, size)]


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(*_conv(features, features), nn.LeakyReLU(0.2), *_conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.transform(x)
        return x + change


class _Downsample(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        smaller: Tensor = self.downsample(x)
        return smaller


class _Upsample(nn.Module):
    def __init__(self, features: int, factor: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(nn.Conv2d(features, features * factor**2, 1), nn.PixelShuffle(factor))

    def forward(self, x: Tensor) -> Tensor:
        larger: Tensor = self.upsample(x)
        return larger


class ResamplerNet(HeadsNet):
    """``clamp`` heads; H and W multiples of 8, at least 16."""

    heads: Heads = "clamp"
    multiple_of = 8
    minimum = 16
    tile = 128

    def __init__(self, config: ResamplerConfig) -> None:
        if config.scale not in (2, 4):
            raise ValueError(f"ResamplerNet exists for scales 2 and 4, not {config.scale}")
        if config.features < 2:
            raise ValueError("ResamplerNet has two features at least")
        super().__init__(config.scale)
        f, wide, taps = config.features, 2 * config.features, self.kernel_size**2
        self.config = config
        # HR pixels: 5x5 at 1, the blocks at 1/4, three convolutions at 1/8, three at 1/s
        self.halo = 2 + 8 * config.blocks + 3 * 8 + 3 * config.scale + 8
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

    def forward(self, hr: Tensor) -> ResamplerHeads:
        x = self.ds_4(self.ds_2(self.ds_1(self.sub_mean(hr))))
        x = self.ds_8(x + self.res_4(x))
        kernels = self.kernels_weight(self.kernels_trunk(x))
        offsets = self.offsets_trunk(x)
        return ResamplerHeads(kernels, self.offsets_h_generation(offsets), self.offsets_v_generation(offsets))


@dataclass(frozen=True)
class BaseResamplerConfig:
    """The size of the network for laptops."""

    scale: Scale
    features: Features = 64  # of the blocks at LR resolution
    blocks: Blocks = 6


class BaseResamplerNet(HeadsNet):
    """``residual`` heads; H and W multiples of s."""

    heads: Heads = "residual"
    minimum = 1

    def __init__(self, config: BaseResamplerConfig) -> None:
        super().__init__(config.scale)
        f, taps = config.features, self.kernel_size**2
        self.config = config
        self.multiple_of = config.scale
        self.halo = (2 + 2 * config.blocks) * config.scale  # every convolution reaches one LR pixel
        self.tile = 384 if taps < 100 else 256  # LR pixels a side: three maps of all taps are what is large
        self.unshuffle = nn.PixelUnshuffle(config.scale)
        self.head = nn.Conv2d(3 * config.scale**2, f, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(f) for _ in range(config.blocks)))
        self.taps = nn.Conv2d(f, 3 * taps, 3, padding=1)
        start_small(self.body)
        start_at_zero(self.taps)

    def forward(self, hr: Tensor) -> ResamplerHeads:
        x = self.head(self.unshuffle(hr - 0.5))
        return ResamplerHeads(*self.taps(x + self.body(x)).chunk(3, 1))


class ContentAdaptiveResampler(Network):
    """A resampler network and the resampling it steers: HR (B, 3, H, W) in [0, 1] → LR, not clamped, not rounded."""

    keeps_grey = True  # one kernel makes all channels
    resample: Callable[..., Tensor] = staticmethod(resample)  # or what computes the same in other operations

    def __init__(self, net: HeadsNet) -> None:
        super().__init__(net.scale)
        self.net = net
        self.multiple_of, self.minimum, self.tile = net.multiple_of, net.minimum, net.tile
        reach = net.kernel_size // 2 + net.scale + 1
        self.halo = -(-max(net.halo, reach) // net.multiple_of) * net.multiple_of

    def _resampled(self, hr: Tensor, heads: ResamplerHeads) -> Tensor:
        return self.resample(hr, *heads, self.scale, heads=self.net.heads)

    def forward(self, hr: Tensor) -> Tensor:
        return self._resampled(hr, self.net(hr))

    def penalised(self, hr: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """Its penalties are CAR's ``offset_distance`` and ``partial_tv``."""
        distance_weight = weights.get("offset_distance", 0.0)
        tv_weight = weights.get("partial_tv", 0.0)
        if not (distance_weight or tv_weight):
            return super().penalised(hr, weights)
        heads = self.net(hr)
        lr = self._resampled(hr, heads)
        distance, tv = offset_regularisers(heads, self.scale, self.net.heads)
        return lr, distance_weight * distance + tv_weight * tv


@downscaler("paper", family="edsr", config=ResamplerConfig, default=True)
def paper_resampler(config: ResamplerConfig) -> ContentAdaptiveResampler:
    """The downscaler of the CAR authors."""
    return ContentAdaptiveResampler(ResamplerNet(config))


@downscaler("base", family="edsr", config=BaseResamplerConfig)
def base_resampler(config: BaseResamplerConfig) -> ContentAdaptiveResampler:
    """The same idea for laptops."""
    return ContentAdaptiveResampler(BaseResamplerNet(config))
