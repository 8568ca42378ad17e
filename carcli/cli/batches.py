"""The options that ``down`` and ``up`` share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from carcli.cli import complete
from carcli.cli.choices import Backend, Executor, FileFormat, Precision
from carcli.cli.common import BackendOption, Json, PrecisionOption, Quiet, excludes
from carcli.engines.names import check_backend


@dataclass(frozen=True)
class BatchFlags:
    """The options of a batch; what ``batch_options`` adds to a command."""

    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Image files, folders of them, https:// and s3:// addresses; - is standard input.",
            show_default=False,
            autocompletion=lambda incomplete: [],  # which leaves it to the shell, that knows files
        ),
    ] = None
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Output folder, also s3://…; for one input also a file, whose name says its format; - is standard output.",
            autocompletion=lambda incomplete: [],
        ),
    ] = ""
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into folders of folders, keeping their structure.")] = (
        False
    )
    include: Annotated[
        list[str] | None, typer.Option(help="Of folders, only files like this: '*.jpg', '2024/*'; repeatable.")
    ] = None
    exclude: Annotated[list[str] | None, typer.Option(help="Of folders, no files like this; repeatable.")] = None
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Read more inputs from this file, one a line; - is standard input.",
            show_default=False,
            autocompletion=lambda incomplete: [],
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; otherwise they are skipped.")] = (
        False
    )
    update: Annotated[bool, typer.Option("--update", help="Replace outputs whose source has changed since.")] = False
    workers: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Images in flight. 0: two more than processors.")] = 0
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, how long and how large, and stop.")] = False
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False
    max_errors: Annotated[int | None, typer.Option(min=1, help="Stop after so many failures.")] = None
    ignore_space: Annotated[bool, typer.Option("--ignore-space", help="Start even if the disk seems too full.")] = False
    watch: Annotated[bool, typer.Option("--watch", help="Go on with files that appear, until Ctrl-C.")] = False
    executor: Annotated[
        Executor,
        typer.Option(help="Who computes: threads of this process, or ray: a cluster, whose machines see the same files."),
    ] = Executor.threads
    address: Annotated[
        str | None,
        typer.Option(
            help="Of the Ray cluster. Default: RAY_ADDRESS, else the one that runs here, else this machine alone.",
            show_default=False,
        ),
    ] = None
    device: Annotated[
        str,
        typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; several with commas.", autocompletion=complete.devices),
    ] = "auto"
    precision: PrecisionOption = Precision.auto
    backend: BackendOption = Backend.torch
    tile: Annotated[
        int | None,
        typer.Option(min=16, help="LR pixels a side of a tile; smaller needs less memory. Default: fixed per model."),
    ] = None
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format", help="Default: as the output file is called, else png.", show_default=False, case_sensitive=False
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Of webp (lossless without it), jpeg and avif. Default: the usual one.", show_default=False
        ),
    ] = None
    png_level: Annotated[
        int | None, typer.Option(min=0, max=9, help="PNG compression: 0 fastest, 9 smallest. Default: 6.", show_default=False)
    ] = None
    as_json: Json = False
    quiet: Quiet = False

    @property
    def devices(self) -> list[str]:
        return self.device.split(",")


def batch_options(output: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, which takes them as ``flags``, the options of a batch; ``output`` is the default folder."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            flags = BatchFlags(**{f.name: given.pop(f.name) for f in fields(BatchFlags)})
            excludes("--fail-fast", "--max-errors", flags.fail_fast and flags.max_errors is not None)
            excludes("--dry-run", "--watch", flags.dry_run and flags.watch)
            for device in flags.devices:
                check_backend(flags.backend.value, flags.precision.value, device)
            command(flags, **given)

        shared = inspect.signature(BatchFlags, eval_str=True).parameters
        own = inspect.signature(command, eval_str=True).parameters
        inputs, target, *others = shared.values()
        options = [inputs, *own.values(), target.replace(default=output), *others]
        called.__signature__ = inspect.Signature([o for o in options if o.name != "flags"])  # type: ignore[attr-defined]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return give
