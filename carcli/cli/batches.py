"""What ``down`` and ``up`` share: which files, how many at once, what stops a batch, and what is said of it."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carcli.cli.common import (
    INTERRUPTED,
    Interrupt,
    Json,
    Live,
    Precision,
    Quiet,
    allow_large_images,
    emit,
    note_precision,
    report,
    say_error,
)

if TYPE_CHECKING:
    from carcli.batch.estimate import Estimate
    from carcli.batch.pipeline import Work
    from carcli.batch.plan import Job
    from carcli.images.codec import Header

POLL = 1.0  # seconds between looks at watched folders
QUIET_FOR = 2.0  # seconds since a file's last change before it is taken to be complete
TRIAL = 16_000_000  # pixels of the largest image that a dry run tries


@dataclass(frozen=True)
class Asked:
    """The options of a batch; what ``batch_options`` adds to a command."""

    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="Image files and folders of them.", show_default=False)
    ] = None
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder, or a .png file for one input.")] = Path()
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into folders of folders, keeping their structure.")] = (
        False
    )
    include: Annotated[
        list[str] | None, typer.Option(help="Of folders, only files like this: '*.jpg', '2024/*'; repeatable.")
    ] = None
    exclude: Annotated[list[str] | None, typer.Option(help="Of folders, no files like this; repeatable.")] = None
    from_file: Annotated[
        Path | None, typer.Option(help="Read more inputs from this file, one a line; - is standard input.", show_default=False)
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
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; several with commas.")] = "auto"
    precision: Precision = "fp32"
    tile: Annotated[
        int | None,
        typer.Option(min=16, help="LR pixels a side of a tile; smaller needs less memory. Default: fixed per model."),
    ] = None
    png_level: Annotated[int, typer.Option(min=0, max=9, help="PNG compression: 0 fastest, 9 smallest.")] = 6
    as_json: Json = False
    quiet: Quiet = False

    @property
    def devices(self) -> list[str]:
        return self.device.split(",")


def batch_options(output: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, which takes them as ``asked``, the options of a batch; ``output`` is the default folder."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            asked = Asked(**{f.name: given.pop(f.name) for f in fields(Asked)})
            for device in asked.devices:
                note_precision(device, asked.precision)
            command(asked, **given)

        shared = inspect.signature(Asked, eval_str=True).parameters
        own = inspect.signature(command, eval_str=True).parameters
        inputs, target, *others = shared.values()
        options = [inputs, *own.values(), target.replace(default=Path(output)), *others]
        called.__signature__ = inspect.Signature([o for o in options if o.name != "asked"])  # type: ignore[attr-defined]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return give


@dataclass(frozen=True)
class Kind:
    """What is done to the images of a batch."""

    verb: str
    settings: str  # everything that decides what an image becomes
    area: Callable[[Header], float]  # pixels of an output for each one of its input


def _listed(path: Path) -> list[Path]:
    from carcli.errors import UsageError

    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    text = data.decode(errors="surrogateescape")
    return [Path(name) for name in (text.split("\0") if "\0" in text else text.splitlines()) if name.strip()]


def plan_jobs(asked: Asked) -> list[Job]:
    """The jobs of a batch. Raises ``UsageError`` where there are none, unless they may yet appear."""
    from carcli.batch.plan import Filter, plan
    from carcli.errors import UsageError

    allow_large_images()
    inputs = [*(asked.inputs or ()), *(_listed(asked.from_file) if asked.from_file is not None else ())]
    if not inputs:
        raise UsageError("name image files or folders, or --from-file")
    jobs = plan(inputs, asked.output, asked.recursive, Filter(asked.include or (), asked.exclude or ()))
    if not jobs and not asked.watch:
        raise UsageError(f"no images in {', '.join(map(str, inputs))}; name image files, or add --recursive")
    return jobs


def _ready(jobs: Sequence[Job]) -> None:
    """Make the output folders, and clear away what killed runs left there."""
    from carcli.batch import tasks
    from carcli.runtime.files import remove_leftovers

    folders = {job.target.parent for job in jobs if job.target is not None}
    for folder in folders:
        tasks.writable(folder)
    remove_leftovers(folders)


def _seconds(jobs: Sequence[Job], work: Work, found: Estimate, overwrite: bool) -> float | None:
    """How long a batch will take, from trying its first image that is good for that."""
    from carcli.errors import CarcliError
    from carcli.images import codec

    for job in jobs[:100]:
        header = codec.peek(job.source)
        if job.target is None or (job.target.exists() and not overwrite) or header is None or header.pixels > TRIAL:
            continue
        try:
            picture = codec.read(job.source)
            work(picture)  # what the first use costs is not counted
            began = time.perf_counter()
            work(codec.read(job.source))
        except CarcliError:
            continue
        return (time.perf_counter() - began) * found.pixels / header.pixels
    return None


def _say_plan(jobs: Sequence[Job], found: Estimate, seconds: float | None, asked: Asked) -> None:
    from dataclasses import asdict

    if asked.as_json:
        for job in jobs:
            emit({"event": "plan", **asdict(job)})
        emit({"event": "estimate", **asdict(found), "seconds": seconds})
        return
    if not asked.quiet:
        for job in jobs:
            print(f"{job.source} -> {job.target}" if job.target is not None else f"{job.source}: {job.obstacle}")
    parts = [f"{found.waiting} images to do", f"{found.settled} done already", f"{found.refused} that cannot be"]
    print(
        f"{', '.join(parts)}; {found.pixels / 1e6:.1f} megapixels, {found.input_bytes / 1e6:.1f} MB -> about "
        f"{found.output_bytes / 1e6:.1f} MB, {found.free_bytes / 1e9:.1f} GB free"
        + (f"; about {_clock(seconds)}" if seconds is not None else "")
    )


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _appearing(asked: Asked, stop: Callable[[], bool]) -> Iterator[Job | None]:
    """Jobs as files appear, each once it has stopped changing; a file that failed is tried again when it changes.

    None after each look at the folders.
    """
    tried: dict[Path, tuple[int, int]] = {}
    while not stop():
        for job in plan_jobs(asked):
            try:
                found = job.source.stat()
            except OSError:
                continue
            state = found.st_size, found.st_mtime_ns
            if job.target is None or tried.get(job.source) == state or time.time() - found.st_mtime < QUIET_FOR:
                continue
            tried[job.source] = state
            if not job.target.exists():
                yield job
        time.sleep(POLL)
        yield None


def carry_out(
    asked: Asked,
    jobs: list[Job],
    works: Sequence[Work],
    kind: Kind,
    live: Live | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run a batch and report it; exits with the code that tells how it went."""
    from carcli.batch import tasks
    from carcli.batch.estimate import estimate, refuse_if_full
    from carcli.batch.journal import Journal
    from carcli.batch.pipeline import Pace, Settings
    from carcli.runtime.memory import give_back_at_once

    give_back_at_once()
    found = estimate(jobs, asked.output, kind.area, asked.overwrite)
    if asked.dry_run:
        _say_plan(jobs, found, _seconds(jobs, works[0], found, asked.overwrite), asked)
        return
    if not asked.ignore_space:
        refuse_if_full(found, asked.output)
    _ready(jobs)
    one_file = len(jobs) == 1 and jobs[0].target == asked.output
    journal = None
    if not one_file:
        tasks.writable(asked.output)
        journal = Journal(asked.output, kind.settings)
    watched = Interrupt() if asked.watch else None

    def ended() -> bool:
        return stop() or (watched is not None and watched.asked)

    settings = Settings(
        overwrite=asked.overwrite, update=asked.update, compression=asked.png_level, workers=asked.workers,
        enlarges=kind.area, stop=ended,
    )  # fmt: skip
    pace = Pace()
    every: Iterator[Job | None] = _appearing(asked, ended) if asked.watch else iter(jobs)
    results = tasks.run(every, works, settings, journal=journal, max_errors=1 if asked.fail_fast else asked.max_errors, pace=pace)
    total = None if asked.watch else len(jobs)

    def slowest() -> str:
        return pace.slowest(settings.in_flight, len(works))

    if asked.watch and not asked.quiet and not asked.as_json:
        say_error("watching; Ctrl-C ends it")
    try:
        with closing(results):  # an interrupt waits for the images being written
            report(results, total, kind.verb, asked.as_json, asked.quiet, live, slowest)
    finally:
        if watched is not None:
            watched.restore()
    if watched is not None:
        raise typer.Exit(INTERRUPTED)
