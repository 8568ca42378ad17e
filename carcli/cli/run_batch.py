"""How ``down`` and ``up`` are carried out: what is planned, run and said, and with which exit code it ends."""

from __future__ import annotations

import sys
from contextlib import closing

import typer

from carcli.batch import Batch, Down, Estimate, Options, Refinement, Request, Up
from carcli.batch.inputs import Input, Inputs
from carcli.batch.names import names
from carcli.batch.record import of_estimate, of_job
from carcli.batch.work import Task
from carcli.cli import pipes
from carcli.cli.batches import BatchFlags
from carcli.cli.choices import Executor
from carcli.cli.common import (
    INTERRUPTED,
    SOME_FAILED,
    Interrupt,
    bytes_said,
    counted,
    emit,
    excludes,
    note_precision,
    say,
    say_error,
    say_left_out,
    say_waits,
)
from carcli.cli.reports import JsonLines, Report, Terminal
from carcli.errors import CarcliError, UsageError
from carcli.images.formats import allow_large_images
from carcli.images.written import PNG
from carcli.rescale.sizes import Target
from carcli.runtime.memory import give_back_at_once
from carcli.stores.url import place_of

__all__ = ["Down", "Refinement", "Request", "Target", "Up", "carry_out"]

LEVEL = 6  # of PNGs, where none is named


def _options(flags: BatchFlags) -> Options:
    return Options(
        recursive=flags.recursive,
        include=tuple(flags.include or ()),
        exclude=tuple(flags.exclude or ()),
        from_file=None if flags.from_file in (None, pipes.STANDARD) else place_of(flags.from_file),
        watch=flags.watch,
        overwrite=flags.overwrite,
        update=flags.update,
        ignore_space=flags.ignore_space,
        max_errors=1 if flags.fail_fast else flags.max_errors,
        format=None if flags.form is None else flags.form.value,
        quality=flags.quality,
        compression=LEVEL if flags.png_level is None else flags.png_level,
        devices=tuple(flags.devices),
        workers=flags.workers,
        executor=flags.executor.value,
        address=flags.address,
    )


def _report(flags: BatchFlags, verb: str, interrupt: Interrupt | None) -> Report:
    enough = interrupt or (lambda: False)
    if flags.as_json:
        return JsonLines(verb, bar=False, enough=enough)
    if flags.quiet:
        return Report(verb, bar=False, enough=enough)
    return Terminal(verb, lines=flags.output != pipes.STANDARD, enough=enough)


def carry_out(flags: BatchFlags, task: Task, keep: bool = False) -> None:
    """Run a batch and report it; exits with the code that tells how it went.

    With ``keep``, Ctrl-C takes an image that is being refined as it is, and ends the batch then.
    """
    pipes.check(flags)
    excludes("--refine-keep", "--executor ray", keep and flags.executor is Executor.ray)
    piped = Inputs()
    interrupt = Interrupt() if keep else None
    try:
        with pipes.outgoing(flags) as output:
            report = _report(flags, task.verb, interrupt)
            batch = Batch(task, _inputs(flags, piped), output, _options(flags), report)
            if flags.png_level is not None and batch.encoding.format is not PNG:
                raise UsageError(f"--png-level does nothing with {batch.encoding.format.name}; leave it out")
            report.left_out, report.passed_over = batch.left_out, batch.passed_over
            if batch.computes:
                _make_ready(flags)
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


def _inputs(flags: BatchFlags, piped: Inputs) -> list[Input]:
    """What is named as inputs; what comes in by a pipe is read."""
    listed = names(sys.stdin.buffer.read()) if flags.from_file == pipes.STANDARD else []
    named = [piped.piped(pipes.incoming()) if item == pipes.STANDARD else item for item in dict.fromkeys(flags.inputs or ())]
    return [*named, *listed]


def _make_ready(flags: BatchFlags) -> None:
    """Settings of the whole process, before anything is computed."""
    from carcli.runtime.threads import within_limits  # and with it torch

    allow_large_images()
    within_limits()
    say_waits(flags.quiet)
    for device in flags.devices:
        note_precision(device, flags.precision)
    give_back_at_once()


def _run(batch: Batch, report: Report, flags: BatchFlags, interrupt: Interrupt | None) -> None:
    results = batch.run(interrupt or (lambda: False))
    if flags.watch and not flags.quiet and not flags.as_json:
        say_error("watching; Ctrl-C ends it")
    with closing(results):  # an interrupt waits for the images being written
        try:
            with report.begin(batch.count, endless=flags.watch):
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
        passed_over = [str(path) for path in batch.passed_over]
        emit("estimate", {**of_estimate(estimate, seconds), "left_out": dict(batch.left_out), "passed_over": passed_over})
        return
    if not flags.quiet:
        for job in batch.jobs:
            say(f"{job.name} -> {job.target}" if job.target is not None else f"{job.name}: {job.obstacle}")
    say(_sum(estimate) + (f"; about {_clock(seconds)}" if seconds is not None else ""))
    say_left_out(batch.left_out, batch.passed_over)


def _sum(estimate: Estimate) -> str:
    free = "" if estimate.free_bytes is None else f", {bytes_said(estimate.free_bytes)} free"
    return (
        f"{counted(estimate.waiting, 'image')} to do, {estimate.settled} done already, {estimate.refused} that cannot be; "
        f"{estimate.pixels / 1e6:.{1 if estimate.pixels >= 1e5 else 3}f} megapixels, {bytes_said(estimate.input_bytes)} -> about "
        f"{bytes_said(estimate.output_bytes)}{free}"
    )


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
