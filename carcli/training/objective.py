"""What a training step minimises: HR through both networks and the rounding between them, to one loss."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carcli.models.base import Pair
from carcli.models.layers import bicubic_down, luma
from carcli.ops.blur import gaussian_blur
from carcli.ops.quantise import LEVELS, quantise_soft, quantise_ste
from carcli.training import losses
from carcli.training.carrier import spread, through_jpeg
from carcli.training.recipe import Recipe

RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss, "log": losses.log_error}


class Terms(NamedTuple):
    """Scalars of one step: what is minimised, and how far the LR is from bicubic (mean absolute difference)."""

    loss: Tensor
    lr_distance: Tensor


def thumbnail(hr: Tensor, scale: int, channels: int) -> Tensor:
    """What an LR image is meant to look like: bicubic's, or the luma where it has one channel."""
    return bicubic_down(hr if channels == hr.shape[1] else luma(hr), scale)


class Objective(nn.Module):
    """A pair as one module whose output is its loss; a frozen half keeps its weights.

    With the downscaler frozen this is super-resolution training on that downscaler's images
    (the CAR paper's CAR‡); with a fixed upscaler, bicubic among them, the upscaler guides the
    downscaler alone.
    """

    def __init__(self, pair: Pair, recipe: Recipe) -> None:
        super().__init__()
        self.down, self.up, self.recipe = pair.down, pair.up, recipe
        self.frozen = recipe.model.freeze
        if self.frozen != "none":
            getattr(self, self.frozen).requires_grad_(False)

    def _downscale(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """The LR, in float32 and not rounded, and the sum of its regularisers."""
        loss = self.recipe.loss
        if self.frozen == "down":
            return self.down(hr).float(), hr.new_zeros(())
        weights = {"offset_distance": loss.offset_distance, "partial_tv": loss.partial_tv}
        lr, penalty = self.down.penalised(hr, weights)
        return lr.float(), penalty

    def forward(self, hr: Tensor, times: int = 1, guidance: Tensor | float = 1.0) -> Terms:
        """HR (B, 3, s·h, s·w) float32 in [0, 1] → the terms of its loss.

        The pair is applied ``times`` times, without rounding between: ``s`` is then its scale to that power.
        ``guidance`` is the share of the LR guidance's weight that counts yet.
        """
        weights = self.recipe.loss
        with torch.no_grad() if self.frozen == "down" else nullcontext():
            lr, total = self._downscale(hr)
            for _ in range(times - 1):
                lr = self.down(lr).float()
        sr = {"straight-through": quantise_ste, "soft": quantise_soft, "none": lambda x: x}[weights.rounding](lr)
        if weights.carrier == "jpeg":
            sr = through_jpeg(sr, spread(weights.carrier_quality, len(sr)))
        for _ in range(times):
            sr = self.up(sr).float()
        total = total + RECONSTRUCTION[weights.reconstruction](sr, hr)
        difference = lr - thumbnail(hr, self.recipe.model.scale**times, lr.shape[1])
        distance = difference.abs().mean()
        total = total + guidance * self._unlikeness(difference) + weights.out_of_range * losses.out_of_range(lr)
        return Terms(total, distance.detach())

    def _unlikeness(self, difference: Tensor) -> Tensor:
        """What the LR's difference from an ordinary thumbnail costs: that of single pixels, and that which is seen."""
        weights = self.recipe.loss
        pixels = difference.abs().mean() if weights.guidance == "l1" else LEVELS * difference.square().mean()
        cost = weights.lr_guidance * pixels
        if weights.seen_guidance:
            cost = cost + weights.seen_guidance * gaussian_blur(difference, weights.seen_sigma).abs().mean()
        return cost
