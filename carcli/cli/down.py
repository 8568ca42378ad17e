"""``carcli down``: photographs to small images."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from carcli.cli import complete
from carcli.cli.batches import BatchFlags, batch_options
from carcli.cli.choices import RefineMethod
from carcli.cli.common import excludes, needs
from carcli.errors import UsageError
from carcli.models.families import DEFAULT

SIDES = re.compile(r"(\d{1,20})[xX](\d{1,20})", re.ASCII)


@batch_options(output="lr")
def down(
    flags: BatchFlags,
    scale: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=128,
            help="How many times smaller: 2, 2.5, 4, … 128. Default: 4, or the checkpoint's.",
            autocompletion=complete.scale,
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Exactly so many pixels: 640x480.", show_default=False)] = None,
    width: Annotated[int | None, typer.Option(min=1, help="So many pixels wide, in the photograph's shape.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="So many pixels high.")] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="WxH", help="As large as fits into so many pixels: 640x480.", show_default=False)
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="At most so many pixels in all.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"A family, a checkpoint, or a .safetensors file. Default: {DEFAULT}, also called car.",
            show_default=False,
            autocompletion=complete.model,
        ),
    ] = None,
    to_grey: Annotated[
        bool, typer.Option("--to-grey", help="Keep the size and hide the colours in one channel instead (tad).")
    ] = False,
    keep_grey: Annotated[
        bool,
        typer.Option(
            "--keep-grey",
            help="A grey photograph's LR stays grey, not in colour: a third of the bytes, restores 7 (x4) to 12 dB (x2) worse.",
        ),
    ] = False,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Write jpeg, avif or lossy webp even with a model that does not survive it.")
    ] = False,
    refine: Annotated[
        int, typer.Option(min=0, help="Iterations spent on each LR image to restore better: 30 takes some 100 times as long.")
    ] = 0,
    refine_method: Annotated[
        RefineMethod | None,
        typer.Option(help="hcd: as published. Default: fast.", show_default=False, case_sensitive=False),
    ] = None,
    refine_lr_weight: Annotated[
        float | None,
        typer.Option(min=0, help="Hold the LR image near the unrefined one; 0.1 is much. Default: 0.", show_default=False),
    ] = None,
    refine_epsilon: Annotated[
        float | None, typer.Option(help="hcd: radius of the ball of changes. Default: 0.3.", show_default=False)
    ] = None,
    refine_alpha: Annotated[
        float | None, typer.Option(help="hcd: length of a step. Default: 20/255.", show_default=False)
    ] = None,
    refine_keep: Annotated[
        bool, typer.Option("--refine-keep", help="On Ctrl-C, write the image at hand as good as it has got, then stop.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="hcd: of its random start. Default: 0.", show_default=False)] = None,
) -> None:
    """Downscale photographs to 8-bit PNGs, or other files, from which `carcli up` restores them."""
    sizes = {"size": size and _sides("--size", size), "width": width, "height": height,
             "fit": fit and _sides("--fit", fit), "max_pixels": max_pixels}  # fmt: skip
    named = [name for name, value in {"scale": scale, **sizes}.items() if value is not None]
    options = [f"--{name.replace('_', '-')}" for name in named]
    if len(options) > 1:
        raise UsageError(f"{' and '.join(options)} contradict each other; name one")
    if to_grey and options:
        raise UsageError(f"--to-grey keeps the size; leave {options[0]} out")
    excludes("--to-grey", "--keep-grey", to_grey and keep_grey)
    own = {"--refine-method": None if refine_method is None else refine_method.value, "--refine-lr-weight": refine_lr_weight}
    of_hcd = {"--refine-epsilon": refine_epsilon, "--refine-alpha": refine_alpha, "--seed": seed}
    needs("--refine", bool(refine), {**own, **of_hcd, "--refine-keep": refine_keep or None})
    needs("--refine-method hcd", refine_method is RefineMethod.hcd, of_hcd)

    from carcli.cli.run_batch import Down, Refinement, Target, carry_out

    given = {name: value for name, value in {**own, **of_hcd}.items() if value is not None}
    settings: dict[str, Any] = {name.removeprefix("--refine-").strip("-").replace("-", "_"): given[name] for name in given}
    task = Down(
        model=model,
        scale=scale,
        target=Target(**sizes) if named not in ([], ["scale"]) else None,  # type: ignore[arg-type]
        to_grey=to_grey,
        keep_grey=keep_grey,
        refinement=Refinement(refine, **settings) if refine else None,
        precision=flags.precision.value,
        backend=flags.backend.value,
        tile=flags.tile,
        lossy=lossy,
    )
    carry_out(flags, task, keep=refine_keep)


def _sides(option: str, text: str) -> tuple[int, int]:
    """WxH. Raises ``UsageError``."""
    match = SIDES.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text[:40]!r}: give width and height in pixels, as in 640x480")
    return int(match[1]), int(match[2])
