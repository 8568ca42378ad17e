"""What a training run is told, and what it tells: plain values, known without loading any network library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carcli.training.validate import Fidelity


@dataclass(frozen=True)
class Run:
    """Where a run lives and when it ends: after ``minutes`` of stepping, or ``steps`` where given."""

    folder: Path
    minutes: float | None = None  # None: the recipe's
    steps: int | None = None
    device: str = "cpu"
    resume: bool = False
    init: str | None = None  # a checkpoint whose weights to start from: family, id or file
    validations: int | None = None  # how often to validate, evenly over the run
    learning_rate: float | None = None  # instead of the recipe's
    compile: bool = False  # torch.compile: seconds to minutes once, then faster steps on a GPU


@dataclass(frozen=True)
class Progress:
    """What a run tells its observer after every step."""

    step: int
    done: float  # fraction of the budget
    loss: float  # running mean
    fidelity: Fidelity | None  # of the latest validation
    best: float  # dB, held-out HR
    steps_per_second: float
    rollbacks: int
    validated: bool  # whether this step ended with a validation


class Stopped(Exception):  # noqa: N818 - not an error
    """A run that was asked to stop and has saved its state."""
