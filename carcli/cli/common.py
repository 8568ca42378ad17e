"""What commands share: options, exit codes, progress and the report of a batch."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from carcli.batch.pipeline import Result

SOME_FAILED, WRONG_USAGE, CANNOT_RUN, INTERRUPTED = 1, 2, 3, 130

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16 or fp16: how the networks compute.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


class Interrupt:
    """Ctrl-C asks for an orderly end; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self.before)

    def __call__(self) -> bool:
        return self.asked

    def restore(self) -> None:
        """Give Ctrl-C its usual meaning back."""
        signal.signal(signal.SIGINT, self.before)


class Live:
    """A word about the image at hand, beside the progress bar."""

    def __init__(self) -> None:
        self.show: Callable[[str], object] = lambda text: None


def say_error(message: str) -> None:
    """One line on standard error."""
    print(f"carcli: {message}", file=sys.stderr)


def allow_large_images() -> None:
    """Let Pillow open what carcli's own limit allows; this process is ours alone."""
    from PIL import Image

    from carcli.images.formats import MAX_PIXELS

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def emit(record: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(record, default=str, allow_nan=False), flush=True)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def report(
    results: Iterable[Result],
    total: int | None,
    verb: str,
    as_json: bool,
    quiet: bool,
    live: Live | None = None,
    slowest: Callable[[], str] = lambda: "compute",
) -> None:
    """Show results as they come and a summary at the end; exit with 1 where some failed.

    ``slowest`` names the stage that sets the pace.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    began = time.monotonic()
    counts = {"done": 0, "skipped": 0, "failed": 0}
    pixels, bytes_in, bytes_out, larger = 0, 0, 0, 0
    reasons: Counter[str] = Counter()
    columns = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[speed]}"),
    ]  # fmt: skip
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(verb, total=total, speed="")
        if live is not None:
            live.show = lambda text: bar.update(task, description=f"{verb} ({text})")
        for result in results:
            counts[result.status] += 1
            if as_json:
                emit({"event": "image", **asdict(result)})
            if result.status == "failed":
                reasons[str(result.reason)] += 1
                say_error(f"{result.source}: {result.reason}")
            elif not quiet and not as_json:
                for note in result.notes:
                    say_error(f"{result.source}: {note}")
                if result.status == "done" and result.input_size and result.output_size:
                    (w, h), (ow, oh) = result.input_size, result.output_size
                    print(
                        f"{result.source} {w}x{h} {_size(result.input_bytes or 0)} -> {result.target} {ow}x{oh} "
                        f"{_size(result.output_bytes or 0)}, {result.model}, {result.seconds:.1f} s",
                        flush=True,
                    )
            if result.status == "done":
                pixels += max(w * h for w, h in (result.input_size or (0, 0), result.output_size or (0, 0)))
                bytes_in += result.input_bytes or 0
                bytes_out += result.output_bytes or 0
                larger += (result.output_bytes or 0) > (result.input_bytes or 0)
            speed = pixels / 1e6 / max(time.monotonic() - began, 1e-9)
            bar.update(task, advance=1, speed=f"{speed:.2f} HR megapixels/s ({slowest()} sets the pace)")
    seconds = time.monotonic() - began
    if as_json:
        emit({
            "event": "summary", **counts, "seconds": seconds, "input_bytes": bytes_in, "output_bytes": bytes_out,
            "slowest": slowest(), "reasons": dict(reasons.most_common()),
        })  # fmt: skip
    elif not quiet:
        parts = [f"{counts['done']} done"] + [f"{counts[k]} {k}" for k in ("skipped", "failed") if counts[k]]
        print(f"{', '.join(parts)} in {seconds:.1f} s; {_size(bytes_in)} -> {_size(bytes_out)}", flush=True)
        if larger and verb == "down":
            say_error(f"{larger} of the LR images take more bytes than the file they were made from")
        if counts["skipped"]:
            say_error(f"{counts['skipped']} outputs existed already and were left alone; --overwrite replaces them")
        if counts["failed"] > 3:
            for reason, count in reasons.most_common(20):
                say_error(f"{count} failed: {reason}")
    if counts["failed"]:
        raise typer.Exit(SOME_FAILED)


def note_precision(device: str, precision: str) -> None:
    """Say it where a device would have to emulate the precision asked for."""
    if precision == "fp32":
        return
    from carcli.runtime.device import has_bf16, pick_device

    chosen = pick_device(device)
    if chosen.type == "cpu" and not has_bf16(chosen):
        say_error(f"this processor has no {precision} arithmetic and emulates it: fp32 is many times as fast here")
