"""How ``down`` and ``up`` are carried out: what is planned, run and said, and with which exit code it ends."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import typer

from carcli.batch import Batch, Down, Estimate, Options, Refinement, Request, Up
from carcli.batch.names import names
from carcli.batch.record import of_estimate, of_job
from carcli.batch.work import Task
from carcli.cli.batches import BatchFlags
from carcli.cli.common import INTERRUPTED, SOME_FAILED, Interrupt, allow_large_images, emit, say, say_error, say_left_out
from carcli.cli.reports import JsonLines, Report, Terminal
from carcli.errors import CarcliError, UsageError
from carcli.images.written import PNG
from carcli.rescale.sizes import Target
from carcli.runtime.memory import give_back_at_once
from carcli.runtime.threads import within_limits

__all__ = ["Down", "Refinement", "Request", "Target", "Up", "carry_out"]

STANDARD_INPUT = Path("-")
LEVEL = 6  # of PNGs, where none is named


def _options(flags: BatchFlags) -> Options:
    return Options(
        recursive=flags.recursive,
        include=tuple(flags.include or ()),
        exclude=tuple(flags.exclude or ()),
        from_file=None if flags.from_file == STANDARD_INPUT else flags.from_file,
        watch=flags.watch,
        overwrite=flags.overwrite,
        update=flags.update,
        ignore_space=flags.ignore_space,
        max_errors=1 if flags.fail_fast else flags.max_errors,
        format=flags.form,
        quality=flags.quality,
        compression=LEVEL if flags.png_level is None else flags.png_level,
        devices=tuple(flags.devices),
        workers=flags.workers,
    )


def _report(flags: BatchFlags, verb: str, interrupt: Interrupt | None) -> Report:
    enough = interrupt or (lambda: False)
    if flags.as_json:
        return JsonLines(verb, bar=False, enough=enough)
    return Report(verb, bar=False, enough=enough) if flags.quiet else Terminal(verb, enough=enough)


def carry_out(flags: BatchFlags, task: Task, keep: bool = False) -> None:
    """Run a batch and report it; exits with the code that tells how it went.

    With ``keep``, Ctrl-C takes an image that is being refined as it is, and ends the batch then.
    """
    allow_large_images()
    within_limits()
    piped = names(sys.stdin.buffer.read()) if flags.from_file == STANDARD_INPUT else []
    interrupt = Interrupt() if keep else None
    try:
        report = _report(flags, task.verb, interrupt)
        batch = Batch(task, [*(flags.inputs or ()), *piped], flags.output, _options(flags), report)
        if flags.png_level is not None and batch.encoding.format is not PNG:
            raise UsageError(f"--png-level does nothing with {batch.encoding.format.name}; leave it out")
        report.left_out = batch.left_out
        give_back_at_once()
        if flags.dry_run:
            _say_plan(batch, flags)
        else:
            interrupt = interrupt or (Interrupt() if flags.watch else None)
            _run(batch, report, flags, interrupt)
    finally:
        if interrupt is not None:
            interrupt.restore()
    if interrupt is not None and interrupt.asked:
        raise typer.Exit(INTERRUPTED)


def _run(batch: Batch, report: Report, flags: BatchFlags, interrupt: Interrupt | None) -> None:
    results = batch.run(interrupt or (lambda: False))
    if flags.watch and not flags.quiet and not flags.as_json:
        say_error("watching; Ctrl-C ends it")
    with closing(results):  # an interrupt waits for the images being written
        try:
            with report.begin(None if flags.watch else len(batch.jobs)):
                for result in results:
                    report.show(result, batch.slowest())
        except CarcliError:  # the journal cannot be written any more
            report.sum_up(batch.slowest())
            raise
        report.sum_up(batch.slowest())
    if report.tally.counts["failed"]:
        raise typer.Exit(SOME_FAILED)


def _say_plan(batch: Batch, flags: BatchFlags) -> None:
    estimate = batch.estimate()
    seconds = batch.seconds(estimate)
    if flags.as_json:
        for job in batch.jobs:
            emit("plan", of_job(job))
        emit("estimate", {**of_estimate(estimate, seconds), "left_out": dict(batch.left_out)})
        return
    if not flags.quiet:
        for job in batch.jobs:
            say(f"{job.source} -> {job.target}" if job.target is not None else f"{job.source}: {job.obstacle}")
    say(_sum(estimate) + (f"; about {_clock(seconds)}" if seconds is not None else ""))
    say_left_out(batch.left_out)


def _sum(estimate: Estimate) -> str:
    return (
        f"{estimate.waiting} images to do, {estimate.settled} done already, {estimate.refused} that cannot be; "
        f"{estimate.pixels / 1e6:.1f} megapixels, {estimate.input_bytes / 1e6:.1f} MB -> about "
        f"{estimate.output_bytes / 1e6:.1f} MB, {estimate.free_bytes / 1e9:.1f} GB free"
    )


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
