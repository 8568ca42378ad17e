"""The other classical baseline: Lanczos (a = 3) both ways, computed by Pillow."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from carcli.models.base import ByChannel
from carcli.models.registry import downscaler, upscaler


def _resize(image: Tensor, width: int, height: int) -> Tensor:
    planes = image.float().cpu().numpy().reshape(-1, *image.shape[2:])
    resized = [np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.LANCZOS)) for p in planes]
    return torch.from_numpy(np.stack(resized)).view(*image.shape[:2], height, width).to(image.device)


@downscaler("lanczos", family="lanczos", up="lanczos")
class LanczosDown(ByChannel):
    """HR (B, C, s·h, s·w) in [0, 1] → LR (B, C, h, w), not clamped."""

    differentiable = False  # Pillow computes it

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.multiple_of = scale
        self.halo = 4 * scale  # the kernel is three LR pixels wide each way

    def forward(self, hr: Tensor) -> Tensor:
        return _resize(hr, hr.shape[3] // self.scale, hr.shape[2] // self.scale)


@upscaler("lanczos")
class LanczosUp(ByChannel):
    """LR (B, C, h, w) in [0, 1] → SR (B, C, s·h, s·w), not clamped."""

    halo = 4
    differentiable = False

    def forward(self, lr: Tensor) -> Tensor:
        return _resize(lr, lr.shape[3] * self.scale, lr.shape[2] * self.scale)
