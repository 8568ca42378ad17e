"""``carcli export``: a checkpoint's networks as ONNX files, for programs that know no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.choices import StoredPrecision
from carcli.cli.common import Json, Quiet, bytes_said, emit, say, say_waits


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A family, a checkpoint, or a file.", show_default=False, autocompletion=complete.model
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of up.onnx and down.onnx.")] = Path("onnx"),
    scale: Annotated[
        int | None,
        typer.Option(min=1, max=128, help="Of a family. Default: 4.", show_default=False, autocompletion=complete.scale),
    ] = None,
    precision: Annotated[
        StoredPrecision, typer.Option(help="Of the weights: fp16 is half as large.", case_sensitive=False)
    ] = StoredPrecision.fp32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model's networks as up.onnx and down.onnx (only up.onnx for what only enlarges)."""
    from carcli.export.request import check, halves_of

    choice = check(model, output, scale=scale, precision=precision.value, overwrite=overwrite)
    from carcli.export.files import write  # and with it torch

    say_waits(quiet or as_json)
    for exported in write(choice, output, precision.value, halves_of(choice)):
        if as_json:
            emit("exported", exported.record())
        elif not quiet:
            say(f"{exported.path}: {choice.description.id} {exported.half}, {precision.value}, {bytes_said(exported.bytes)}")
