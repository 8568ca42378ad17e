"""``carcli down``: photographs to small PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carcli.cli.common import (
    Device,
    Json,
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


def down(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Image files and folders of them.", show_default=False)
    ],
    scale: Annotated[int, typer.Option(min=2, max=4, help="How many times smaller: 2 or 4 (bicubic: 3 too).")] = 4,
    model: Annotated[str, typer.Option(help="A family, a checkpoint, or a .safetensors file.")] = "edsr",
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder, or a .png file for one input.")] = Path("lr"),
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

    from carcli import batch
    from carcli.rescaler import load

    jobs = prepare(inputs, output, recursive)
    note_precision(device, precision)
    work = partial(batch.downscale, load(model, scale, device, precision), tile=tile)
    results = batch.run(jobs, work, overwrite=overwrite, compression=png_level)
    report(results, len(jobs), "down", as_json, quiet)
