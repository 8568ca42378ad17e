"""Our own kernels on as many threads as torch uses; they release the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def spread(task: Callable[[int, int], object], jobs: Sequence[tuple[int, int]]) -> None:
    """Run ``task`` for every job, in any order, and return when all are done."""
    threads = torch.get_num_threads()
    if min(threads, len(jobs)) < 2:
        for job in jobs:
            task(*job)
        return
    with _lock:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="kernel"))
    for one in [pool.submit(task, *job) for job in jobs]:
        one.result()
