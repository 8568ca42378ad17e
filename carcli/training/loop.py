"""The training loop, phase by phase: data, networks, steps, and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from carcli.errors import UsageError, WeightsError
from carcli.training import data
from carcli.training import distributed as parallel
from carcli.training.recipe import Recipe
from carcli.training.run import Progress, Run, Stopped
from carcli.training.trainer import Trainer
from carcli.weights.choose import choose


def _check(recipe: Recipe, processes: int) -> None:
    """Raises ``UsageError`` where a recipe's batches and patches do not fit."""
    batch, pixels = recipe.data.batch, recipe.data.patch * recipe.model.scale
    if batch % processes:
        raise UsageError(f"recipe {recipe.name}: a batch of {batch} cannot be shared by {processes} processes")
    deepest = recipe.model.scale ** max(recipe.model.recursion)
    if pixels % deepest:
        raise UsageError(f"recipe {recipe.name}: patches of {pixels} pixels cannot be made {deepest} times smaller")


def train(
    recipe: Recipe,
    sources: Sequence[Path],
    run: Run,
    observe: Callable[[Progress], None] = lambda progress: None,
    skip: Callable[[Path, str], None] = lambda path, reason: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a pair and return the path of its best checkpoint.

    ``observe`` is called after every step, ``skip`` for every image that cannot be used;
    once ``stop`` says so the run saves its state and raises ``Stopped``. Under ``torchrun``
    every process calls this, and the first one observes.

    Raises ``UsageError`` for data that cannot be used, ``WeightsError`` for an unusable checkpoint
    to start from or to resume, for a run that collapses time and again, or whose folder cannot be
    written; what was trained is saved before if there is room.
    """
    device = parallel.local_device(torch.device(run.device))
    with parallel.join(device) as world:
        # data
        _check(recipe, world.size)
        if run.init is not None:
            choose(run.init, recipe.model.scale)  # a name that means nothing is an error before anything is decoded
        photographs = data.load(sources, recipe.data.patch * recipe.model.scale)
        for path, reason in photographs.skipped if world.first else ():
            skip(path, reason)

        # networks, and where they stand
        trainer = Trainer(recipe, photographs, run, device, world)
        trainer.begin()

        # steps
        while trainer.done < 1:
            step = trainer.step(stop)
            if trainer.watch.collapsed:
                trainer.roll_back()
            validated = trainer.due
            if validated:
                trainer.validate()
            if step.stopping or trainer.done >= 1 or trainer.worth_saving(validated):
                trainer.save()
            if world.first:
                observe(trainer.progress(validated))
            if step.stopping and trainer.done < 1:
                raise Stopped(f"stopped after {trainer.counters.step} steps; continue with --resume")

        # the best of them
        if world.first and not trainer.folder.best.exists():
            raise WeightsError(f"{run.folder}: no step gave a usable network; lower the learning rate and try again")
        return trainer.folder.best
