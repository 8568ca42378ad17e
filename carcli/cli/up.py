"""``carcli up``: the original photographs back from small PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carcli.cli.batches import (
    Asked,
    DryRun,
    Exclude,
    FailFast,
    FromFile,
    IgnoreSpace,
    Include,
    Kind,
    MaxErrors,
    Update,
    Watch,
    Workers,
    carry_out,
    plan_jobs,
)
from carcli.cli.common import (
    Devices,
    Json,
    Overwrite,
    PngLevel,
    Precision,
    Quiet,
    Recursive,
    Tile,
    note_precision,
)


def up(
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="LR images and folders of them.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Only this family or checkpoint. Default: what the image's tag says, else edsr.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, max=128, help="For images without a tag; 1: colour from grey. Default: 4.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder, or a .png file for one input.")] = Path("sr"),
    ignore_tag: Annotated[bool, typer.Option("--ignore-tag", help="Treat every image as one without a tag.")] = False,
    recursive: Recursive = False,
    include: Include = None,
    exclude: Exclude = None,
    from_file: FromFile = None,
    overwrite: Overwrite = False,
    update: Update = False,
    workers: Workers = 0,
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    max_errors: MaxErrors = None,
    ignore_space: IgnoreSpace = False,
    watch: Watch = False,
    device: Devices = "auto",
    precision: Precision = "fp32",
    tile: Tile = None,
    png_level: PngLevel = 6,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Restore the originals of LR images: model, scale and size are read from the PNG."""
    from functools import partial

    from carcli import batch, images
    from carcli.rescaler import load, pick_device
    from carcli.weights.choose import choose, family_of

    asked = Asked(
        inputs or [], output, recursive, include or [], exclude or [], from_file, overwrite, update, workers, dry_run,
        1 if fail_fast else max_errors, ignore_space, watch, png_level, as_json, quiet,
    )  # fmt: skip
    jobs = plan_jobs(asked)
    devices = device.split(",")
    for one in devices:
        note_precision(one, precision)
        pick_device(one)
    if model is not None and not model.endswith(".safetensors"):
        choose(model, scale)  # an unknown model is an error at once, not once an image

    def area(path: Path) -> float:
        return float((images.tagged_scale(path) or scale or 4) ** 2)

    works = [
        batch.Upscaler(partial(load, device=one, precision=precision), family_of, model, scale, ignore_tag, tile)
        for one in devices
    ]
    made_by = f"{model or 'as tagged'} x{scale or 'as tagged'} {precision}" + (" ignoring tags" if ignore_tag else "")
    carry_out(asked, jobs, works, Kind("up", made_by, area))
