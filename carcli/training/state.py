"""Everything that a run needs to go on, or to go back, as one file in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from carcli.errors import UsageError, WeightsError
from carcli.runtime import paths
from carcli.runtime.files import write_whole
from carcli.training.health import CollapseWatch
from carcli.training.objective import Objective
from carcli.training.optimisers import Optimisers
from carcli.training.recipe import Recipe, checked


@dataclass
class Counters:
    """Where a run stands."""

    step: int = 0
    elapsed: float = 0.0  # seconds of stepping
    best: float = float("-inf")  # dB, held-out HR
    skipped: int = 0  # steps left out because they were not finite
    rollbacks: int = 0
    pace: float = 1.0  # the learning rate is multiplied by it: halved by every rollback


@dataclass
class State:
    """All that changes while a run lasts."""

    objective: Objective
    average: nn.ModuleDict  # of both networks, over the steps
    optimiser: Optimisers
    watch: CollapseWatch
    counters: Counters = field(default_factory=Counters)

    def collect(self, recipe: Recipe) -> dict[str, Any]:
        return {
            "recipe": json.dumps(recipe.model_dump(mode="json"), sort_keys=True),
            "model": {f"{h}.{k}": v for h in ("down", "up") for k, v in getattr(self.objective, h).state_dict().items()},
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "watch": self.watch.state_dict(),
            "counters": asdict(self.counters),
        }

    def restore(self, kept: dict[str, Any]) -> None:
        model = nn.ModuleDict({"down": self.objective.down, "up": self.objective.up})
        model.load_state_dict(kept["model"])
        self.average.load_state_dict(kept["average"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.watch.load_state_dict(kept["watch"])
        self.counters = Counters(**kept["counters"])


def save(path: Path, state: State, recipe: Recipe) -> None:
    """Write a run's state, whole or not at all. Raises ``OSError``."""

    def write(file: IO[bytes]) -> None:
        try:
            torch.save(state.collect(recipe), file)
        except RuntimeError as error:  # torch's own words for a disk that is full
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    write_whole(path, write)


def _is(table: Any, recipe: Recipe) -> bool:
    try:
        return checked(table) == recipe
    except UsageError:  # it has keys that this version does not know
        return False


def read(path: Path, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Read a run's state, executing nothing.

    Raises ``WeightsError`` for a damaged file, ``UsageError`` where the run had another recipe.
    """
    try:
        with paths.open_ordinary(path) as file:
            kept = torch.load(file, map_location=device, weights_only=True)
        table = json.loads(kept["recipe"])
    except OSError as error:
        raise WeightsError(f"{path}: cannot resume from it ({paths.reason(error)})") from error
    except Exception as error:  # the unpickler has many ways to refuse
        raise WeightsError(f"{path}: cannot resume from it, for it is no state of a run, or a damaged one") from error
    if not _is(table, recipe):
        raise UsageError(f"{path}: this run was begun with another recipe, or an older version of {recipe.name}")
    return dict(kept)
