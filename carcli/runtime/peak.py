"""The most memory that a piece of work has taken."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

# A module run as a program of its own, its peak the last line of standard error.
PROGRAM = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, file=sys.stderr)
"""


def _status(name: str) -> float:
    """Bytes of a line of Linux's status of this process; NaN where there is none."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return math.nan
    return int(line.split()[1]) * 1024


def resident() -> float:
    """Bytes of this process in memory; NaN where it cannot be known."""
    return _status("VmRSS")


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
    return _status("VmHWM") / 1e6


def largest_extra(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that ``run`` takes at most beside what there was before it, its result included; None where unknown."""
    if device.type == "cuda":
        before: float = torch.cuda.memory_allocated(device)
    else:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        if trim is not None:
            trim(0)  # what was freed before must not serve again unseen
        before = _status("VmRSS")
    reset_peak(device)
    result = run()
    extra = peak(device) * 1e6 - before
    del result
    return None if math.isnan(extra) else max(round(extra), 0)


def peak_of_program(module: str, arguments: Sequence[str]) -> int:
    """Bytes of resident memory at most of ``python -m module`` with ``arguments``.

    Raises RuntimeError, with the end of what it said, where the program fails.
    """
    process = subprocess.run([sys.executable, "-c", PROGRAM, module, *arguments], capture_output=True, text=True, check=False)
    if process.returncode:
        command = " ".join([module, *arguments[:1]])
        raise RuntimeError(f"{command} ended with {process.returncode}: {process.stderr.strip()[-500:]}")
    return int(process.stderr.split()[-1])
