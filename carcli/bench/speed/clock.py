"""Seconds that a piece of work takes, on a device that may go on by itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def synchronise(device: torch.device) -> None:
    """Wait for what was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Of every run but the first one."""
    run()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        run()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def median(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the median of several runs, after one that does not count."""
    return statistics.median(_seconds(run, device, repeats))


def fastest(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    return min(_seconds(run, device, repeats))
