"""What ``carcli train`` does: a run with a progress bar, or as lines of JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from carcli.cli.bars import progress_bar
from carcli.cli.common import INTERRUPTED, Interrupt, emit, say, say_error, say_waits
from carcli.images.formats import allow_large_images
from carcli.runtime import memory
from carcli.runtime.device import pick_device
from carcli.runtime.threads import within_limits
from carcli.training.loop import train
from carcli.training.recipe import Recipe
from carcli.training.run import Progress, Run, Stopped


def _line(progress: Progress) -> str:
    fidelity = progress.fidelity
    restored = f"held-out HR {fidelity.hr:.2f} dB, LR against bicubic {fidelity.lr:.2f} dB" if fidelity else ""
    back = f", went back {progress.rollbacks} times" if progress.rollbacks else ""
    return (
        f"{progress.done:4.0%} step {progress.step}: {restored}, "
        f"loss {progress.loss:.5f}, {progress.steps_per_second:.1f} steps/s{back}"
    )


def _record(progress: Progress) -> dict[str, object]:
    """By the names of the run's own log."""
    told = asdict(progress)
    del told["fidelity"], told["validated"]
    return told | (progress.fidelity.record() if progress.fidelity else {})


def _skip(path: Path, reason: str) -> None:
    say_error(f"{path}: left out of training ({reason})")


def run_shown(recipe: Recipe, photographs: Sequence[Path], run: Run, as_json: bool, quiet: bool) -> None:
    """Train, and show how it goes. Under ``torchrun`` the first process speaks for all."""
    if os.environ.get("RANK", "0") != "0":
        as_json, quiet = False, True
    allow_large_images()
    within_limits()
    say_waits(quiet)
    memory.keep_freed()
    run = replace(run, device=str(pick_device(run.device)))
    columns = [
        TextColumn(recipe.name, markup=False),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    ]
    interrupt = Interrupt()
    try:
        with progress_bar(*columns, wanted=not (quiet or as_json)) as bar:
            task = bar.add_task("decoding", total=1.0)

            def observe(progress: Progress) -> None:
                bar.update(task, completed=progress.done, description=_line(progress))
                if progress.validated and as_json:
                    emit("validation", _record(progress))
                elif progress.validated and not quiet:
                    say_error(_line(progress))

            best = train(recipe, photographs, run, observe, _skip, interrupt)
    except Stopped as stopped:
        if not quiet:
            say_error(f"{run.folder}: {stopped}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        interrupt.restore()
    if as_json:
        emit("done", {"checkpoint": str(best)})
    elif not quiet:
        say(f"{best}: use it with carcli down PHOTOS --model {best} --scale {recipe.model.scale}")
