"""A super-resolver of somebody else's, as one of our networks: sizes, channels, and how far it sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from carcli.models.base import Network, Pair
from carcli.models.bicubic import BicubicDown

HALOS = (16, 32, 48)  # pixels of the input; what is not seen to suffice needs the whole image
CORE = 16  # pixels a side of what is compared
RING = 16  # pixels that the whole image has beyond the widest halo
SEAM = 0.5 / 255  # by which a tile may differ from the whole image


class Foreign(Network):
    """LR (B, 1 or 3, h, w) in [0, 1] → SR (B, the same, s·h, s·w); a grey network takes the channels one by one.

    Parameters: ``call`` makes SR (1, c, s·h, s·w) of an LR (1, c, h, w) by ``module``, which has the weights;
    ``channels``, 1 or 3, is c; ``window``, the side of the windows that it looks through, 1 where there are none;
    ``whole``, whether it is known to need the whole image.
    """

    tile = 192
    differentiable = False
    keeps_in_half = False  # nobody has measured it
    channels_last = False

    def __init__(
        self,
        module: nn.Module,
        call: Callable[[Tensor], Tensor],
        scale: int,
        *,
        channels: int = 3,
        multiple_of: int = 1,
        minimum: int = 1,
        window: int = 1,
        whole: bool = False,
        precisions: Sequence[str] = ("fp32",),
    ) -> None:
        super().__init__(scale)
        self.module, self._call = module, call
        self.channels_in = self.channels_out = channels
        self.multiple_of = math.lcm(multiple_of, window)  # a tile's windows are those of the whole image then
        self.minimum, self.whole = max(minimum, 1), whole
        self.precisions = tuple(precisions)

    def forward(self, lr: Tensor) -> Tensor:
        b, c, h, w = lr.shape
        singles = lr.contiguous().view(-1, self.channels_in, h, w).split(1)
        sr = torch.cat([self._call(single) for single in singles])
        if sr.shape[1:] != (self.channels_in, h * self.scale, w * self.scale):
            raise RuntimeError(f"the network makes {tuple(sr.shape[1:])} of {(self.channels_in, h, w)} (channels, height, width)")
        return sr.view(b, c, h * self.scale, w * self.scale)

    def channels_of(self, channels: int) -> int:
        return channels

    def measure_halo(self) -> int | None:
        """The narrowest halo at which tiles come out as the whole image does, by ``SEAM`` at most, tried on a probe.

        None where there is none such: a network that looks at all of the image needs all of it.
        """
        if self.whole:
            return None
        step = self.multiple_of
        halos = [-(-max(halo, self.minimum) // step) * step for halo in HALOS]
        first = -(-(max(halos) + RING) // step) * step  # of the core
        core = -(-CORE // step) * step
        image = _probe(2 * first + core, self.channels_in)
        with torch.no_grad():
            whole = _core(self(image), first * self.scale, core * self.scale)
            for halo in dict.fromkeys(halos):
                tile = _core(image, first - halo, core + 2 * halo)
                if bool(((_core(self(tile), halo * self.scale, core * self.scale) - whole).abs() <= SEAM).all()):
                    return halo
        return None


def _core(image: Tensor, first: int, side: int) -> Tensor:
    return image[:, :, first : first + side, first : first + side]


def _probe(side: int, channels: int) -> Tensor:
    """Something like a photograph: blurs and edges of all sizes, brighter in the middle so that tiles have another mean."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, channels, side, side)
    for cells in (3, 6, 12, 24, 48):
        noise = torch.rand(1, channels, cells, cells, generator=generator)
        image += nn.functional.interpolate(noise, (side, side), mode="nearest" if cells == 12 else "bicubic") / 5
    distance = torch.linspace(-1, 1, side).abs()
    return (image * (1 - 0.6 * torch.maximum(distance[:, None], distance[None, :]))).clamp(0, 1)


def pair(network: Foreign) -> Pair:
    """Beside the bicubic whose LR images it enlarges in a benchmark; it has no downscaler of its own."""
    return Pair(BicubicDown(network.scale), network)
