"""L0-regularised downscaling (after Liu, He and Lau, "L0-regularized image downscaling", IEEE TIP 2018).

The paper has two sparse priors: on the gradients of the LR image, so that the most salient edges are what stays, and on the
matrix that downscales, so that a pixel is estimated from those neighbours that suit it best. Here they are one energy,

    E(X, D) = ‖X − D Y‖² + λ ‖∇X‖₀,  where a row of D averages half of a cell of the original Y,

of the LR image X and the matrix D. It is brought down by half-quadratic splitting, as in L0 gradient minimisation (Xu et
al., SIGGRAPH Asia 2011, algorithm 1), with D fitted to X between the steps: the half of a cell that is nearest to its
pixel. λ and κ are the first values of those that the authors' program offers. How the second prior is kept is ours, and
so is the border, which is mirrored where Xu et al. wrap around: figures of this are not the paper's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.models.base import Network
from carcli.models.registry import downscaler

LAMBDA = 2e-4  # what an edge costs, for values in [0, 1]
KAPPA = 2.0  # β grows by this a step, from 2λ
BETA_MAX = 1e5


def _suiting(cells: Tensor, x: Tensor) -> Tensor:
    """The mean of the half of every cell (1, C, n, h, w) that is nearest to its pixel of ``x`` (1, C, h, w)."""
    distance = (cells - x.unsqueeze(2)).square_().sum(1, keepdim=True)
    farthest = distance.kthvalue(-(-cells.shape[2] // 2), dim=2, keepdim=True).values
    chosen = (distance <= farthest).float()
    mean: Tensor = (cells * chosen).sum(2) / chosen.sum(2)
    return mean


def _energy(length: int, device: torch.device) -> Tensor:
    """|DFT|² of the difference of neighbours on a line of ``length`` pixels."""
    angle = torch.arange(length, device=device, dtype=torch.float64) * (2 * torch.pi / length)
    return (2 - 2 * angle.cos()).float()


def _edges(x: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Differences of neighbours along rows and columns, 0 where they are not worth an edge in all channels together."""
    across, along = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))  # 0 at the mirror
    faint = (across.square() + along.square()).sum(1, keepdim=True) < least
    return across.masked_fill(faint, 0), along.masked_fill(faint, 0)


def _with_edges(data: Tensor, edges: tuple[Tensor, Tensor], beta: float, energy: Tensor) -> Tensor:
    """The image (1, C, h, w) that is nearest to ``data`` and, weighted by β, has the ``edges``: by Fourier, mirrored."""
    h, w = data.shape[2:]
    across, along = edges
    against = F.pad(across, (1, 0)).diff(dim=3) + F.pad(along, (0, 0, 1, 0)).diff(dim=2)
    half = data - beta * against
    mirrored = torch.cat([half, half.flip(3)], 3)
    spectrum = torch.fft.rfft2(torch.cat([mirrored, mirrored.flip(2)], 2)) / (1 + beta * energy)
    image: Tensor = torch.fft.irfft2(spectrum, s=(2 * h, 2 * w))[:, :, :h, :w]
    return image


@downscaler("l0", family="l0", up="bicubic")
class L0Down(Network):
    """HR (B, 3, s·h, s·w) in [0, 1] → LR (B, 3, h, w), not clamped. Colours have their edges together."""

    keeps_grey = True
    precisions = ("fp32",)
    differentiable = False  # what is an edge, and what not, has no slope

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.multiple_of = scale  # and no halo: an edge is settled with all others

    def forward(self, hr: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(hr.float(), self.scale).unflatten(1, (hr.shape[1], -1))  # (B, 3, s², h, w)
        return torch.cat([self._single(image) for image in cells.split(1)])

    def _single(self, cells: Tensor) -> Tensor:
        h, w = cells.shape[3:]
        energy = _energy(2 * h, cells.device)[:, None] + _energy(2 * w, cells.device)[None, : w + 1]
        x = cells.mean(2)
        beta = 2 * LAMBDA
        while beta < BETA_MAX:
            x = _with_edges(_suiting(cells, x), _edges(x, LAMBDA / beta), beta, energy)
            beta *= KAPPA
        return x
