"""``carcli up``: the original photographs back from small PNGs."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli.batches import Asked, Kind, batch_options, carry_out, plan_jobs


@batch_options(output="sr")
def up(
    asked: Asked,
    model: Annotated[
        str | None, typer.Option(help="Only this family or checkpoint. Default: what the image's tag says, else edsr.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, max=128, help="For images without a tag; 1: colour from grey. Default: 4.")
    ] = None,
    ignore_tag: Annotated[bool, typer.Option("--ignore-tag", help="Treat every image as one without a tag.")] = False,
) -> None:
    """Restore the originals of LR images: model, scale and size are read from the PNG."""
    from functools import partial

    from carcli.batch import tasks
    from carcli.images.codec import Header
    from carcli.rescale.rescaler import load
    from carcli.runtime.device import pick_device
    from carcli.runtime.threads import streams
    from carcli.weights.choose import choose, family_of

    jobs = plan_jobs(asked)
    devices = [pick_device(device) for device in asked.devices]
    if model is not None and not model.endswith(".safetensors"):
        choose(model, scale)  # an unknown model is an error at once, not once an image

    def area(header: Header) -> float:
        return float((header.scale or scale or 4) ** 2)

    works = []
    for one in devices:
        with_it = partial(load, device=str(one), precision=asked.precision)
        works += [tasks.Upscaler(with_it, family_of, model, scale, ignore_tag, asked.tile)] * streams(one)
    made_by = f"{model or 'as tagged'} x{scale or 'as tagged'} {asked.precision}" + (" ignoring tags" if ignore_tag else "")
    carry_out(asked, jobs, works, Kind("up", made_by, area))
