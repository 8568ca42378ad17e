"""The most memory that a piece of work has taken."""

from __future__ import annotations

import math
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak(device: torch.device) -> None:
    """Begin to watch: the peak from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        CLEAR.write_text("5")  # Linux: VmHWM starts again
    except OSError:
        return


def peak(device: torch.device) -> float:
    """MB since ``reset_peak``: allocated on a GPU, else resident in this process; NaN where it cannot be known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return math.nan
    return int(line.split()[1]) * 1024 / 1e6
