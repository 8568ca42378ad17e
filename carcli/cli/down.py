"""``carcli down``: photographs to small PNGs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carcli.cli.common import (
    INTERRUPTED,
    Device,
    Interrupt,
    Json,
    Live,
    Overwrite,
    PngLevel,
    Precision,
    Quiet,
    Recursive,
    Tile,
    note_precision,
    prepare,
    report,
)

if TYPE_CHECKING:
    from carcli.batch import Result


def down(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Image files and folders of them.", show_default=False)
    ],
    scale: Annotated[
        int | None,
        typer.Option(
            min=2, max=128, help="How many times smaller: 2, 4, 8, … 128 (classical: any). Default: 4, or the checkpoint's."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A family, a checkpoint, or a .safetensors file. Default: edsr.", show_default=False)
    ] = None,
    to_grey: Annotated[
        bool, typer.Option("--to-grey", help="Keep the size and hide the colours in one channel instead (tad).")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder, or a .png file for one input.")] = Path("lr"),
    refine: Annotated[
        int, typer.Option(min=0, help="Iterations spent on each LR image to restore better: 30 takes some 100 times as long.")
    ] = 0,
    refine_method: Annotated[str, typer.Option(help="fast, or hcd as published.")] = "fast",
    refine_lr_weight: Annotated[float, typer.Option(min=0, help="Hold the LR image near the unrefined one; 0.1 is much.")] = 0.0,
    refine_epsilon: Annotated[float, typer.Option(help="hcd: radius of the ball of changes.")] = 0.3,
    refine_alpha: Annotated[float, typer.Option(help="hcd: length of a step.")] = 20 / 255,
    refine_keep: Annotated[
        bool, typer.Option("--refine-keep", help="On Ctrl-C, write the image at hand as good as it has got, then stop.")
    ] = False,
    seed: Annotated[int, typer.Option(help="hcd: of its random start.")] = 0,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    tile: Tile = None,
    png_level: PngLevel = 6,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Downscale photographs to 8-bit PNGs from which `carcli up` restores them."""
    from functools import partial
    from typing import cast

    from carcli import batch
    from carcli.errors import UsageError
    from carcli.refine import Method, Refinement
    from carcli.rescaler import load

    jobs = prepare(inputs, output, recursive)
    note_precision(device, precision)
    settings, interrupt, live = None, None, Live()
    if refine:
        settings = Refinement(refine, cast(Method, refine_method), refine_lr_weight, refine_epsilon, refine_alpha, seed)
        interrupt = Interrupt() if refine_keep else None

    def observe(done: float, gain: float) -> bool:
        live.show(f"refining, {done:.0%}, {gain:+.2f} dB")
        return interrupt is not None and interrupt.asked

    if to_grey and scale is not None:
        raise UsageError("--to-grey keeps the size; leave --scale out")
    rescaler = load(model or ("tad" if to_grey else "edsr"), 1 if to_grey else scale, device, precision)
    if rescaler.to_grey != to_grey:
        how = "makes no grey images; leave --model out, or name tad" if to_grey else "makes grey images; say --to-grey"
        raise UsageError(f"{rescaler.id} {how}")
    work = partial(batch.downscale, rescaler, tile=tile, refinement=settings, observe=observe)
    results = batch.run(jobs, work, overwrite=overwrite, compression=png_level)
    if interrupt is None:
        report(results, len(jobs), "down", as_json, quiet, live)
        return
    try:
        report(_until(results, interrupt), len(jobs), "down", as_json, quiet, live)
    finally:
        interrupt.restore()
    if interrupt.asked:
        raise typer.Exit(INTERRUPTED)


def _until(results: Iterable[Result], interrupt: Interrupt) -> Iterator[Result]:
    """Results up to the one that an interrupt fell into."""
    for result in results:
        yield result
        if interrupt.asked:
            return
