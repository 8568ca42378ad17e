"""Who computes on how many threads: our own kernels as many as torch, and how many images a device computes side by side.

No result depends on any of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from carcli.runtime.limits import cores

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def spread(task: Callable[[int, int], object], jobs: Sequence[tuple[int, int]]) -> None:
    """Run ``task``, which releases the interpreter's lock, for every job, in any order; return when all are done.

    On as many threads as torch has for the caller. Raises what the first job to fail raises.
    """
    threads = torch.get_num_threads()
    if min(threads, len(jobs)) < 2:
        for job in jobs:
            task(*job)
        return
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="kernel")
        pool = _pools[threads]
    for future in [pool.submit(task, *job) for job in jobs]:
        future.result()


def streams(device: torch.device) -> int:
    """Images that a device computes side by side: two on a CPU of several cores, one on anything else.

    The threads of one network wait for the slowest of them at the end of every layer, above all where
    an encoder takes a core from one. Two networks of half the threads do not wait for each other.
    More would each hold a tile's activations in memory.
    """
    return 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1


def within_limits() -> None:
    """Let torch compute on no more threads than this process may use at once: it asks for a host's cores, not a container's.

    A setting of the whole process: the program's to make, not a library's.
    """
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
