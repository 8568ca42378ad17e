"""A Gaussian blur: what is left of a difference between two thumbnails for an eye that does not look at single pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3.0  # the window ends at so many standard deviations


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur every channel with a Gaussian of ``sigma`` pixels; beyond its border the image repeats its edge.

    (B, C, h, w) floating point, same out.
    """
    reach = math.ceil(REACH * sigma)
    position = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float64)
    window = torch.exp(-(position**2) / (2 * sigma**2))
    window = (window / window.sum()).to(image.dtype)
    b, c, h, w = image.shape
    planes = F.pad(image.reshape(b * c, 1, h, w), (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(planes, window.view(1, 1, 1, -1))
    return F.conv2d(planes, window.view(1, 1, -1, 1)).view(b, c, h, w)
