"""D-DBPN (Haris et al., "Deep back-projection networks for super-resolution", CVPR 2018).

Units that project up and down in turn, each correcting its own error, densely connected: a unit sees what all before it of the
other kind have made, through a 1x1 convolution; the SR image is made of all HR features together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from carcli.models.arguments import Features, Scale
from carcli.models.registry import upscaler
from carcli.models.upscaling import Upscaling

GEOMETRY = {2: (6, 2), 4: (8, 2), 8: (12, 2)}  # kernel and padding by scale, which is the stride
REACH = {2: 3, 4: 2, 8: 2}  # LR pixels that a unit sees around one


@dataclass(frozen=True)
class DbpnConfig:
    """The size of a D-DBPN; the defaults are the paper's: T = 7, n_0 = 256, n_R = 64."""

    scale: Scale  # 2, 4 or 8
    stages: Annotated[int, Field(ge=2, le=64)] = 7  # T, units that project up; there is one less that projects down
    first: Features = 256  # n_0, of the first convolution
    features: Features = 64  # n_R, of the units
    on_bicubic: bool = False


class Projection(nn.Module):
    """A unit (equations 1 to 10): there, back, and there again with the error; through a 1x1 first where ``inputs`` are more."""

    def __init__(self, scale: int, features: int, inputs: int, up: bool) -> None:
        super().__init__()
        kernel, padding = GEOMETRY[scale]

        def resized(larger: bool) -> nn.Sequential:
            kind = nn.ConvTranspose2d if larger else nn.Conv2d
            return nn.Sequential(kind(features, features, kernel, scale, padding), nn.PReLU())

        self.fusion = nn.Sequential(nn.Conv2d(inputs, features, 1), nn.PReLU()) if inputs > features else nn.Identity()
        self.there, self.back, self.again = resized(up), resized(not up), resized(up)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fusion(x)
        there = self.there(x)
        corrected: Tensor = there + self.again(self.back(there) - x)
        return corrected


@upscaler("dbpn", config=DbpnConfig)
class Dbpn(Upscaling):
    """LR (B, 3, h, w) in [0, 1] → SR (B, 3, s·h, s·w), not clamped."""

    tile = 96

    def __init__(self, config: DbpnConfig) -> None:
        if config.scale not in GEOMETRY:
            raise ValueError(f"D-DBPN exists for scales 2, 4 and 8, not {config.scale}")
        super().__init__(config.scale, config.on_bicubic)
        f, s, stages = config.features, config.scale, config.stages
        self.config = config
        self.halo = 1 + REACH[s] * (2 * stages - 1) + 1
        self.head = nn.Sequential(nn.Conv2d(3, config.first, 3, padding=1), nn.PReLU(), nn.Conv2d(config.first, f, 1), nn.PReLU())
        self.ups = nn.ModuleList(Projection(s, f, f * max(n, 1), True) for n in range(stages))
        self.downs = nn.ModuleList(Projection(s, f, f * (n + 1), False) for n in range(stages - 1))
        self.tail = nn.Conv2d(f * stages, 3, 3, padding=1)
        self.start(self.tail)

    def forward(self, lr: Tensor) -> Tensor:
        low = self.seen(lr, self.head)
        high: Tensor = self.ups[0](low)
        lows: list[Tensor] = []
        for down, up in zip(self.downs, self.ups[1:], strict=True):
            lows.insert(0, down(high))
            high = torch.cat([up(torch.cat(lows, 1)), high], 1)
        return self.finished(lr, self.tail(high))
