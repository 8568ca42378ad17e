"""A finished run as a bundled checkpoint, and the figures of bundled ones measured again.

``python tools/bundle.py RUN ID --data TEXT`` copies a run's best checkpoint into the package's folder
of bundled weights, measures it, and prints its entry, with its model card, for ``weights.toml``.
``python tools/bundle.py --measure ID`` measures a bundled checkpoint (or ``all``) on the datasets, at the
scales and through the files of its entry, and prints the entry with the new figures. ``--carrier jpeg
--quality 90`` measures it through such files too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from carcli.bench.compare import Setup, compare
from carcli.bench.datasets import find
from carcli.bench.thumbnails import Thumbnails
from carcli.errors import CarcliError, UsageError
from carcli.images.written import LOSSLESS, Encoding, encoding, encodings
from carcli.rescale.rescaler import load
from carcli.weights import checkpoint, manifest, store
from carcli.weights.choose import AT
from carcli.weights.description import describe
from carcli.weights.manifest import Card, Entry, Figures, OrdinaryFigures


def to_toml(entry: Entry) -> str:
    """A manifest entry as it stands in weights.toml; what has its default value is left out."""
    fields = entry.model_dump(exclude={"card", "figures", "ordinary"}, exclude_defaults=True)
    lines = ["[[checkpoint]]", *_assignments(fields)]
    if entry.card is not None:
        lines += ["[checkpoint.card]", *_assignments(entry.card.model_dump())]
    for figures in entry.figures:
        lines += ["[[checkpoint.figures]]", *_assignments(figures.model_dump(exclude_defaults=True))]
    for ordinary in entry.ordinary:
        lines += ["[[checkpoint.ordinary]]", *_assignments(ordinary.model_dump())]
    return "\n".join(lines) + "\n"


def _assignments(fields: dict[str, Any]) -> Iterator[str]:
    return (f"{key} = {_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(_assignments(value)) + " }" if value else "{}"
    return json.dumps(value, ensure_ascii=False)  # TOML and JSON write strings, numbers, booleans and lists alike


class Place(NamedTuple):
    """Where a checkpoint is measured."""

    dataset: str
    scale: int  # its own, or a power of that
    encoding: Encoding = LOSSLESS  # of its LR files

    @property
    def options(self) -> str:
        """Of ``bench``."""
        form, quality = self.encoding.format.name, self.encoding.quality
        carrier = f" --carrier {form} --quality {quality}" if self.encoding.lossy else ""
        return f"--dataset {self.dataset} --scale {self.scale}{carrier}"


def measure(path: Path, identity: str, places: Iterable[Place]) -> tuple[Figures, ...]:
    """What a checkpoint's file reaches at some places."""
    own = describe(path).scale
    rows = []
    for place in places:
        scale, carrier = place.scale, place.encoding
        rescaler, bicubic = load(str(path), scale, "cpu"), load("bicubic", scale, "cpu")
        mean = compare(find(place.dataset), Setup(rescaler, bicubic, encoding=carrier))
        rows.append(
            Figures(
                dataset=mean.dataset,
                psnr_y=round(mean.psnr_y, 3),
                ssim_y=round(mean.ssim_y, 4),
                lr_psnr_y=round(mean.lr_psnr_y, 2),
                lr_psnr_rgb=round(mean.lr_psnr_rgb, 2),
                lr_psnr_seen=round(mean.lr_psnr_seen, 2),
                lr_bpp=round(mean.lr_bpp, 2),
                command=f"carcli bench {place._replace(dataset=mean.dataset).options} --model {identity}",
                psnr_rgb=round(mean.psnr_rgb, 3) if rescaler.to_grey else 0.0,
                scale=0 if scale == own else scale,
                carrier=carrier.format.name if carrier.lossy else "",
                quality=carrier.quality or 0,
            )
        )
    return tuple(rows)


def measure_ordinary(entry: Entry, thumbnails: str, dataset: str) -> OrdinaryFigures:
    """What the upscaler of a checkpoint makes of a dataset's thumbnails, made as ``Thumbnails.parse`` takes it."""
    scale, model = entry.scale, f"{entry.id}{AT}{entry.ordinary_strength:g}"
    how = Thumbnails.parse(thumbnails)
    bicubic = load("bicubic", scale, "cpu")
    ours, lanczos = (
        compare(find(dataset), Setup(load(name, scale, "cpu"), bicubic, thumbnails=how)).psnr_y for name in (model, "lanczos")
    )
    command = f"carcli bench --dataset {dataset} --scale {scale} --model {model},lanczos --thumbnails '{thumbnails}'"
    figures = {"psnr_y": round(ours, 2), "lanczos_psnr_y": round(lanczos, 2)}
    return OrdinaryFigures(dataset=dataset, thumbnails=thumbnails, command=command, **figures)


