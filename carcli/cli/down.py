"""``carcli down``: photographs to small PNGs."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli.batches import BatchFlags, batch_options
from carcli.errors import UsageError
from carcli.models.families import DEFAULT


@batch_options(output="lr")
def down(
    flags: BatchFlags,
    scale: Annotated[
        int | None,
        typer.Option(
            min=2, max=128, help="How many times smaller: 2, 4, 8, … 128 (classical: any). Default: 4, or the checkpoint's."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"A family, a checkpoint, or a .safetensors file. Default: {DEFAULT}.", show_default=False),
    ] = None,
    to_grey: Annotated[
        bool, typer.Option("--to-grey", help="Keep the size and hide the colours in one channel instead (tad).")
    ] = False,
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
) -> None:
    """Downscale photographs to 8-bit PNGs from which `carcli up` restores them."""
    from carcli.cli.run_batch import Down, Refinement, carry_out

    if to_grey and scale is not None:
        raise UsageError("--to-grey keeps the size; leave --scale out")
    refinement = None
    if refine:
        refinement = Refinement(
            iterations=refine,
            method=refine_method,
            lr_weight=refine_lr_weight,
            epsilon=refine_epsilon,
            alpha=refine_alpha,
            seed=seed,
        )
    task = Down(
        model=model,
        scale=scale,
        to_grey=to_grey,
        refinement=refinement,
        precision=flags.precision,
        tile=flags.tile,
    )
    carry_out(flags, task, keep=refine_keep and refinement is not None)
