"""``carcli train``: a pair of one's own, or one of the bundled pairs again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.common import Device, Json, Quiet, excludes, say
from carcli.errors import UsageError
from carcli.runtime.device_names import check_device
from carcli.runtime.paths import is_there
from carcli.training.run import Run


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name (carcli train --list) or a .toml file.", show_default=False, autocompletion=complete.recipe
        ),
    ] = "",
    photographs: Annotated[
        list[Path] | None, typer.Argument(metavar="DATA...", help="Folders of photographs.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("run"),
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Time budget. Default: the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start from a checkpoint's weights: family, id or .safetensors file.",
            show_default=False,
            autocompletion=complete.model,
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate instead of the recipe's.")] = None,
    lr_guidance: Annotated[
        float | None, typer.Option(min=0, help="Weight of the LR's likeness to a thumbnail instead of the recipe's.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the step first: slow to start, faster on a GPU.")] = False,
    device: Device = "auto",
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes and what they are for.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a matched pair on folders of photographs; the best checkpoint works with --model."""
    excludes("--list", "a recipe", list_recipes and bool(recipe))
    excludes("--minutes", "--steps", minutes is not None and steps is not None)
    if minutes is not None and not math.isfinite(minutes):
        raise UsageError("--minutes is a finite number")
    if not list_recipes and not (recipe and photographs):
        raise UsageError("name a recipe and at least one folder of photographs; carcli train --list shows the recipes")
    from carcli.training import recipe as recipes
    from carcli.weights.choose import choose

    if list_recipes:
        for name in recipes.names():
            say(f"{name:24} {recipes.purpose(name)}")
        return
    run = Run(
        folder=output,
        minutes=minutes,
        steps=steps,
        device=device,
        resume=resume,
        init=init,
        learning_rate=rate,
        compile=compiled,
    )
    chosen = recipes.guided(recipes.load(recipe), lr_guidance)
    check_device(device)
    if init is not None:
        choose(init, chosen.model.scale)
    for source in photographs or ():
        if not is_there(source):
            raise UsageError(f"{source}: no such file or folder of training images")
    from carcli.cli import training  # and with it torch

    training.run_shown(chosen, photographs or [], run, as_json, quiet)
