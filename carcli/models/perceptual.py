"""Perceptual downscaling (Öztireli and Gross, "Perceptually based downscaling of images", SIGGRAPH 2015).

Of all images at LR resolution the one whose SSIM with the original is highest, patch by patch: every patch of the box
filtered image is stretched about its mean until its variance is that of the original beneath it, and where patches overlap
they are averaged. Patches are two LR pixels a side, as in the paper, channels are taken one by one, in sRGB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.models.base import ByChannel
from carcli.models.registry import downscaler

PATCH = 2  # LR pixels a side: the paper's √n_p
FLAT = 1e-6  # variance of a patch that is not stretched (the paper's ε)


@downscaler("perceptual", family="perceptual", up="bicubic")
class PerceptualDown(ByChannel):
    """HR (B, C, s·h, s·w) in [0, 1] → LR (B, C, h, w), not clamped.

    The paper's algorithm 1 with μ the box filtered image's mean over a patch, σ_l² its variance there, and σ_h² that of
    the original: σ_h² = σ_l² + the mean of the variances within the cells, which single precision bears better than a
    difference of squares. A patch is μ + (σ_h / σ_l) · (l − μ), or μ where it is flat.
    """

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.multiple_of = scale
        self.halo = scale  # the patches around an LR pixel end one pixel further
        self.tile = max(8, 512 // scale)

    def forward(self, hr: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(hr.float(), self.scale).unflatten(1, (hr.shape[1], -1))  # (B, C, s², h, w)
        box = cells.mean(2)
        within = (cells - box.unsqueeze(2)).square_().mean(2)
        side = [min(PATCH, n) for n in box.shape[2:]]  # an image of one row has patches of one row
        mean = F.avg_pool2d(box, side, 1)
        rows, columns = ([slice(i, i + n) for i in range(k)] for k, n in zip(side, mean.shape[2:], strict=True))
        pixels = [(y, x) for y in rows for x in columns]  # of a patch, for all patches at once
        variance = torch.stack([(box[:, :, y, x] - mean).square() for y, x in pixels]).mean(0)
        flat = variance < FLAT
        ratio = (1 + F.avg_pool2d(within, side, 1) / variance.masked_fill(flat, 1)).sqrt().masked_fill(flat, 0)
        total, count = torch.zeros_like(box), torch.zeros_like(box[:1, :1])
        for y, x in pixels:
            total[:, :, y, x] += mean + ratio * (box[:, :, y, x] - mean)
            count[:, :, y, x] += 1
        return total / count
