"""What commands share: options, exit codes, and how something is said."""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

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


def note_precision(device: str, precision: str) -> None:
    """Say it where a device would have to emulate the precision asked for."""
    if precision == "fp32":
        return
    from carcli.runtime.device import has_bf16, pick_device

    chosen = pick_device(device)
    if chosen.type == "cpu" and not has_bf16(chosen):
        say_error(f"this processor has no {precision} arithmetic and emulates it: fp32 is many times as fast here")
