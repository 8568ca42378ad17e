"""Networks one after another: a scale that no single checkpoint has, out of those there are.

TAD (Kim et al., ECCV 2018) reaches x128 by applying its x2 pair again and again, without rounding
between. Downwards the first network sees the HR image; upwards the order is the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from carcli.models.registry import Network, Pair


class Cascade(nn.Module):
    """Halves of pairs, in the order in which they work; shared where one is there several times.

    ``multiple_of``, ``halo`` and ``minimum`` are in pixels of the first network's input.
    """

    def __init__(self, steps: Sequence[nn.Module], down: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(dict.fromkeys(steps))
        self._order = [list(self.networks).index(step) for step in steps]
        nets = self.steps
        self.scale = math.prod(net.scale for net in nets)
        reach, at, multiple = 0.0, 1.0, 1
        for net in nets:
            reach += net.halo * at
            grown = 1 if down else round(1 / at)
            multiple = math.lcm(multiple, max(1, round(at)) * net.multiple_of // math.gcd(net.multiple_of, grown))
            at = at * net.scale if down else at / net.scale
        self.multiple_of = multiple
        self.halo = math.ceil(math.ceil(reach) / multiple) * multiple
        self.channels_in: int = getattr(nets[0], "channels_in", 3)
        self.channels_out: int = getattr(nets[-1], "channels_out", 3)
        self.minimum = max(net.minimum for net in nets)
        self.tile = max(1, min(net.tile for net in nets) * nets[0].scale // self.scale)

    @property
    def steps(self) -> list[Network]:
        """The networks, as often as they work."""
        return [cast(Network, self.networks[i]) for i in self._order]

    def forward(self, image: Tensor) -> Tensor:
        for step in self.steps:
            image = step(image)
        return image


def cascade(pairs: Sequence[Pair]) -> Pair:
    """Pairs as one pair; the first one shrinks first and restores last."""
    return Pair(Cascade([p.down for p in pairs], down=True), Cascade([p.up for p in reversed(pairs)], down=False))
