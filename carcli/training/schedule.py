"""How far a run has come, how fast it goes, and what follows from that: its learning rate and its guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from carcli.training.recipe import Recipe
from carcli.training.state import Counters

VALIDATE_EVERY = 150.0  # seconds of stepping, or steps where steps are the budget
SETTLED, WINDOW = 1.0, 30.0  # seconds of stepping: before a speed is known, and that it is the mean of at most


@dataclass(frozen=True)
class Budget:
    """When a run ends, after ``minutes`` of stepping or ``steps`` where given, and how often it validates until then."""

    minutes: float
    steps: int | None = None
    validations: int | None = None  # None: every 150 seconds or steps, but at least four times

    @property
    def _size(self) -> float:
        return float(self.steps) if self.steps is not None else 60 * self.minutes

    def done(self, counters: Counters) -> float:
        """The fraction that is spent; 1 or more at the end."""
        return (counters.step if self.steps is not None else counters.elapsed) / self._size

    def stage(self, counters: Counters) -> int:
        """The number of the stage that a run is in; a validation ends each."""
        stages = self.validations or max(4, round(self._size / VALIDATE_EVERY))
        return math.floor(self.done(counters) * stages)


class Schedule:
    """What a recipe lets change in the course of a run, by the fraction of the budget that is ``done``."""

    def __init__(self, recipe: Recipe) -> None:
        self.warmup, self.final = recipe.optimiser.warmup, recipe.optimiser.final
        self.guidance_rise = recipe.loss.guidance_rise

    def rate_at(self, done: float) -> float:
        """Learning rate as a fraction of the peak: linear warm-up, then a cosine down to ``final``."""
        if done < self.warmup:
            return max(done / self.warmup, 0.01)
        fall = (min(done, 1.0) - self.warmup) / max(1 - self.warmup, 1e-9)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * fall)) / 2

    def guidance_at(self, done: float) -> float:
        """Share of the LR guidance's weight: from a hundredth, geometrically, to all of it.

        Under full guidance from the start, a decoder that cannot read the LR yet gives an encoder
        no reason to write anything into it.
        """
        return 0.01 ** (1 - done / self.guidance_rise) if done < self.guidance_rise else 1.0


class Speed:
    """Steps a second, over half a minute of stepping at most."""

    def __init__(self, counters: Counters) -> None:
        self.steps_per_second = 0.0
        self.restart(counters)

    def restart(self, counters: Counters) -> None:
        """Count from here on."""
        self._step, self._elapsed = counters.step, counters.elapsed

    def see(self, counters: Counters) -> None:
        """Take in where a run stands after a step."""
        seconds = counters.elapsed - self._elapsed
        if seconds >= SETTLED:
            self.steps_per_second = (counters.step - self._step) / seconds
        if seconds >= WINDOW:
            self.restart(counters)
