"""Validation on held-out photographs: what the pair restores, and how far its LR is from bicubic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from carcli.bench.metrics import psnr_y
from carcli.models.layers import bicubic_down
from carcli.ops.quantize import to_float, to_uint8


class Fidelity(NamedTuple):
    """Mean PSNR in dB on Y, after 8-bit rounding of LR and SR."""

    hr: float
    lr: float


def _pixels(image: Tensor) -> Tensor:
    return to_uint8(image)[0].permute(1, 2, 0).cpu()


@torch.no_grad()
def validate(down: nn.Module, up: nn.Module, crops: Sequence[Tensor], scale: int, device: torch.device) -> Fidelity:
    """Restore every crop (1, 3, h, w) and average the PSNR of SR against HR, and of LR against bicubic."""
    hr_db, lr_db = [], []
    for crop in crops:
        hr = crop.to(device)
        lr = to_uint8(down(hr))
        sr = up(to_float(lr))
        hr_db.append(psnr_y(_pixels(hr).numpy(), _pixels(sr).numpy(), border=scale))
        reference = to_uint8(bicubic_down(hr, scale))
        lr_db.append(psnr_y(_pixels(to_float(reference)).numpy(), _pixels(to_float(lr)).numpy(), border=0))
    return Fidelity(sum(hr_db) / len(hr_db), sum(lr_db) / len(lr_db))
