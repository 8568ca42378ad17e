"""``carcli up``: the original photographs back from small PNGs."""

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


def up(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="LR images and folders of them.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Only this family or checkpoint. Default: what the image's tag says, else edsr.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, max=128, help="For images without a tag; 1: colour from grey. Default: 4.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder, or a .png file for one input.")] = Path("sr"),
    ignore_tag: Annotated[bool, typer.Option("--ignore-tag", help="Treat every image as one without a tag.")] = False,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    tile: Tile = None,
    png_level: PngLevel = 6,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Restore the originals of LR images: model, scale and size are read from the PNG."""
    from carcli import batch
    from carcli.rescaler import Rescaler, load, pick_device
    from carcli.weights.choose import choose, family_of

    jobs = prepare(inputs, output, recursive)
    note_precision(device, precision)
    pick_device(device)
    if model is not None and not model.endswith(".safetensors"):
        choose(model, scale)  # an unknown model is an error at once, not once an image

    def load_here(name: str, at: int | None) -> Rescaler:
        return load(name, at, device, precision)

    work = batch.Upscaler(load_here, family_of, model, scale, ignore_tag, tile)
    results = batch.run(jobs, work, overwrite=overwrite, compression=png_level)
    report(results, len(jobs), "up", as_json, quiet)
