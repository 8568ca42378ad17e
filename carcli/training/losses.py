"""Training losses: reconstruction, and what keeps the LR an image."""

from __future__ import annotations

import torch
from torch import Tensor


def out_of_range(lr: Tensor) -> Tensor:
    """Mean distance of LR values from [0, 1]: what clamping would lose."""
    return (lr - lr.clamp(0, 1)).abs().mean()


def log_error(image: Tensor, target: Tensor) -> Tensor:
    """ln(1 + MSE / δ) of each image of a batch (B, C, h, w), averaged, with δ a quarter of an 8-bit level, squared.

    The mean of PSNRs is what fidelity is reported as, and this is it but for sign and scale: it
    weighs each image's error against that image's own, where the squared error listens to the hardest ones.
    """
    errors = (image - target).square().flatten(1).mean(1)
    return torch.log1p(errors * (4 * 255) ** 2).mean()
