"""``carcli weights``: the store of checkpoints and benchmark datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carcli.cli.common import CANNOT_RUN, SOME_FAILED, Json, Quiet, emit, say_error

if TYPE_CHECKING:
    from carcli.weights.fetch import Watch
    from carcli.weights.manifest import Dataset, Entry

app = typer.Typer(
    help="The store of checkpoints and benchmark datasets.", no_args_is_help=True, epilog="Example: carcli weights list"
)
Id = Annotated[str, typer.Argument(metavar="ID", help="A checkpoint's or dataset's id.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of checkpoints and datasets.", show_default=False)]


def _find(name: str) -> Entry | Dataset:
    from carcli.errors import WeightsError
    from carcli.weights.manifest import manifest

    everything: list[Entry | Dataset] = [*manifest().checkpoints, *manifest().datasets]
    for one in everything:
        if one.id == name:
            return one
    raise WeightsError(f"unknown checkpoint or dataset {name!r}; see: carcli weights list")


@contextmanager
def download_bar(quiet: bool) -> Iterator[Watch]:
    """A progress bar of what is being fetched, where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from carcli.weights.download import Report

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:

        def watch(name: str) -> Report:
            task = bar.add_task(name, total=None)

            def report(have: int, total: int) -> None:
                bar.update(task, completed=have, total=total, visible=have < total)

            return report

        yield watch


