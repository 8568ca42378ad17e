"""``carcli export``: a checkpoint's networks as ONNX files, for programs that know no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.choices import StoredPrecision
from carcli.cli.common import Json, Quiet, bytes_said, emit, excludes, say, say_waits


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A family, a checkpoint, or a file.", show_default=False, autocompletion=complete.model
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of up.onnx and down.onnx. Default: onnx.", show_default=False)
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(help="Instead: folder of a page that restores LR images in a browser.", metavar="DIR", show_default=False),
    ] = None,
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
    """Write a model's networks as up.onnx and down.onnx (only up.onnx for what only enlarges), or as a page for browsers."""
    if web is not None:
        excludes("--web", "--output", output is not None)
        excludes("--web", "--precision", precision is not StoredPrecision.fp32)
        excludes("--web", "--overwrite", overwrite)
        _page(model, web, scale, as_json, quiet)
        return
    from carcli.export.request import check, halves_of

    output = output or Path("onnx")
    choice = check(model, output, scale=scale, precision=precision.value, overwrite=overwrite)
    from carcli.export.files import write  # and with it torch

    say_waits(quiet or as_json)
    for exported in write(choice, output, precision.value, halves_of(choice)):
        if as_json:
            emit("exported", exported.record())
        elif not quiet:
            say(f"{exported.path}: {choice.description.id} {exported.half}, {precision.value}, {bytes_said(exported.bytes)}")


def _page(model: str, folder: Path, scale: int | None, as_json: bool, quiet: bool) -> None:
    from carcli.export.request import ready

    choice = ready(model, scale)
    from carcli.export.files import graphs  # and with it torch
    from carcli.web.site import write_site
    from carcli.weights.choose import super_resolves

    say_waits(quiet or as_json)
    ((_, fields, data),) = graphs(choice, "fp32", ("up",))
    for path in write_site(data, fields, folder, ordinary=super_resolves(choice)):
        if as_json:
            emit("written", {"path": str(path), "bytes": path.stat().st_size})
    if not (quiet or as_json):
        say(f"{folder}: a page for {choice.description.id}; npm install in there, then any web server serves it")
