"""How a batch is shown while it runs, and summed up: lines for a person, or JSON for a program."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from carcli.batch import Observer, Result
from carcli.batch.job import Recorded
from carcli.batch.record import of_result
from carcli.cli.bars import progress_bar
from carcli.cli.common import bytes_said, counted, emit, say, say_error, say_left_out
from carcli.rescale.resolve import Untagged
from carcli.stores.url import Place

REASONS = 20  # the most frequent ones that a summary names
EXISTING: dict[Recorded, str] = {  # what is said of outputs that were left alone
    "unknown": "existed already and stayed; --overwrite replaces them",
    "same": "existed already, made from the same images with the same settings; --overwrite makes them again",
    "settings": "existed already, made with other settings, and stayed; --overwrite replaces them, another -o keeps both",
    "source": "existed already, made from images that have changed since, and stayed; --update replaces them",
}


@dataclass
class Tally:
    """What has come of a batch so far."""

    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "skipped": 0, "failed": 0})
    reasons: Counter[str] = field(default_factory=Counter)  # of failures
    existing: Counter[Recorded] = field(default_factory=Counter)  # how outputs were made that stayed
    pixels: int = 0  # of the larger of each image and its result
    input_bytes: int = 0
    output_bytes: int = 0
    untagged: Counter[Untagged] = field(default_factory=Counter)  # images restored as ordinary ones
    larger: int = 0  # results that take more bytes than what they were made from
    began: float = field(default_factory=time.monotonic)

    def add(self, result: Result) -> None:
        self.counts[result.status] += 1
        if result.status == "failed":
            self.reasons[str(result.kind or result.reason)] += 1
        if result.existing is not None:
            self.existing[result.existing] += 1
        if result.status == "done":
            self.pixels += max(w * h for w, h in (result.input_size or (0, 0), result.output_size or (0, 0)))
            self.input_bytes += result.input_bytes or 0
            self.output_bytes += result.output_bytes or 0
            if result.untagged is not None:
                self.untagged[result.untagged] += 1
            self.larger += (result.output_bytes or 0) > (result.input_bytes or 0)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def speed(self) -> float:
        """Megapixels a second."""
        return self.pixels / 1e6 / max(self.seconds, 1e-9)


class Report(Observer):
    """A progress bar, where standard error is a terminal; failures are named there as they come.

    ``enough`` says whether an image that is being refined shall be taken as it is.
    """

    def __init__(self, verb: str, *, bar: bool = True, enough: Callable[[], bool] = lambda: False) -> None:
        self.verb, self.tally = verb, Tally()
        self.left_out: Mapping[str, int] = {}  # images of kinds that are not read here, by suffix
        self.passed_over: Sequence[Place] = ()  # folders of what was made before
        self._enough = enough
        self._watching = False  # no end is in sight
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
        ]
        self._bar = progress_bar(*columns, wanted=bar)
        self._row = self._bar.add_task(verb, total=None, speed="")

    def begin(self, total: int | None, *, endless: bool = False) -> Report:
        """Count from now on; to be entered as a context while results come. No ``total``: nobody knows it yet."""
        self.tally = Tally()
        self._watching = endless
        self._bar.reset(self._row, total=total, speed="")
        return self

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def refining(self, done: float, gain: float) -> bool:
        self._bar.update(self._row, description=f"{self.verb} (refining, {done:.0%}, {gain:+.2f} dB)")
        return self._enough()

    def show(self, result: Result, slowest: str) -> None:
        """A result whose turn it is; ``slowest`` is the stage that sets the pace."""
        self.tally.add(result)
        self.tell(result)
        speed = f"{self.tally.speed:.2f} HR megapixels/s ({slowest} sets the pace)"
        self._bar.update(self._row, advance=1, speed=speed)

    def tell(self, result: Result) -> None:
        """Say what became of an image."""
        if result.status == "failed":
            say_error(f"{result.name}: {result.reason}")

    def sum_up(self, slowest: str) -> None:
        """Say what became of them all, and what was not looked at."""
        say_left_out(self.left_out, self.passed_over)


class JsonLines(Report):
    """One JSON object for each image, and one for all, on standard output."""

    def tell(self, result: Result) -> None:
        emit("image", of_result(result))
        super().tell(result)

    def sum_up(self, slowest: str) -> None:
        tally = self.tally
        summary = {
            **tally.counts,
            "seconds": round(tally.seconds, 3),
            "input_bytes": tally.input_bytes,
            "output_bytes": tally.output_bytes,
            "slowest": slowest,
            "untagged": tally.untagged.total(),
            "reasons": dict(tally.reasons.most_common()),
            "existing": dict(tally.existing),
            "left_out": dict(self.left_out),
            "passed_over": [str(path) for path in self.passed_over],
        }
        emit("summary", summary)
        super().sum_up(slowest)


class Terminal(Report):
    """A line for each image, and what a user should know of it; without ``lines`` nothing on standard output."""

    def __init__(self, verb: str, *, bar: bool = True, lines: bool = True, enough: Callable[[], bool] = lambda: False) -> None:
        super().__init__(verb, bar=bar, enough=enough)
        self._lines = lines

    def tell(self, result: Result) -> None:
        super().tell(result)
        if result.status == "failed":
            return
        if self._watching and result.untagged is not None and self.tally.untagged[result.untagged] == 1:
            say_error(f"{result.name}: {result.untagged.told()}; said once")
        for note in result.notes:
            say_error(f"{result.name}: {note}")
        if self._lines and result.status == "done" and result.input_size and result.output_size:
            (w, h), (ow, oh) = result.input_size, result.output_size
            say(
                f"{result.name} {w}x{h} {bytes_said(result.input_bytes or 0)} -> {result.target} {ow}x{oh} "
                f"{bytes_said(result.output_bytes or 0)}, {result.model}, {result.seconds:.1f} s"
            )

    def sum_up(self, slowest: str) -> None:
        tally, counts = self.tally, self.tally.counts
        parts = [f"{counts['done']} done"] + [f"{counts[k]} {k}" for k in ("skipped", "failed") if counts[k]]
        sizes = f"{bytes_said(tally.input_bytes)} -> {bytes_said(tally.output_bytes)}"
        if self._lines:
            say(f"{', '.join(parts)} in {tally.seconds:.1f} s; {sizes}")
        if tally.larger and self.verb == "down":
            whose = "the LR image takes" if counts["done"] == 1 else f"{tally.larger} of the LR images take"
            say_error(f"{whose} more bytes than the file {'it was' if counts['done'] == 1 else 'they were'} made from")
        for untagged, count in tally.untagged.items():
            say_error(untagged.told(count))
        for how, count in tally.existing.items():
            say_error(f"{counted(count, 'output')} {EXISTING[how]}")
        super().sum_up(slowest)
        if counts["failed"] > 3:
            for reason, count in tally.reasons.most_common(REASONS):
                say_error(f"{count} failed: {reason}")
