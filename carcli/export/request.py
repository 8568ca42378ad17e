"""What is asked to be exported, judged before torch is loaded."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.errors import UsageError
from carcli.runtime import paths
from carcli.weights.choose import Choice, choose

if TYPE_CHECKING:
    from carcli.models.base import Half

PACKAGES = ("onnx", "onnxscript")
PRECISIONS = ("fp32", "fp16")  # that weights are stored as
HALVES: tuple[Half, ...] = ("down", "up")


def exportable(model: str, scale: int | None = None) -> Choice:
    """The checkpoint that is meant. Raises as ``choose`` does, and ``UsageError`` where it is no single pair of networks."""
    choice = choose(model, scale)
    own = choice.description
    if choice.torch_alone:
        raise UsageError(f"{own.id} is computed step by step, and is no network; export bicubic, or a checkpoint")
    if choice.steps:
        each = Counter(step.description.id for step in choice.steps)
        parts = " and ".join(
            identity if times == 1 else f"{identity} (applied {times} times)" for identity, times in each.items()
        )
        raise UsageError(f"{own.id} at scale {own.scale} is several networks one after another; export each by itself: {parts}")
    return choice


def ready(model: str, scale: int | None = None) -> Choice:
    """As ``exportable``. Raises ``UsageError`` where packages are missing too."""
    choice = exportable(model, scale)
    if any(find_spec(package) is None for package in PACKAGES):
        raise UsageError("exporting needs more packages: pip install 'carcli[onnx]'")
    return choice


def halves_of(choice: Choice) -> tuple[Half, ...]:
    """The halves that a checkpoint has: what only enlarges has no downscaler."""
    return ("up",) if choice.only_up else HALVES


def check(model: str, folder: Path, *, scale: int | None = None, precision: str = "fp32", overwrite: bool = False) -> Choice:
    """The checkpoint to be exported into a folder.

    Raises ``UsageError`` where packages are missing, a file is there already, or the model cannot be exported, and as
    ``exportable`` does.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use {', '.join(PRECISIONS)}")
    choice = ready(model, scale)
    for half in halves_of(choice):
        if not overwrite and paths.is_there(folder / f"{half}.onnx"):
            raise UsageError(f"{folder / f'{half}.onnx'}: is there already; add --overwrite, or name another folder with -o")
    return choice
