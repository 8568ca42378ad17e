"""``carcli train``: a pair of one's own, or one of the bundled pairs again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carcli.cli.common import Json, Quiet, emit, say_error


def train(
    recipe: Annotated[
        str, typer.Argument(help="edsr-base-x2, edsr-base-x4, edsr-base-x4-tune, tad-x2, tad-x4, or a .toml file.")
    ],
    photographs: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Folders of photographs.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("run"),
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Time budget. Default: the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    init: Annotated[Path | None, typer.Option(help="Start from this checkpoint's weights.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate instead of the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a matched pair on folders of photographs; the best checkpoint works with --model."""
    from dataclasses import asdict

    from carcli.cli.common import allow_large_images
    from carcli.rescaler import pick_device
    from carcli.training import loop
    from carcli.training import recipe as recipes

    allow_large_images()
    chosen = recipes.load(recipe)
    run = loop.Run(output, minutes or chosen.minutes, steps, str(pick_device(device)), resume, init, learning_rate=rate)

    def observe(progress: loop.Progress) -> None:
        if as_json:
            emit({"event": "validation", **asdict(progress)})
        elif not quiet:
            say_error(
                f"{progress.done:4.0%} step {progress.step}: held-out HR {progress.fidelity.hr:.2f} dB, LR against bicubic "
                f"{progress.fidelity.lr:.2f} dB, loss {progress.loss:.5f}, {progress.steps_per_second:.1f} steps/s"
            )

    def skip(path: Path, reason: str) -> None:
        say_error(f"{path}: left out of training ({reason})")

    best = loop.train(chosen, photographs, run, observe, skip)
    if as_json:
        emit({"event": "done", "checkpoint": str(best)})
    elif not quiet:
        print(f"{best}: use it with carcli down PHOTOS --model {best} --scale {chosen.model.scale}")
