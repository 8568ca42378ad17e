"""Validation on held-out photographs: what the pair restores, and how far its LR is from an ordinary thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from carcli.images.metrics import psnr_rgb, psnr_seen, psnr_y
from carcli.images.picture import Pixels
from carcli.ops.quantise import to_float, to_uint8
from carcli.training.carrier import decoded
from carcli.training.objective import thumbnail


class Fidelity(NamedTuple):
    """Mean PSNR in dB on Y, after 8-bit rounding of LR and SR; over RGB where colour is restored from grey."""

    hr: float
    lr: float  # LR against an ordinary thumbnail
    lr_rgb: float  # the same over RGB
    seen: float  # the same when both are blurred

    def record(self) -> dict[str, float]:
        """By the names that a benchmark's figures have, in dB."""
        return {"psnr_y": self.hr, "lr_psnr_y": self.lr, "lr_psnr_rgb": self.lr_rgb, "lr_psnr_seen": self.seen}


def _pixels(levels: Tensor) -> Pixels:
    """(1, C, h, w) uint8 → (h, w, 3)."""
    return levels.expand(-1, 3, -1, -1)[0].permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def validate(
    down: nn.Module,
    up: nn.Module,
    crops: Sequence[Tensor],
    scale: int,
    device: torch.device,
    recursion: Sequence[int] = (1,),
    qualities: Sequence[int] = (),
) -> Fidelity:
    """Restore every crop (1, 3, h, w) and average the PSNR of SR against HR, and of LR against an ordinary thumbnail.

    With ``recursion`` the pair is applied so often, and the mean is over all of it. With ``qualities`` the LR goes
    through JPEG files of these, and the mean of SR is over all of them; LR is compared as it was before.
    """
    hr_db, lr_db, rgb_db, seen_db = [], [], [], []
    for crop in crops:
        hr = crop.to(device)
        for times in recursion:
            lr = hr
            for _ in range(times):
                lr = down(lr).float()
            levels = to_uint8(lr)
            grey = levels.shape[1] == 1
            original = _pixels(to_uint8(hr))
            for kept in [decoded(levels, [quality]) for quality in qualities] or [levels]:
                sr = to_float(kept)
                for _ in range(times):
                    sr = up(sr).float()
                restored = _pixels(to_uint8(sr))
                hr_db.append(psnr_rgb(original, restored, scale) if grey else psnr_y(original, restored, scale))
            reference = to_uint8(thumbnail(hr, scale**times, levels.shape[1]))
            ordinary, learned = _pixels(reference), _pixels(levels)
            lr_db.append(psnr_y(ordinary, learned, border=0))
            rgb_db.append(psnr_rgb(ordinary, learned, border=0))
            seen_db.append(psnr_seen(ordinary, learned))
    return Fidelity(*(sum(figures) / len(figures) for figures in (hr_db, lr_db, rgb_db, seen_db)))
