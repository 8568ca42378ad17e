"""``carcli bench``: fidelity against the originals and against what is published, one model beside another."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carcli.cli.common import CANNOT_RUN, Device, Json, Precision, Quiet, allow_large_images, emit, note_precision, say_error
from carcli.cli.weights import download_bar

if TYPE_CHECKING:
    from carcli.bench.compare import Keep, Measured, Shown
    from carcli.rescale.rescaler import Rescaler


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


def _models(names: str, scale: int, device: str, precision: str) -> list[Rescaler]:
    """The rescalers that ``--model`` means at a scale; one that has none there is left out with a word."""
    from carcli.errors import WeightsError
    from carcli.models.families import CLASSICAL
    from carcli.rescale.rescaler import load
    from carcli.weights import store
    from carcli.weights.manifest import entries

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if "all" in wanted:
        here = [e.id for e in entries() if e.scale == scale and store.state(e) != "missing"]
        wanted = list(dict.fromkeys([*here, *CLASSICAL, *(n for n in wanted if n != "all")]))
    found: dict[str, Rescaler] = {}
    for name in wanted:
        if scale == 1 and name in CLASSICAL:
            say_error(f"{name} changes nothing at scale 1, and is left out there")
            continue
        try:
            rescaler = load(name, scale, device, precision)
        except WeightsError as error:
            if len(wanted) == 1 or "at scale" not in str(error):
                raise
            say_error(str(error))
            continue
        found.setdefault(rescaler.id, rescaler)
    return list(found.values())


def _saver(folder: Path) -> Keep:
    from PIL import Image

    def save(measured: Measured, shown: Shown) -> None:
        where = folder / measured.dataset / f"{measured.model.replace(' ', '')}-x{measured.scale}"
        where.mkdir(parents=True, exist_ok=True)
        stem = Path(str(measured.image)).stem
        for kind, pixels in (("lr", shown.lr), ("sr", shown.sr)):
            Image.fromarray(pixels.copy()).save(where / f"{stem}.{kind}.png")

    return save


def _spectra(folder: Path) -> tuple[Keep, Callable[[], None]]:
    """Collect spectra of LR images, and write a model's mean in the end."""
    from carcli.bench import analysis

    collected: dict[str, list[object]] = {}

    def keep(measured: Measured, shown: Shown) -> None:
        name = f"{measured.dataset}-{measured.model.replace(' ', '')}-x{measured.scale}"
        collected.setdefault(name, []).append(analysis.spectrum(shown.lr))

    def finish() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, spectra in collected.items():
            analysis.draw_spectrum(spectra).save(folder / f"{name}.spectrum.png")  # type: ignore[arg-type]

    return keep, finish


def _offsets(folder: Path, region: str, rescalers: dict[tuple[str, int], Rescaler]) -> Keep:
    from carcli.bench import analysis
    from carcli.errors import UsageError
    from carcli.models.resampler_net import ContentAdaptiveResampler

    where: tuple[int, int, int, int] | None = None
    if region:
        try:
            left, top, width, height = (int(n) for n in region.split(","))
        except ValueError as error:
            raise UsageError(f"--region {region!r}: give LEFT,TOP,WIDTH,HEIGHT in LR pixels") from error
        where = (left, top, width, height)

    def keep(measured: Measured, shown: Shown) -> None:
        rescaler = rescalers[measured.model.split(" ")[0], measured.scale]
        if isinstance(rescaler.networks.down, ContentAdaptiveResampler):
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{measured.dataset}-{Path(str(measured.image)).stem}-{measured.model}.offsets.png"
            analysis.draw_offsets(rescaler, shown.hr, where).save(folder / name)

    return keep


