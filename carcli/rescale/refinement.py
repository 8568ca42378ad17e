"""How an LR image is to be refined: plain values, known without loading what does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carcli.errors import UsageError

Method = Literal["fast", "hcd"]
METHODS: tuple[Method, ...] = ("fast", "hcd")


@dataclass(frozen=True)
class Refinement:
    """How to refine. ``iterations`` are split in halves by ``hcd``."""

    iterations: int
    method: str = "fast"  # of METHODS
    lr_weight: float = 0.0  # of the squared distance from the unrefined LR, beside the squared error in HR
    epsilon: float = 0.3  # hcd: radius of the ball of changes, over a window
    alpha: float = 20 / 255  # hcd: length of a step
    seed: int = 0  # hcd: of where in the ball it starts

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"unknown refinement method {self.method!r}; use {', '.join(METHODS)}")
        if self.iterations < 1 or self.lr_weight < 0 or self.epsilon <= 0 or self.alpha <= 0:
            raise UsageError("refinement needs at least one iteration, a weight not below 0, and epsilon and alpha above 0")
