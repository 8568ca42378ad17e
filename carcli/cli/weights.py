"""``carcli weights``: the checkpoints that are there."""

from __future__ import annotations

from typing import Annotated

import typer

from carcli.cli.common import SOME_FAILED, Json, emit, say_error

app = typer.Typer(help="The checkpoint store.", no_args_is_help=True, epilog="Example: carcli weights list")


@app.command("list", epilog="Example: carcli weights list --json")
def list_(as_json: Json = False) -> None:
    """List every checkpoint with its size and what it reaches."""
    from dataclasses import asdict

    from carcli.weights import manifest

    if as_json:
        for entry in manifest.entries():
            emit({"event": "checkpoint", **asdict(entry), "path": entry.path, "present": entry.path.exists()})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Checkpoints (PSNR in dB on Y, HR restored / LR against bicubic)")
    for name in ("id", "family", "scale", "state", "parameters", "MB"):
        table.add_column(name, justify="right" if name in ("scale", "parameters", "MB") else "left")
    datasets = list(dict.fromkeys(f.dataset for e in manifest.entries() for f in e.figures))
    for name in datasets:
        table.add_column(name, justify="right")
    for entry in manifest.entries():
        figures = {f.dataset: f"{f.psnr_y:.2f} / {f.lr_psnr_y:.2f}" for f in entry.figures}
        table.add_row(
            entry.id, entry.family, f"x{entry.scale}", "bundled" if entry.path.exists() else "missing",
            f"{entry.parameters / 1e6:.2f} M", f"{entry.bytes / 1e6:.1f}", *(figures.get(d, "") for d in datasets),
        )  # fmt: skip
    Console(width=max(Console().width, 130)).print(table)


@app.command(epilog="Example: carcli weights verify")
def verify(as_json: Json = False) -> None:
    """Check every checkpoint file against its digest."""
    from carcli.weights import checkpoint, manifest

    failed = False
    for entry in manifest.entries():
        try:
            digest = checkpoint.file_digest(entry.path)
        except OSError as error:
            digest, problem = "", error.strerror
        else:
            problem = None if digest == entry.sha256 else "damaged"
        failed = failed or problem is not None
        if as_json:
            emit({"event": "checkpoint", "id": entry.id, "path": entry.path, "ok": problem is None, "problem": problem})
        elif problem:
            say_error(f"{entry.id}: {entry.path}: {problem}; reinstall carcli")
        else:
            print(f"{entry.id}: intact")
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command(epilog="Example: carcli weights path edsr-base-x4")
def path(checkpoint_id: Annotated[str, typer.Argument(metavar="ID", help="A checkpoint's id.")]) -> None:
    """Print where a checkpoint's file is."""
    from carcli.errors import WeightsError
    from carcli.weights import manifest

    for entry in manifest.entries():
        if entry.id == checkpoint_id:
            print(entry.path)
            return
    raise WeightsError(f"unknown checkpoint {checkpoint_id!r}; see: carcli weights list")