def bench(
    dataset: Annotated[
        list[str],
        typer.Option(help="set5, set14, bsd100, urban100 (fetched where missing), or a folder of HR images; repeatable."),
    ],
    scale: Annotated[
        list[int] | None,
        typer.Option(min=1, max=128, help="2, 4, 8, …, 128 (classical: any); 1: colour from grey; repeatable. Default: 4."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Families, checkpoints, .safetensors files, bicubic, lanczos or all, separated by commas.")
    ] = "edsr,tad,bicubic",
    refine: Annotated[str, typer.Option(help="Refine LR images too, by so many iterations: 10,30,100.", show_default=False)] = "",
    refine_method: Annotated[str, typer.Option(help="fast or hcd.")] = "fast",
    protocol: Annotated[
        Protocol, typer.Option(help="sr: PSNR and SSIM on Y, a border cut. tad: PSNR over RGB of HR and LR, whole images.")
    ] = Protocol.sr,
    form: Annotated[Format, typer.Option("--format", help="Of the table.")] = Format.table,
    save: Annotated[Path | None, typer.Option(help="Write every LR and SR image into this folder.", show_default=False)] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write one HTML page with table, charts, images.", show_default=False)
    ] = None,
    spectrum: Annotated[
        Path | None,
        typer.Option(help="Write each model's mean LR spectrum into this folder (CAR, figure 6).", show_default=False),
    ] = None,
    offsets: Annotated[
        Path | None, typer.Option(help="Draw where edsr samples into this folder (CAR, figure 4).", show_default=False)
    ] = None,
    region: Annotated[str, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT in LR pixels, for --offsets. Default: the centre.")] = "",
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Shrink and restore the images of datasets; fidelity, size and speed beside the published figures."""
    import math
    from dataclasses import asdict
    from typing import cast

    from rich.console import Console
    from rich.progress import Progress

    from carcli.bench import table
    from carcli.bench.compare import WIDEST_BORDER, compare
    from carcli.bench.datasets import find
    from carcli.bench.report import Report
    from carcli.errors import UsageError, WeightsError
    from carcli.rescale.refine import Method, Refinement
    from carcli.rescale.rescaler import load
    from carcli.runtime.memory import give_back_at_once

    allow_large_images()
    note_precision(device, precision)
    refinements: list[Refinement | None] = [None]
    try:
        refinements += [Refinement(int(n), cast(Method, refine_method)) for n in refine.split(",") if n.strip()]
    except ValueError as error:
        raise UsageError(f"--refine {refine!r}: give numbers of iterations, separated by commas") from error
    if len(refinements) > 1:
        give_back_at_once()
    scales = list(dict.fromkeys(scale or [4]))
    rescalers = {s: _models(model, s, device, precision) for s in scales}
    if not any(rescalers.values()):
        raise WeightsError(f"none of {model} exists at scale {', '.join(map(str, scales))}")
    with download_bar(quiet or as_json) as watch:
        sets = [find(name, watch) for name in dataset]
    page = Report() if report is not None else None
    keeps: list[Keep] = [page.keep] if page is not None else []
    finish: Callable[[], None] = lambda: None  # noqa: E731
    if save is not None:
        keeps.append(_saver(save))
    if spectrum is not None:
        collect, finish = _spectra(spectrum)
        keeps.append(collect)
    if offsets is not None:
        keeps.append(_offsets(offsets, region, {(r.id, r.scale): r for group in rescalers.values() for r in group}))

    def keep(measured: Measured, shown: Shown) -> None:
        for one in keeps:
            one(measured, shown)

    means: list[Measured] = []
    tad = protocol is Protocol.tad
    border = 0 if tad else WIDEST_BORDER
    total = len(refinements) * sum(len(one.files) for one in sets) * sum(len(group) for group in rescalers.values())
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=quiet or as_json or not console.is_terminal) as bar:
            task = bar.add_task("measuring", total=total)
            for one in sets:
                for at, group in rescalers.items():
                    for row in compare(one, group, load("bicubic", at, device), keep if keeps else None, refinements, border):
                        if row.image is None:
                            means.append(row)
                        else:
                            bar.update(task, advance=1, description=f"{row.dataset}/{row.image} {row.model}: {row.psnr_y:.2f} dB")
                        if as_json:
                            finite = {
                                k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()
                            }
                            emit({"event": "mean" if row.image is None else "image", **finite})
                        elif not quiet and row.image is not None and not console.is_terminal:
                            say_error(f"{row.dataset}/{row.image} {row.model} x{row.scale}: {row.psnr_y:.2f} dB")
        finish()
        made = table.assemble(means, {one.name: len(one.files) for one in sets})
        if page is not None and report is not None:
            page.write(report, made)
    except OSError as error:
        say_error(f"{error.filename or report or save}: {error.strerror or error}")
        raise typer.Exit(CANNOT_RUN) from error
    if as_json:
        return
    if form is Format.table:
        out = Console() if Console().is_terminal else Console(width=200)
        out.print(table.rich(made, out.width, tad))
    else:
        shown = {Format.csv: table.comma_separated, Format.json: table.as_json}
        print(table.markdown(made, tad) if form is Format.md else shown[form](made))
