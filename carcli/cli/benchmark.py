"""What ``carcli bench`` does: a benchmark with a progress bar and a table, or as lines of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from carcli.bench import benchmark, files, rate_table, table
from carcli.bench.benchmark import Observer, Plan
from carcli.bench.compare import WIDEST_BORDER, Failed, Mean, Measured, Shown
from carcli.bench.datasets import find_all
from carcli.bench.rate import Rate, Rates
from carcli.cli.bars import progress_bar
from carcli.cli.bench_checks import Asked
from carcli.cli.bench_flags import BenchFlags, Format, Protocol
from carcli.cli.common import (
    CANNOT_RUN,
    SOME_FAILED,
    counted,
    emit,
    note_precision,
    say_error,
    say_left_out,
    say_waits,
    show,
)
from carcli.cli.downloads import download_bar
from carcli.cli.flags import command_line
from carcli.errors import UsageError, WeightsError
from carcli.images.formats import allow_large_images
from carcli.runtime import text
from carcli.runtime.memory import give_back_at_once
from carcli.runtime.paths import reason
from carcli.runtime.threads import within_limits


class JsonLines(Observer):
    """One object for each image and each mean, and for each of ``rates`` in the end."""

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates = rates

    def image(self, measured: Measured, shown: Shown) -> None:
        emit("image", asdict(measured))

    def mean(self, mean: Mean) -> None:
        emit("mean", {**asdict(mean.measured), "images": mean.images, "of": mean.of})

    def finish(self, rows: Sequence[table.Row]) -> None:
        for rate in self._rates.rates if self._rates is not None else ():
            emit("rate", asdict(rate))


class Failures(Observer):
    """Every image that cannot be measured, said once as it comes, and counted."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._said: set[Failed] = set()

    def failed(self, failed: Failed) -> None:
        if failed not in self._said:
            self._said.add(failed)
            if self._as_json:
                emit("failed", asdict(failed))
            say_error(f"{failed.dataset}/{failed.image}: left out ({failed.reason})")

    @property
    def count(self) -> int:
        """How many images."""
        return len({(failed.dataset, failed.image) for failed in self._said})


class Terminal(Observer):
    """A progress bar where standard error is a terminal, else a line for each image; the table in the end."""

    def __init__(self, bar: Progress, images: int, flags: BenchFlags, rates: Rates | None = None) -> None:
        self._rates = rates
        self._bar, self._task = bar, bar.add_task("measuring", total=images)
        self._lines = not flags.quiet and not bar.console.is_terminal
        self._rows: Sequence[table.Row] = ()
        self._form, self._tad = flags.form or Format.table, flags.protocol is Protocol.tad

    def image(self, measured: Measured, shown: Shown) -> None:
        place, psnr = text.shown(f"{measured.dataset}/{measured.image}"), f"{measured.psnr_y:.2f} dB"
        self._bar.update(self._task, advance=1, description=escape(f"{place} {measured.model}: {psnr}"))
        if self._lines:
            say_error(f"{place} {measured.model} x{measured.scale}: {psnr}")

    def failed(self, failed: Failed) -> None:
        self._bar.update(self._task, advance=1)

    def finish(self, rows: Sequence[table.Row]) -> None:
        self._rows = rows

    def show(self) -> None:
        """Print the table on standard output, if the benchmark is through."""
        rows = self._rows
        if not rows:
            return
        if self._rates is not None:
            self._show_rates(self._rates.rates)
        elif self._form is Format.table:
            out = Console() if Console().is_terminal else Console(width=200)
            show(table.rich(rows, out.width, self._tad), out.width)
        elif self._form is Format.md:
            show(table.markdown(rows, self._tad))
        elif self._form is Format.csv:
            show(table.comma_separated(rows))
        else:
            show(table.as_json(rows))

    def _show_rates(self, rates: Sequence[Rate]) -> None:
        if self._form is Format.table:
            out = Console() if Console().is_terminal else Console(width=200)
            show(rate_table.rich(rates), out.width)
        elif self._form is Format.md:
            show(rate_table.markdown(rates))
        elif self._form is Format.csv:
            show(rate_table.comma_separated(rates))
        else:
            show(rate_table.as_json(rates))


def _plan(flags: BenchFlags, asked: Asked) -> Plan:
    """What the options ask for, its datasets fetched. Raises ``UsageError`` and ``WeightsError``."""
    how = flags.precision.value, flags.backend.value
    pairs = {s: benchmark.pairs_of(asked.models, s, flags.device, *how, say=say_error) for s in asked.scales}
    if not any(pairs.values()):
        raise WeightsError(f"none of {flags.model} exists at scale {', '.join(map(str, asked.scales))}")
    resized = any(pair.target is not None for group in pairs.values() for pair in group)
    if flags.refine and resized:
        raise UsageError("--refine takes scales that the models have; leave it out, or the others")
    if any(asked.thumbnails) and (1 in asked.scales or resized):
        raise UsageError("--thumbnails takes scales from 2 on that the models have; leave it out, or the others")
    with download_bar(flags.quiet or flags.as_json) as watch:
        datasets = find_all(flags.dataset, watch)
    say_left_out(Counter(suffix for images in datasets for suffix in images.left_out))
    border = 0 if flags.protocol is Protocol.tad else WIDEST_BORDER
    return Plan(
        datasets=datasets,
        pairs=pairs,
        refinements=asked.refinements,
        widest_border=border,
        device=flags.device,
        keep_grey=flags.keep_grey,
        encodings=asked.encodings,
        thumbnails=asked.thumbnails,
    )


def _files(flags: BenchFlags, plan: Plan, rates: Rates | None) -> Iterator[Observer]:
    """What writes the files that the options ask for."""
    if flags.report is not None:
        yield files.Page(flags.report, plan, rates, command_line("bench", flags))
    if flags.save is not None:
        yield files.SavedImages(flags.save)
    if flags.spectrum is not None:
        yield files.Spectra(flags.spectrum)
    if flags.offsets is not None:
        yield files.Offsets(flags.offsets, files.region(flags.region), plan.pairs)


@contextmanager
def _unwritable_is_said(flags: BenchFlags) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # nobody reads any more
        raise
    except OSError as error:
        place = error.filename or flags.report or flags.save or flags.spectrum or flags.offsets
        say_error(f"{place}: {reason(error)}")
        raise typer.Exit(CANNOT_RUN) from error


def run(flags: BenchFlags, asked: Asked) -> None:
    """Carry out ``carcli bench``. Raises ``ImageError`` where nothing can be measured."""
    allow_large_images()
    within_limits()
    say_waits(flags.quiet)
    note_precision(flags.device, flags.precision)
    if flags.refine:
        give_back_at_once()
    plan = _plan(flags, asked)
    failures = Failures(flags.as_json)
    rates = Rates(plan.widest_border) if flags.rate else None
    observers = [failures, *([rates] if rates else []), *_files(flags, plan, rates)]
    if flags.as_json:
        with _unwritable_is_said(flags):
            benchmark.run(plan, [*observers, JsonLines(rates)])
    else:
        bar = progress_bar(wanted=not flags.quiet)
        terminal = Terminal(bar, plan.images, flags, rates)
        try:
            with bar, _unwritable_is_said(flags):
                benchmark.run(plan, [terminal, *observers])
        finally:
            terminal.show()  # where a report cannot be written, too
    if failures.count:
        say_error(f"{counted(failures.count, 'image')} left out")
        raise typer.Exit(SOME_FAILED)
