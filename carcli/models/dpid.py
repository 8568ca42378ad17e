"""Detail-preserving downscaling (DPID: Weber et al., "Rapid, detail-preserving image downscaling", SIGGRAPH Asia 2016).

A pixel counts for more the more it differs from its surroundings, since what differs is the detail that a box filter loses.
λ says how much more: 0 is the box filter. ``dpid`` has λ = 1, the default of the authors' program, ``dpid-0.5`` the milder
0.5, the other value that the paper shows.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from carcli.models.base import Network
from carcli.models.registry import downscaler

ALIKE = 1e-6  # of the range: a distance that is as good as none, so that alike pixels count alike


class DpidDown(Network):
    """HR (B, C, s·h, s·w) in [0, 1] → LR (B, C, h, w): O_p = Σ_q I_q ‖I_q − Ĩ_p‖^λ / Σ_q ‖I_q − Ĩ_p‖^λ (equation 1).

    q are the pixels of p's cell, ‖·‖ is the distance in colour, and Ĩ is the box filtered image smoothed by
    (1 2 1)ᵀ(1 2 1) / 16, which repeats its edge beyond the border. Colours weigh together.
    """

    keeps_grey = True

    def __init__(self, scale: int, strength: float) -> None:
        super().__init__(scale)
        self.strength = strength
        self.multiple_of = scale
        self.halo = scale  # Ĩ sees one LR pixel further than its own
        self.tile = max(8, 512 // scale)

    def forward(self, hr: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(hr.float(), self.scale).unflatten(1, (hr.shape[1], -1))  # (B, C, s², h, w)
        guide = F.pad(cells.mean(2), (1, 1, 1, 1), mode="replicate")
        guide = (guide[..., :-2, :] + 2 * guide[..., 1:-1, :] + guide[..., 2:, :]) / 4
        guide = (guide[..., :-2] + 2 * guide[..., 1:-1] + guide[..., 2:]) / 4
        squared = (cells - guide.unsqueeze(2)).square_().sum(1, keepdim=True).clamp_(min=ALIKE**2)
        weights = squared.sqrt() if self.strength == 1 else squared.pow(self.strength / 2)
        weighted: Tensor = (cells * weights).sum(2) / weights.sum(2)
        return weighted


@downscaler("dpid", family="dpid", up="bicubic")
def dpid(scale: int) -> DpidDown:
    """λ = 1."""
    return DpidDown(scale, 1.0)


@downscaler("dpid-0.5", family="dpid-0.5", up="bicubic")
def mild_dpid(scale: int) -> DpidDown:
    """λ = 0.5."""
    return DpidDown(scale, 0.5)
