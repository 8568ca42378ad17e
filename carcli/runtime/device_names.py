"""What devices and precisions are called: told from nonsense without loading what computes."""

from __future__ import annotations

import re

from carcli.errors import UsageError

DEVICE = re.compile(r"auto|(cpu|cuda|mps)(:[0-9]{1,3})?")
KINDS = ("auto", "cpu", "cuda", "mps")
AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "fp16")


def check_device(name: str) -> None:
    """Raise ``UsageError`` for what names no device, here or elsewhere: ``auto``, ``cpu``, ``cuda:1``, ``mps``."""
    if not DEVICE.fullmatch(name):
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or mps")


def pick_precision(name: str) -> str:
    """``auto``, ``fp32``, ``bf16`` or ``fp16``. Raises ``UsageError`` for anything else."""
    if name not in (AUTO, *PRECISIONS):
        raise UsageError(f"unknown precision {name!r}; use {', '.join((AUTO, *PRECISIONS))}")
    return name