def measure_again(entry: Entry, carriers: Sequence[Encoding] = ()) -> Entry:
    """A bundled checkpoint's entry, its figures measured again where they were before, and through ``carriers`` too."""
    places = [
        Place(figures.dataset, figures.scale or entry.scale, encoding(figures.carrier or "png", figures.quality or None))
        for figures in entry.figures
    ]
    through = [Place(figures.dataset, entry.scale, carrier) for figures in entry.figures if figures.plain for carrier in carriers]
    places = list(dict.fromkeys([*places, *through]))
    ordinary = tuple(measure_ordinary(entry, figures.thumbnails, figures.dataset) for figures in entry.ordinary)
    return entry.model_copy(update={"figures": measure(store.verified(entry), entry.id, places), "ordinary": ordinary})


def card(run: Path, recipe: str, data: str, notes: str = "") -> Card:
    """How a run's best checkpoint came to be, from the run's log."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [record for record in log if record["event"] == "validation"][-1]
    starts = [record for record in log if record["event"] == "start"]
    devices = dict.fromkeys(f"{start['processes']} × {start['device']}, {start['precision']}" for start in starts)
    return Card(
        recipe=recipe,
        data=data,
        steps=last["step"],
        minutes=last["minutes"],
        device="; ".join(devices).replace("1 × ", ""),
        notes=notes,
    )


def export(
    run: Path,
    identity: str,
    data: str,
    datasets: list[str],
    notes: str = "",
    scales: list[int] | None = None,
    carriers: Sequence[Encoding] = (),
) -> Entry:
    """Put a run's best checkpoint into the package under an id; returns its manifest entry.

    It is measured at ``scales``: its own, and powers of that by being applied again and again; and at its own
    through ``carriers`` too.
    """
    source = run / "best.safetensors"
    trained = describe(source)
    description = replace(trained, id=identity)
    pair = checkpoint.read(source, description)
    target = manifest.BUNDLED / f"{identity}.safetensors"
    checkpoint.write(target, description, pair.down, pair.up)
    places = [Place(dataset, scale) for scale in scales or [description.scale] for dataset in datasets]
    places += [Place(dataset, description.scale, carrier) for dataset in datasets for carrier in carriers]
    return Entry(
        id=identity,
        family=description.family,
        scale=description.scale,
        file=target.name,
        licence="MIT",
        parameters=sum(p.numel() for net in pair for p in net.parameters()),
        sha256=store.file_digest(target),
        bytes=target.stat().st_size,
        down=dict(description.down),
        up=dict(description.up),
        carrier=description.carrier or "",
        card=card(run, trained.id, data, notes),
        figures=measure(target, identity, places),
    )


def _bundled(names: Iterable[str]) -> list[Entry]:
    bundled = {entry.id: entry for entry in manifest.entries() if entry.bundled.exists()}
    for name in names:
        if name != "all" and name not in bundled:
            raise UsageError(f"{name}: no bundled checkpoint; there are {', '.join(bundled)}")
    return [entry for name, entry in bundled.items() if name in names or "all" in names]


def main(
    run: Annotated[Path | None, typer.Argument(help="Folder of a finished run.", show_default=False)] = None,
    identity: Annotated[str, typer.Argument(metavar="ID", help="What the checkpoint will be called.", show_default=False)] = "",
    data: Annotated[str, typer.Option(help="What it was trained on.", show_default=False)] = "",
    notes: Annotated[str, typer.Option(help="What else its model card says.", show_default=False)] = "",
    dataset: Annotated[list[str], typer.Option(help="Name or folder to measure on; repeatable.")] = ["set5", "set14"],  # noqa: B006
    scale: Annotated[list[int] | None, typer.Option(help="To measure at; repeatable. Default: its own.")] = None,
    carrier: Annotated[str | None, typer.Option(help="Measure through such LR files too.", show_default=False)] = None,
    quality: Annotated[list[int] | None, typer.Option(help="Of the carrier; repeatable.", show_default=False)] = None,
    again: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="ID", help="Measure a bundled one again, or all; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Bundle a finished run, or measure bundled checkpoints again; prints entries for weights.toml."""
    carriers = encodings(carrier, quality or ()) if carrier else []
    if again:
        for entry in _bundled(again):
            print(to_toml(measure_again(entry, carriers)), flush=True)
    elif run is not None and identity and data:
        print(to_toml(export(run, identity, data, dataset, notes, scale, carriers)))
    else:
        raise typer.BadParameter("name a run, an id and --data, or --measure ID")


if __name__ == "__main__":
    try:
        typer.run(main)
    except CarcliError as error:
        sys.exit(f"bundle: {error}")
