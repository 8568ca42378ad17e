"""What commands share: options, exit codes, and how something is said."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from carcli.cli import complete
from carcli.cli.choices import Backend, FixedPrecision, Precision
from carcli.errors import UsageError
from carcli.runtime.schema import SCHEMA, plain
from carcli.runtime.text import shown

SOME_FAILED, WRONG_USAGE, CANNOT_RUN, INTERRUPTED = 1, 2, 3, 130
NAMED = 5  # folders that a message names at most
NOBODY_LISTENS = 1  # whoever read standard output has gone

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", autocompletion=complete.device)]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="How the networks compute; auto: up in bf16 where that is fast and costs nothing.", case_sensitive=False),
]
BackendOption = Annotated[
    Backend,
    typer.Option(
        help="What computes the networks: torch, onnx and openvino (on a CPU); auto: the fastest here.", case_sensitive=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def needs(option: str, given: bool, others: Mapping[str, object]) -> None:
    """Raise ``UsageError`` where one of the ``others``, which do nothing without ``option``, is given without it."""
    for name, value in others.items():
        if value is not None and not given:
            raise UsageError(f"{name} does nothing without {option}; add that, or leave {name} out")


def excludes(first: str, second: str, both: bool) -> None:
    """Raise ``UsageError`` where ``both`` of two options are given that contradict each other."""
    if both:
        raise UsageError(f"{first} and {second} contradict each other; leave one of them out")


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


class Unwritable(Exception):  # noqa: N818 - what it is, not that it is one
    """Standard output takes nothing more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def say(line: str) -> None:
    """One line on standard output, at once. Raises ``Unwritable``."""
    show(shown(line))


def say_error(message: str) -> None:
    """One line on standard error, if anybody can be told at all."""
    with suppress(OSError, ValueError):
        print(f"carcli: {shown(message)}", file=sys.stderr, flush=True)


def counted(count: int, noun: str) -> str:
    """A number of things: ``1 image``, ``3 images``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def bytes_said(count: float) -> str:
    """So many bytes, in a unit that leaves a few digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


class _Waits(logging.Handler):
    """Says what somebody is waiting for."""

    def emit(self, record: logging.LogRecord) -> None:
        say_error(record.getMessage())


def say_waits(quiet: bool = False) -> None:
    """Say what takes long and is done once, as it begins, unless ``quiet``."""
    log = logging.getLogger("carcli")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(handler, _Waits) for handler in log.handlers):
        log.addHandler(_Waits())
        log.propagate = False


def say_left_out(left_out: Mapping[str, int], passed_over: Sequence[object] = ()) -> None:
    """Say which images in folders were not looked at, counted by suffix, and how to go on with them; and which folders."""
    from carcli.images.formats import advice

    if passed_over:
        named = ", ".join(str(path) for path in passed_over[:NAMED]) + (", …" if len(passed_over) > NAMED else "")
        say_error(f"{named}: made by carcli, and left out; to take what is in there, name it")
    for suffix, count in left_out.items():
        say_error(f"{count} {suffix} file{'s were' if count > 1 else ' was'} left out: {advice(suffix)}")


def show(lines: str | Table, width: int | None = None) -> None:
    """A table, or several lines, on standard output. Raises ``Unwritable``."""
    try:
        if isinstance(lines, str):
            print(lines, flush=True)
        else:
            Console(width=width).print(lines)
    except OSError as error:
        raise Unwritable(error) from error


def emit(event: str, record: Mapping[str, Any]) -> None:
    """One JSON object on standard output: what happened. A figure that is not finite is null. Raises ``Unwritable``."""
    show(json.dumps(plain({"schema": SCHEMA, "event": event, **record}), default=str, allow_nan=False))


def note_precision(device: str, precision: Precision | FixedPrecision) -> None:
    """Say it where a device would have to emulate the precision asked for. Loads torch where that is not the usual one."""
    if precision.value in ("auto", "fp32"):
        return
    from carcli.runtime.device import has_bf16, pick_device

    chosen = pick_device(device)
    if chosen.type == "cpu" and not has_bf16(chosen):
        say_error(f"this processor has no {precision.value} arithmetic and emulates it: fp32 is many times as fast here")
