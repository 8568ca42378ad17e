"""Networks one after another: a scale that no single checkpoint has, out of those there are.

TAD (Kim et al., ECCV 2018) reaches x128 by applying its x2 pair again and again, without rounding
between. Downwards the first network sees the HR image; upwards the order is the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor, nn

from carcli.models.base import Network, Pair


class Cascade(Network):
    """Halves of pairs, in the order in which they work; shared where one is there several times.

    ``multiple_of``, ``minimum`` and ``halo`` are in pixels of the first network's input.
    """

    def __init__(self, steps: Sequence[Network], down: bool) -> None:
        super().__init__(math.prod(step.scale for step in steps))
        self.networks = nn.ModuleList(dict.fromkeys(steps))
        self._steps = tuple(steps)
        pixel = Fraction(1)  # of a step's input, in the first one's
        halo: Fraction | None = Fraction(0)
        multiple = minimum = 1
        for step in steps:
            multiple = math.lcm(multiple, (pixel * step.multiple_of).numerator)
            minimum = max(minimum, math.ceil(pixel * step.minimum))
            halo = None if halo is None or step.halo is None else halo + pixel * step.halo
            pixel = pixel * step.scale if down else pixel / step.scale
        self.multiple_of, self.minimum = multiple, minimum
        self.halo = None if halo is None else math.ceil(halo / multiple) * multiple
        self.tile = max(1, min(step.tile for step in steps) * steps[0].scale // self.scale)
        self.channels_in, self.channels_out = steps[0].channels_in, steps[-1].channels_out
        self.keeps_grey = all(step.keeps_grey for step in steps)
        self.keeps_in_half = all(step.keeps_in_half for step in steps)
        self.differentiable = all(step.differentiable for step in steps)

    @property
    def steps(self) -> Sequence[Network]:
        return self._steps

    def forward(self, image: Tensor) -> Tensor:
        for step in self.steps:
            image = step(image)
        return image


def cascade(pairs: Sequence[Pair]) -> Pair:
    """Pairs as one pair; the first one shrinks first and restores last."""
    return Pair(Cascade([p.down for p in pairs], down=True), Cascade([p.up for p in reversed(pairs)], down=False))
