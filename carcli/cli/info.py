"""``carcli info``: what an image's tag says, and what this machine would use."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from carcli.cli.common import SOME_FAILED, Json, emit, say, say_error, say_waits
from carcli.errors import ImageError


def _say_file(record: dict[str, Any]) -> None:
    kind = ("grey" if record["grey"] else "RGB") + (" with alpha" if record["alpha"] else "")
    say(f"{record['file']}: {record['format'] or 'image'}, {record['width']}x{record['height']} {kind}")
    tag = record["tag"]
    if tag:
        scale = f"scale {tag['scale']}"
        if tag.get("resize"):
            across, down = tag["width"] / tag["lr_width"], tag["height"] / tag["lr_height"]
            scale = f"{scale} after a resize ({tag['resize']}): {across:.2f} and {down:.2f} times smaller"
        say(f"  made by carcli with {tag['checkpoint']} (SHA-256 {tag['digest'][:12] or 'none'}), {scale}")
        grey = " grey" if tag["grey"] else ""
        say(f"  original {tag['width']}x{tag['height']}{grey}; restore it with: carcli up {shlex.quote(record['file'])}")
    elif record["tag_error"]:
        say(f"  {record['tag_error']}")
    else:
        say("  no carcli tag: an ordinary image")


def _say_machine(record: dict[str, Any]) -> None:
    for name, value in record.items():
        if value or value == 0:
            say(f"{name.replace('_', ' '):>15}  {', '.join(value) if isinstance(value, list) else value}")


def info(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Images to describe.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the tag in an image says; without a file, what this machine would use."""
    if not files:
        from carcli.cli import machine  # and with it torch

        say_waits()
        record = machine.describe()
        if as_json:
            emit("machine", record)
        else:
            _say_machine(record)
        return
    from carcli.cli import describe

    failed = False
    for path in files:
        try:
            record = describe.file(path)
        except ImageError as error:
            failed = True
            say_error(f"{path}: {error}")
            if as_json:
                emit("file", {"file": str(path), "error": str(error)})
            continue
        if as_json:
            emit("file", record)
        else:
            _say_file(record)
    if failed:
        raise typer.Exit(SOME_FAILED)
