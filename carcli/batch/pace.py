"""Which stage of a batch sets its pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Stage = Literal["decode", "compute", "encode"]
T = TypeVar("T")


@dataclass
class Spent:
    """What one image's stages took, one after another."""

    seconds: float = 0.0


@dataclass
class Pace:
    """Seconds of work in each stage, over all workers; waiting is not counted."""

    seconds: dict[Stage, float] = field(default_factory=lambda: {"decode": 0.0, "compute": 0.0, "encode": 0.0})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, stage: Stage, work: Callable[[], T], image: Spent | None = None) -> T:
        """Do it, and count how long it took, for the ``image`` too."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - began
            if image is not None:
                image.seconds += took
            with self.lock:
                self.seconds[stage] += took

    def slowest(self, workers: int, streams: int) -> Stage:
        """The stage that keeps its threads busy longest: more of anything else would not help."""
        busy = {
            "decode": self.seconds["decode"] / workers,
            "encode": self.seconds["encode"] / workers,
            "compute": self.seconds["compute"] / streams,
        }
        return max(("compute", "decode", "encode"), key=busy.__getitem__)
