"""The geometric self-ensemble (Timofte et al., CVPR 2016; the + of EDSR+ and RCAN+): eight views of an image, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from carcli.models.base import Network

VIEWS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))  # quarter turns, then a mirror


class SelfEnsemble(Network):
    """LR (B, C, h, w) in [0, 1] → the mean of what the network makes of its eight views, turned back; not clamped."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.scale)
        self.network = network
        self.multiple_of, self.minimum, self.halo, self.tile = network.multiple_of, network.minimum, network.halo, network.tile
        self.channels_in, self.channels_out = network.channels_in, network.channels_out
        self.keeps_grey = network.keeps_grey
        self.differentiable = network.differentiable

    @property
    def steps(self) -> Sequence[Network]:
        """Each network of a cascade takes the mean of its own views, in tiles of its own."""
        several = self.network.steps
        return (self,) if len(several) == 1 else tuple(SelfEnsemble(step) for step in several)

    def shows_as_rgb(self, channels: int) -> bool:
        return self.network.shows_as_rgb(channels)

    def channels_of(self, channels: int) -> int:
        return self.network.channels_of(channels)

    def forward(self, lr: Tensor) -> Tensor:
        total = lr.new_zeros(())
        for turns, mirrored in VIEWS:
            view = torch.rot90(lr.flip(3) if mirrored else lr, turns, (2, 3))
            made = torch.rot90(self.network(view.contiguous()).float(), -turns, (2, 3))
            total = total + (made.flip(3) if mirrored else made)
        return total / len(VIEWS)
