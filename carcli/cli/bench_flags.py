"""The options of ``carcli bench``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from carcli.cli import complete
from carcli.cli.choices import FileFormat, FixedBackend, FixedPrecision, RefineMethod
from carcli.cli.common import Device, Json, Quiet


class Protocol(str, Enum):
    """What is compared, and how."""

    sr = "sr"
    tad = "tad"


class Format(str, Enum):
    """How the table is printed."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


def _folder(text: str) -> object:
    return typer.Option(help=text, show_default=False)


@dataclass(frozen=True)
class BenchFlags:
    """The options of ``bench``."""

    dataset: Annotated[
        list[str],
        typer.Option(
            help="set5, set14, bsd100, urban100 (fetched where missing), or a folder of HR images; repeatable.",
            autocompletion=complete.dataset,
        ),
    ]
    scale: Annotated[
        list[float] | None,
        typer.Option(
            min=1, max=128, help="2, 2.5, 4, …, 128; 1: colour from grey; repeatable. Default: 4.", autocompletion=complete.scale
        ),
    ] = None
    model: Annotated[
        str,
        typer.Option(
            help="Families, checkpoints, .safetensors files, bicubic, dpid… or all, separated by commas.",
            autocompletion=complete.models,
        ),
    ] = "edsr,tad,bicubic"
    refine: Annotated[str, typer.Option(help="Refine LR images too, by so many iterations: 10,30,100.", show_default=False)] = ""
    refine_method: Annotated[
        RefineMethod | None, typer.Option(help="Default: fast.", show_default=False, case_sensitive=False)
    ] = None
    keep_grey: Annotated[bool, typer.Option("--keep-grey", help="LR images of grey images stay grey, as with down.")] = False
    carrier: Annotated[
        FileFormat, typer.Option(help="What the LR image is written as before it is restored.", case_sensitive=False)
    ] = FileFormat.png
    quality: Annotated[list[int] | None, typer.Option(min=1, max=100, help="Of the carrier; repeatable.", show_default=False)] = (
        None
    )
    thumbnails: Annotated[
        str | None,
        typer.Option(help="Restore ordinary ones instead: bicubic,dpid,l0, or as JPEG: 'lanczos q75'.", show_default=False),
    ] = None
    rate: Annotated[
        bool, typer.Option("--rate", help="Instead of the table: bits and fidelity beside JPEG, WebP, AVIF of the full size.")
    ] = False
    protocol: Annotated[
        Protocol, typer.Option(help="sr: PSNR and SSIM on Y, a border cut. tad: PSNR over RGB of HR and LR, whole images.")
    ] = Protocol.sr
    form: Annotated[
        Format | None, typer.Option("--format", help="Of the table. Default: for this terminal.", show_default=False)
    ] = None
    save: Annotated[Path | None, _folder("Write every LR and SR image into this folder.")] = None
    report: Annotated[Path | None, _folder("Write one HTML page with table, charts, images.")] = None
    spectrum: Annotated[Path | None, _folder("Write each model's mean LR spectrum into this folder (CAR, figure 6).")] = None
    offsets: Annotated[Path | None, _folder("Draw where resampling kernels sample into this folder (CAR, figure 4).")] = None
    region: Annotated[str, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT in LR pixels, for --offsets. Default: the centre.")] = ""
    device: Device = "auto"
    precision: Annotated[FixedPrecision, typer.Option(help="How the networks compute.", case_sensitive=False)] = (
        FixedPrecision.fp32
    )
    backend: Annotated[FixedBackend, typer.Option(help="What computes the networks.", case_sensitive=False)] = FixedBackend.torch
    as_json: Json = False
    quiet: Quiet = False
