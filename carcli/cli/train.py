"""``carcli train``: a pair of one's own, or one of the bundled pairs again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carcli.cli.common import INTERRUPTED, Interrupt, Json, Quiet, emit, say_error

if TYPE_CHECKING:
    from carcli.training.loop import Progress


def _keep_freed_memory() -> None:
    """Let glibc keep what tensors free: a step otherwise spends up to a third of its time in page faults."""
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # M_MMAP_MAX and M_TRIM_THRESHOLD
            libc.mallopt(-4, 0)
            libc.mallopt(-1, 2**31 - 1)


def _line(progress: Progress) -> str:
    fidelity = progress.fidelity
    restored = f"held-out HR {fidelity.hr:.2f} dB, LR against bicubic {fidelity.lr:.2f} dB" if fidelity else ""
    back = f", went back {progress.rollbacks} times" if progress.rollbacks else ""
    return (
        f"{progress.done:4.0%} step {progress.step}: {restored}, "
        f"loss {progress.loss:.5f}, {progress.steps_per_second:.1f} steps/s{back}"
    )


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name (carcli train --list) or a .toml file.", show_default=False)
    ] = "",
    photographs: Annotated[
        list[Path] | None, typer.Argument(metavar="DATA...", help="Folders of photographs.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("run"),
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Time budget. Default: the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    init: Annotated[
        str | None, typer.Option(help="Start from a checkpoint's weights: family, id or .safetensors file.", show_default=False)
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate instead of the recipe's.")] = None,
    lr_guidance: Annotated[
        float | None, typer.Option(min=0, help="Weight of the LR's likeness to a thumbnail instead of the recipe's.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the step first: slow to start, faster on a GPU.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes and what they are for.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a matched pair on folders of photographs; the best checkpoint works with --model."""
    from dataclasses import asdict, replace

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from carcli.cli.common import allow_large_images
    from carcli.errors import UsageError
    from carcli.runtime.device import pick_device
    from carcli.training import loop
    from carcli.training import recipe as recipes

    if list_recipes:
        for name in recipes.names():
            print(f"{name:24} {recipes.purpose(name)}")
        return
    if not recipe or not photographs:
        raise UsageError("name a recipe and at least one folder of photographs; carcli train --list shows the recipes")
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        as_json, quiet = False, True
    allow_large_images()
    _keep_freed_memory()
    chosen = recipes.load(recipe)
    if lr_guidance is not None:
        loss = replace(chosen.loss, lr_guidance=lr_guidance)
        chosen = replace(chosen, name=f"{chosen.name}-guidance-{lr_guidance:g}", loss=loss)
    run = loop.Run(
        output, minutes or chosen.minutes, steps, str(pick_device(device)), resume, init,
        learning_rate=rate, compile=compiled,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = [TextColumn(chosen.name), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()]

    def skip(path: Path, reason: str) -> None:
        say_error(f"{path}: left out of training ({reason})")

    interrupt = Interrupt()
    try:
        with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
            task = bar.add_task("decoding", total=1.0)

            def observe(progress: loop.Progress) -> None:
                bar.update(task, completed=progress.done, description=_line(progress))
                if progress.validated and as_json:
                    emit({"event": "validation", **asdict(progress)})
                elif progress.validated and not quiet:
                    say_error(_line(progress))

            best = loop.train(chosen, photographs, run, observe, skip, interrupt)
    except loop.Stopped as stopped:
        if not quiet:
            say_error(f"{output}: {stopped}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        interrupt.restore()
    if as_json:
        emit({"event": "done", "checkpoint": str(best)})
    elif not quiet:
        print(f"{best}: use it with carcli down PHOTOS --model {best} --scale {chosen.model.scale}")
