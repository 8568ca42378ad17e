"""``carcli weights``: the store of checkpoints and benchmark datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carcli.cli import complete
from carcli.cli.common import CANNOT_RUN, SOME_FAILED, Json, Quiet, counted, emit, say, say_error, show
from carcli.cli.downloads import download_bar
from carcli.errors import WeightsError
from carcli.models.families import ALSO

if TYPE_CHECKING:
    from carcli.weights.manifest import Dataset, Entry

app = typer.Typer(
    help="The store of checkpoints and benchmark datasets.", no_args_is_help=True, epilog="Example: carcli weights list"
)
Id = Annotated[str, typer.Argument(metavar="ID", help="A checkpoint's or dataset's id.", autocompletion=complete.stored)]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="Ids of checkpoints and datasets.", show_default=False, autocompletion=complete.stored),
]
NUMBERS = ("scale", "parameters", "images", "MB")  # columns on the right


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
    return table


def _checkpoint_table(states: Sequence[tuple[Entry, str]]) -> Table:
    title = "Checkpoints (PSNR in dB on Y, at scale 1 over RGB; HR restored / LR against bicubic)"
    table = _table(title, ("id", "family", "scale", "state", "parameters", "MB"))
    measured = list(dict.fromkeys(figures.dataset for entry, _ in states for figures in entry.figures if figures.plain))
    for name in measured:
        table.add_column(name, justify="right", no_wrap=True)
    for entry, state in states:
        psnr = {f.dataset: f"{f.psnr_rgb or f.psnr_y:.2f} / {f.lr_psnr_y:.2f}" for f in entry.figures if f.plain}
        parameters, size = f"{entry.parameters / 1e6:.2f} M", f"{entry.bytes / 1e6:.1f}" if entry.bytes else ""
        also = {usual: name for name, usual in ALSO.items()}
        family = f"{entry.variety} ({also[entry.family]})" if entry.family in also else entry.variety
        cells = [entry.id, family, f"x{entry.scale}", state, parameters, size]
        table.add_row(*map(Text, cells), *(psnr.get(name, "") for name in measured))
    return table


def _dataset_table(states: Sequence[tuple[Dataset, str]]) -> Table:
    table = _table("Datasets", ("id", "images", "MB", "state"))
    for dataset, state in states:
        size = sum(file.bytes for file in dataset.files) / 1e6
        table.add_row(dataset.id, str(len(dataset.files)), f"{size:.1f}", state)
    return table


@app.command("list", epilog="Example: carcli weights list --json")
def list_(as_json: Json = False) -> None:
    """List every checkpoint and dataset: whether it is here, its size, and what it reaches."""
    from carcli.weights import inventory

    checkpoints, datasets = inventory.checkpoints(), inventory.datasets()
    if as_json:
        for entry in checkpoints:
            fields = {**entry.model_dump(), "path": inventory.place(entry), "state": inventory.state(entry)}
            emit("checkpoint", fields)
        for dataset in datasets:
            count = {"files": len(dataset.files), "present": inventory.present(dataset)}
            emit("dataset", {"id": dataset.id, "path": inventory.place(dataset), **count})
        return
    width = max(Console().width, 140)
    show(_checkpoint_table([(entry, inventory.state(entry)) for entry in checkpoints]), width)
    show(_dataset_table([(dataset, inventory.state(dataset)) for dataset in datasets]), width)


@app.command(epilog="Example: carcli weights fetch set14")
def fetch(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have a source.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch checkpoints and datasets into the store. CARCLI_MIRROR, a folder or an address, is asked first."""
    from carcli.weights import inventory

    wanted = inventory.wanted(ids or [], everything)
    failed = 0
    with download_bar(quiet or as_json) as watch:
        for item in wanted:
            try:
                path = inventory.fetch(item, watch)
            except WeightsError as error:
                failed += 1
                if as_json:
                    emit("failed", {"id": item.id, "reason": str(error)})
                say_error(str(error))
                continue
            if as_json:
                emit("fetched", {"id": item.id, "path": path})
            elif not quiet:
                say(f"{item.id}: {path}")
    if failed:
        raise typer.Exit(SOME_FAILED if failed < len(wanted) else CANNOT_RUN)


@app.command("import", epilog="Example: carcli weights import kgn.pth usn.pth")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="kgn.pth and usn.pth, a folder, or an archive.")],
    as_json: Json = False,
) -> None:
    """Take over the CAR authors' checkpoints from whoever has the files; they are checked by structure, and pinned."""
    from carcli.weights.importer import import_files

    for entry, path in import_files(files):
        if as_json:
            emit("imported", {"id": entry.id, "path": path})
        else:
            say(f"{entry.id}: {path}; no digest was ever published, so this file's is pinned from now on")


@app.command(epilog="Example: carcli weights verify")
def verify(ids: Ids = None, as_json: Json = False) -> None:
    """Read every file that is here again and check it against its digest."""
    from carcli.weights import inventory

    failed = False
    for item in inventory.items(ids or []):
        if not ids and inventory.state(item) == "missing":
            continue
        problem = inventory.problem(item)
        failed = failed or problem is not None
        if as_json:
            emit("verified", {"id": item.id, "ok": problem is None, "problem": problem})
        elif problem:
            again = f"carcli weights remove {item.id}, then carcli weights fetch {item.id}"
            say_error(f"{item.id}: {problem}; get it again with: {again}")
        else:
            say(f"{item.id}: intact")
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command(epilog="Example: carcli weights remove set14")
def remove(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of checkpoints and datasets.", autocompletion=complete.stored)
    ],
    as_json: Json = False,
) -> None:
    """Delete fetched or imported files from the store; what came with the package stays."""
    from carcli.weights import inventory

    for item in inventory.items(ids):
        removed = inventory.remove(item)
        if as_json:
            emit("removed", {"id": item.id, "files": removed})
        else:
            say(f"{item.id}: {counted(removed, 'file')} removed")


@app.command(epilog="Example: carcli weights path edsr-base-x4")
def path(name: Id, as_json: Json = False) -> None:
    """Print where a checkpoint's file or a dataset's folder is, or would be."""
    from carcli.weights import inventory

    (item,) = inventory.items([name])
    if as_json:
        emit("path", {"id": item.id, "path": inventory.place(item), "state": inventory.state(item)})
    else:
        say(str(inventory.place(item)))
