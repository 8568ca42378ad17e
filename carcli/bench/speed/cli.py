"""The commands of ``python -m carcli.bench.speed``: options and printing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from carcli.bench.speed import backends, batches, kernels, listings, networks
from carcli.bench.speed.scene import photograph
from carcli.images import codec
from carcli.images.grey import in_colour
from carcli.rescale.rescaler import load
from carcli.runtime.device import pick_device
from carcli.runtime.memory import give_back_at_once, huge_pages

app = typer.Typer(help="How fast this machine is, and how much memory it takes.", no_args_is_help=True, add_completion=False)
DEFAULT_MODELS = ["edsr", "tad"]


class Dtype(str, Enum):
    """See ``kernels.DTYPES``."""

    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="A family or checkpoint; repeatable.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16 or fp16: how the networks compute.")]


def _print(record: dict[str, Any]) -> None:
    """One JSON object a line, with figures that a person can read."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in record.items()}), flush=True)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT")
    return width, height


@app.callback()
def main() -> None:
    """Before any of them: large pages, as the program has them."""
    huge_pages()


@app.command()
def resampler(
    device: Device = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Of the heads.")] = Dtype.fp32,
    size: Annotated[list[str] | None, typer.Option(help="LR size as WIDTHxHEIGHT; repeatable.")] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    no_composition: Annotated[bool, typer.Option("--no-composition", help="Time the fused path alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """The resampling kernels against compositions in torch and a copy's bandwidth."""
    on, heads = pick_device(device), kernels.DTYPES[dtype.value]
    sizes = [_size(text) for text in size] if size else kernels.SIZES
    copy = kernels.copy_bandwidth(on)
    first = kernels.Case(width=16, height=16, scale=2, device=on, dtype=heads)
    kernels.measure(first, copy, 1, False)  # compiles, and starts the threads
    timings = []
    for width, height in sizes:
        for scale in kernels.SCALES:
            case = kernels.Case(width=width, height=height, scale=scale, device=on, dtype=heads)
            timings.append(kernels.measure(case, copy, repeats, case.composable and not no_composition))
            if as_json:
                print(json.dumps(asdict(timings[-1])), flush=True)
            else:
                print(f"{width}x{height} x{scale} done", file=sys.stderr, flush=True)
    if not as_json:
        kernels.show(timings)


@app.command()
def down(device: Device = "auto") -> None:
    """Seconds of `carcli down` for 12 megapixels at x4, and the resampler's share of them."""
    print(json.dumps(networks.measure_down(load("edsr-base-x4", 4, str(pick_device(device))))))


@app.command("networks")
def networks_(model: Models = None, scale: int = 4, device: Device = "auto", precision: Precision = "fp32") -> None:
    """Megapixels a second each way, and the convolutions' fraction of the fastest one's rate here."""
    on = pick_device(device)
    peak = networks.median_peak(on, precision)
    _print({"peak_multiplications_per_second": peak, "device": str(on), "precision": precision})
    for name in model or DEFAULT_MODELS:
        _print(networks.measure(load(name, scale, str(on), precision), peak))


@app.command("backends")
def backends_(
    model: Models = None,
    scale: Annotated[int | None, typer.Option(help="Default: the checkpoint's own, or 4.")] = None,
    image: Annotated[Path | None, typer.Option(help="An HR photograph. Default: a picture of noise.")] = None,
    device: Device = "auto",
    side: Annotated[int, typer.Option(min=64, help="HR pixels of the picture of noise, a side.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Seconds a megapixel of HR of `up` by every engine and precision, and dB against torch in fp32."""
    give_back_at_once()
    hr = photograph(side, side) if image is None else in_colour(codec.read(image).pixels)
    for name in model or DEFAULT_MODELS:
        for record in backends.measure(name, scale, device, hr, repeats):
            _print(record)


@app.command()
def batch(
    model: Models = None,
    scale: int = 4,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Images in flight.")] = 0,
    png_level: int = 6,
) -> None:
    """Seconds of batches, files to files, beside those of the networks alone."""
    on = pick_device(device)
    give_back_at_once()  # as carcli down and up do
    for name in model or DEFAULT_MODELS:
        _print(batches.measure(name, scale, str(on), workers, png_level))


@app.command()
def memory(
    model: Models = None,
    scale: int = 4,
    precision: Precision = "fp32",
    megapixels: Annotated[int, typer.Option(help="Of a picture.")] = 200,
    pictures: Annotated[int, typer.Option(help="How many of them there are.")] = 1,
) -> None:
    """The largest resident memory of `carcli down` and `up` on large pictures."""
    for name in model or DEFAULT_MODELS:
        _print(batches.memory(megapixels, name, scale, precision, pictures))


@app.command()
def cluster(
    machines: Annotated[list[int] | None, typer.Option(help="Simulated ones; repeatable.")] = None,
    images: Annotated[int, typer.Option(help="For each machine.")] = 200,
    seconds: Annotated[float, typer.Option(help="That a worker takes for one, in which it only waits.")] = 0.2,
) -> None:
    """The share of its workers' time that a Ray cluster keeps busy, and what an image costs the one who asks."""
    from carcli.bench.speed import clusters  # and with it Ray

    for count in machines or [1, 2, 4]:
        _print(clusters.measure(count, images, seconds))


@app.command()
def listing(images: Annotated[int, typer.Option(help="That a simulated store lists.")] = 10_000_000) -> None:
    """What planning very many images of a store takes, and their journal."""
    _print(listings.measure(images))