@app.command("list", epilog="Example: carcli weights list --json")
def list_(as_json: Json = False) -> None:
    """List every checkpoint and dataset: whether it is here, its size, and what it reaches."""
    from dataclasses import asdict

    from carcli.weights import store
    from carcli.weights.manifest import manifest

    checkpoints, datasets = manifest().checkpoints, manifest().datasets

    def have(dataset: Dataset) -> int:
        folder = store.dataset_folder(dataset.id)
        return sum((folder / file.name).exists() for file in dataset.files)

    if as_json:
        for entry in checkpoints:
            emit({"event": "checkpoint", **asdict(entry), "path": store.checkpoint_path(entry), "state": store.state(entry)})
        for dataset in datasets:
            folder = store.dataset_folder(dataset.id)
            emit({"event": "dataset", "id": dataset.id, "path": folder, "files": len(dataset.files), "present": have(dataset)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Checkpoints (PSNR in dB on Y, at scale 1 over RGB; HR restored / LR against bicubic)")
    for name in ("id", "family", "scale", "state", "parameters", "MB"):
        table.add_column(name, justify="right" if name in ("scale", "parameters", "MB") else "left", no_wrap=True)
    measured = list(dict.fromkeys(f.dataset for e in checkpoints for f in e.figures))
    for name in measured:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in checkpoints:
        figures = {f.dataset: f"{f.psnr_rgb or f.psnr_y:.2f} / {f.lr_psnr_y:.2f}" for f in entry.figures if not f.scale}
        table.add_row(
            entry.id, entry.family, f"x{entry.scale}", store.state(entry), f"{entry.parameters / 1e6:.2f} M",
            f"{entry.bytes / 1e6:.1f}" if entry.bytes else "", *(figures.get(d, "") for d in measured),
        )  # fmt: skip
    sets = Table(title="Datasets")
    for name in ("id", "images", "MB", "state"):
        sets.add_column(name, justify="right" if name in ("images", "MB") else "left", no_wrap=True)
    for dataset in datasets:
        here, total = have(dataset), len(dataset.files)
        state = "fetched" if here == total else f"{here} of {total} here" if here else "missing"
        sets.add_row(dataset.id, str(total), f"{sum(f.bytes for f in dataset.files) / 1e6:.1f}", state)
    console = Console(width=max(Console().width, 140))
    console.print(table)
    console.print(sets)


@app.command(epilog="Example: carcli weights fetch set14")
def fetch(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have a source.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch checkpoints and datasets into the store. CARCLI_MIRROR, a folder or an address, is asked first."""
    from carcli.errors import UsageError, WeightsError
    from carcli.weights import store
    from carcli.weights.fetch import fetch_checkpoint, fetch_dataset
    from carcli.weights.manifest import Entry, manifest

    if bool(ids) == everything:
        raise UsageError("name what to fetch, or pass --all; see: carcli weights list")
    wanted: list[Entry | Dataset] = [_find(name) for name in ids or ()]
    if everything:
        wanted = [*manifest().checkpoints, *manifest().datasets]
    failed = 0
    with download_bar(quiet) as watch:
        for one in wanted:
            try:
                if isinstance(one, Entry):
                    path = store.verified(one) if one.bundled.exists() else fetch_checkpoint(one, watch)
                else:
                    path = fetch_dataset(one, watch)
            except WeightsError as error:
                failed += 1
                if as_json:
                    emit({"event": "failed", "id": one.id, "reason": str(error)})
                say_error(str(error))
                continue
            if as_json:
                emit({"event": "fetched", "id": one.id, "path": path})
            elif not quiet:
                print(f"{one.id}: {path}")
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
            emit({"event": "imported", "id": entry.id, "path": path})
        else:
            print(f"{entry.id}: {path}; no digest was ever published, so this file's is pinned from now on")


@app.command(epilog="Example: carcli weights verify")
def verify(ids: Ids = None, as_json: Json = False) -> None:
    """Read every file that is here again and check it against its digest."""
    from carcli.weights import store
    from carcli.weights.manifest import Entry, manifest

    chosen: list[Entry | Dataset] = [*manifest().checkpoints, *manifest().datasets]
    if ids:
        chosen = [_find(name) for name in ids]
    failed = False
    for one in chosen:
        if isinstance(one, Entry):
            pairs = [(store.checkpoint_path(one), store.pinned_digest(one))]
        else:
            pairs = [(store.dataset_folder(one.id) / file.name, file.sha256) for file in one.files]
        pairs = [(path, digest) for path, digest in pairs if path.exists()]
        if not pairs and not ids:
            continue
        problem = None if pairs else "not here"
        for path, digest in pairs:
            try:
                if store.file_digest(path) != digest:
                    problem = f"{path}: damaged"
            except OSError as error:
                problem = f"{path}: {error.strerror}"
        failed = failed or problem is not None
        if as_json:
            emit({"event": "verified", "id": one.id, "ok": problem is None, "problem": problem})
        elif problem:
            say_error(
                f"{one.id}: {problem}; get it again with: carcli weights remove {one.id}, then carcli weights fetch {one.id}"
            )
        else:
            print(f"{one.id}: intact")
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command(epilog="Example: carcli weights remove set14")
def remove(ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of checkpoints and datasets.")]) -> None:
    """Delete fetched or imported files from the store; what came with the package stays."""
    from carcli.errors import WeightsError
    from carcli.weights import store
    from carcli.weights.manifest import Entry

    for one in [_find(name) for name in ids]:
        if isinstance(one, Entry) and one.bundled.exists():
            raise WeightsError(f"{one.id} came with the package and cannot be removed")
        folder = store.dataset_folder(one.id)
        paths = [store.checkpoint_path(one)] if isinstance(one, Entry) else [folder / file.name for file in one.files]
        removed = 0
        with store.writing(one.id):
            for path in paths:
                try:
                    path.unlink()
                    removed += 1
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise WeightsError(f"{path}: {error.strerror}") from error
            if not isinstance(one, Entry) and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        print(f"{one.id}: {removed} file{'s' * (removed != 1)} removed")


@app.command(epilog="Example: carcli weights path edsr-base-x4")
def path(name: Id) -> None:
    """Print where a checkpoint's file or a dataset's folder is, or would be."""
    from carcli.weights import store
    from carcli.weights.manifest import Entry

    one = _find(name)
    print(store.checkpoint_path(one) if isinstance(one, Entry) else store.dataset_folder(one.id))
