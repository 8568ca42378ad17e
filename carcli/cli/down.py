"""``carcli down``: photographs to small PNGs."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli.batches import Asked, Kind, batch_options, carry_out, plan_jobs
from carcli.cli.common import INTERRUPTED, Interrupt, Live


@batch_options(output="lr")
def down(
    asked: Asked,
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
    from functools import partial
    from typing import cast

    from carcli.batch import tasks
    from carcli.errors import UsageError
    from carcli.rescale.refine import Method, Refinement
    from carcli.rescale.rescaler import load
    from carcli.runtime.threads import streams

    jobs = plan_jobs(asked)
    settings, interrupt, live = None, None, Live()
    if refine:
        settings = Refinement(refine, cast(Method, refine_method), refine_lr_weight, refine_epsilon, refine_alpha, seed)
        interrupt = Interrupt() if refine_keep else None

    def observe(done: float, gain: float) -> bool:
        live.show(f"refining, {done:.0%}, {gain:+.2f} dB")
        return interrupt is not None and interrupt.asked

    def stop() -> bool:
        return interrupt is not None and interrupt.asked

    if to_grey and scale is not None:
        raise UsageError("--to-grey keeps the size; leave --scale out")
    name = model or ("tad" if to_grey else "edsr")
    rescalers = [load(name, 1 if to_grey else scale, one, asked.precision) for one in asked.devices]
    first = rescalers[0]
    if first.to_grey != to_grey:
        how = "makes no grey images; leave --model out, or name tad" if to_grey else "makes grey images; say --to-grey"
        raise UsageError(f"{first.id} {how}")
    works = [
        partial(tasks.downscale, r, tile=asked.tile, refinement=settings, observe=observe)
        for r in rescalers
        for _ in range(1 if refine else streams(r.device))  # refining holds gradients: one image after the other
    ]
    made_by = f"{first.id} {first.digest[:12]} x{first.scale} {asked.precision}" + (f" {settings}" if settings else "")
    kind = Kind("down", made_by, lambda header: 1 / first.scale**2)
    try:
        carry_out(asked, jobs, works, kind, live, stop)
    finally:
        if interrupt is not None:
            interrupt.restore()
    if stop():
        raise typer.Exit(INTERRUPTED)
