"""The threads that networks run in: one for each worker, in which one image follows the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from carcli.batch.pace import Pace, Spent
from carcli.batch.work import Output, Worker
from carcli.errors import Abandoned
from carcli.images.picture import Picture
from carcli.rescale.turn import Turn


class Streams:
    """Threads that compute side by side and share torch's threads between them; whoever has a picture borrows a free one.

    Once ``cancelled``, what is being computed is given up before its next tile.
    """

    def __init__(self, workers: Sequence[Worker], cancelled: Callable[[], bool], pace: Pace) -> None:
        self._pace = pace
        self._count = len(workers)
        self._wanted, self._lock = 0, threading.Lock()
        self._cores = torch.get_num_threads()  # of all streams together
        self._turn = Turn(cancelled=cancelled, threads=self._share)
        self._threads = [ThreadPoolExecutor(1, f"compute-{i}") for i in range(self._count)]
        self._free: queue.SimpleQueue[tuple[ThreadPoolExecutor, Worker]] = queue.SimpleQueue()
        for pair in zip(self._threads, workers, strict=True):
            self._free.put(pair)

    def _share(self) -> int:
        """Threads of a stream, as many streams as are wanted just now."""
        return self._cores // max(1, min(self._wanted, self._count))

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """While an image is decoded and computed: where fewer of them are left than there are streams, each has more cores."""
        with self._lock:
            self._wanted += 1
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= 1

    def compute(self, picture: Picture, stopped: Callable[[], bool], spent: Spent | None = None) -> Output:
        """What a free stream makes of a picture. Raises ``Abandoned`` where it is cancelled, or ``stopped`` before it begins."""
        thread, worker = borrowed = self._free.get()
        try:
            if stopped() or self._turn.cancelled():
                raise Abandoned
            return thread.submit(self._pace.timed, "compute", lambda: worker(picture, self._turn), spent).result()
        finally:
            self._free.put(borrowed)

    def shutdown(self) -> None:
        """Wait for the threads to end, and give the caller's torch its threads back."""
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)
        torch.set_num_threads(self._cores)
