"""``carcli up``: the original photographs back from small images."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.batches import BatchFlags, batch_options
from carcli.errors import UsageError


@batch_options(output="sr")
def up(
    flags: BatchFlags,
    model: Annotated[
        str | None,
        typer.Option(
            help="Only this family, checkpoint or file. Default: what the tag says, else the best super-resolver.",
            autocompletion=complete.model,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            min=1, max=128, help="For images without a tag; 1: colour from grey. Default: 4.", autocompletion=complete.scale
        ),
    ] = None,
    ignore_tag: Annotated[bool, typer.Option("--ignore-tag", help="Treat every image as one without a tag.")] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Mean of eight views, for ordinary images: a little better, 8 times as slow.")
    ] = False,
) -> None:
    """Restore the originals of LR images: model, scale and size are read from the file."""
    if scale is not None and scale != int(scale):
        raise UsageError(f"--scale {scale:g}: up takes whole scales, for images without a tag; what down made needs none")

    from carcli.cli.run_batch import Request, Up, carry_out

    request = Request(model=model, scale=None if scale is None else int(scale), ignore_tag=ignore_tag)
    task = Up(request=request, precision=flags.precision.value, backend=flags.backend.value, tile=flags.tile, ensemble=ensemble)
    carry_out(flags, task)
