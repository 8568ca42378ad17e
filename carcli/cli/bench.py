"""``carcli bench``: fidelity against the originals, one family beside another."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli.common import Device, Json, Precision, Quiet, allow_large_images, emit, say_error


def bench(
    dataset: Annotated[list[str], typer.Option(help="A folder of HR images, or a set's name in the data folder; repeatable.")],
    scale: Annotated[int, typer.Option(min=2, max=4, help="2 or 4 (bicubic: 3 too).")] = 4,
    model: Annotated[
        str, typer.Option(help="Families, checkpoints or .safetensors files, separated by commas.")
    ] = "edsr,bicubic",
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Shrink and restore the images of a dataset, and report PSNR and SSIM on Y."""
    import math
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from carcli.bench.compare import Measured, compare
    from carcli.bench.datasets import find
    from carcli.rescaler import load

    allow_large_images()
    sets = [find(name) for name in dataset]
    rescalers = [load(name.strip(), scale, device, precision) for name in model.split(",") if name.strip()]
    bicubic = load("bicubic", scale, device)
    means: list[Measured] = []
    for one in sets:
        for row in compare(one, rescalers, bicubic):
            if row.image is None:
                means.append(row)
            if as_json:
                record = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in asdict(row).items()}
                emit({"event": "mean" if row.image is None else "image", **record})
            elif not quiet and row.image is not None:
                say_error(f"{row.dataset}/{row.image} {row.model}: {row.psnr_y:.2f} dB")
    if as_json:
        return
    table = Table(title=f"x{scale}, mean over each dataset; PSNR in dB")
    for name in (
        "dataset",
        "images",
        "model",
        "PSNR-Y",
        "SSIM-Y",
        "PSNR-RGB",
        "LR vs bicubic Y / RGB",
        "LR bits/pixel",
        "s down",
        "s up",
    ):
        table.add_column(name, justify="left" if name in ("dataset", "model") else "right", no_wrap=True)
    counts = {one.name: len(one.files) for one in sets}
    for row in means:
        table.add_row(
            row.dataset, str(counts[row.dataset]), row.model, f"{row.psnr_y:.2f}", f"{row.ssim_y:.4f}", f"{row.psnr_rgb:.2f}",
            f"{row.lr_psnr_y:.2f} / {row.lr_psnr_rgb:.2f}", f"{row.lr_bpp:.2f}",
            f"{row.seconds_down:.2f}", f"{row.seconds_up:.2f}",
        )  # fmt: skip
    Console(width=max(Console().width, 120)).print(table)
