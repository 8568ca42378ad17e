"""Many images at once: while one is computed, others are decoded and encoded, within a bound on what is held.

A worker takes one image through all stages; the networks run in threads of their own, one for each device
and two for a CPU, in each of which one image follows the other.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import torch

from carcli.batch.plan import Job
from carcli.errors import Abandoned, ImageError, UsageError, WeightsError
from carcli.images import codec
from carcli.images.picture import Picture
from carcli.rescale import tiling
from carcli.runtime.files import write_whole
from carcli.runtime.threads import divide

Status = Literal["done", "skipped", "failed"]
Work = Callable[[Picture], tuple[Picture, str, tuple[str, ...]]]  # → the result, the checkpoint's id, notes for the user
Stage = Literal["decode", "compute", "encode"]
T = TypeVar("T")

END = Job(Path(), None)  # what stands where there are no more
AHEAD = 64  # images that may be finished before the one whose turn it is
HELD = 12  # bytes of memory a pixel of the larger of an image and its result


@dataclass(frozen=True)
class Result:
    """What became of one image."""

    source: Path
    target: Path | None
    status: Status
    reason: str | None = None  # of a failure or of skipping
    notes: tuple[str, ...] = ()
    model: str | None = None
    input_size: tuple[int, int] | None = None  # width, height
    output_size: tuple[int, int] | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    seconds: float = 0.0


@dataclass
class Pace:
    """Seconds of work in each stage, over all workers; waiting is not counted."""

    seconds: dict[Stage, float] = field(default_factory=lambda: {"decode": 0.0, "compute": 0.0, "encode": 0.0})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, stage: Stage, work: Callable[[], T]) -> T:
        """Do it, and count how long it took."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            with self.lock:
                self.seconds[stage] += time.perf_counter() - began

    def slowest(self, workers: int, streams: int) -> Stage:
        """The stage that keeps its threads busy longest: more of anything else would not help."""
        busy = {"decode": self.seconds["decode"] / workers, "encode": self.seconds["encode"] / workers}
        return max(("compute", "decode", "encode"), key=lambda s: busy.get(s, self.seconds["compute"] / streams))


@dataclass(frozen=True)
class Settings:
    """How a batch is run; none of it changes what is written, but ``compression``."""

    overwrite: bool = False
    recorded: Callable[[Job], str] = lambda job: "unknown"  # how an output that is there was made, as the journal says it
    note: Callable[[Result], None] = lambda result: None  # told what became of each image at once, from any thread
    update: bool = False  # replace outputs whose source has changed since
    compression: int = 6  # zlib's level of the PNGs
    workers: int = 0  # images in flight; 0: two more than there are processors
    memory: int = 0  # bytes that images in flight may take; 0: a half of the machine's
    enlarges: Callable[[codec.Header], float] = lambda header: 1.0  # pixels of the result for each one of the file
    stop: Callable[[], bool] = lambda: False  # once true, nothing more is begun

    @property
    def in_flight(self) -> int:
        return self.workers or min((os.cpu_count() or 1) + 2, 16)

    @property
    def room(self) -> int:
        return self.memory or _memory() // 2


def _memory() -> int:
    """Bytes of memory of this machine, or a guess."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def _failed(job: Job, reason: str, began: float) -> Result:
    return Result(job.source, job.target, "failed", reason, seconds=time.monotonic() - began)


class _Streams:
    """The threads that networks run in; a worker borrows one that is free."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._wanted, self._lock = 0, threading.Lock()
        self._cores = torch.get_num_threads()  # of all streams together
        begin = partial(divide, self._cores, lambda: min(self._wanted, len(works)))
        self._threads = [ThreadPoolExecutor(1, f"compute-{i}", begin) for i in range(len(works))]
        self._free: queue.SimpleQueue[tuple[ThreadPoolExecutor, Work]] = queue.SimpleQueue()
        for pair in zip(self._threads, works, strict=True):
            self._free.put(pair)

    def __call__(self, picture: Picture, pace: Pace, stop: Callable[[], bool]) -> tuple[Picture, str, tuple[str, ...]]:
        thread, work = borrowed = self._free.get()
        try:
            if stop() or tiling.abandon.is_set():
                raise Abandoned
            return thread.submit(pace.timed, "compute", lambda: work(picture)).result()
        finally:
            self._free.put(borrowed)

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

    def shutdown(self) -> None:
        """Wait for the threads to end, and give the caller's torch its threads back."""
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)
        torch.set_num_threads(self._cores)


def _process(job: Job, target: Path, compute: _Streams, settings: Settings, pace: Pace) -> Result:
    began = time.monotonic()
    try:
        with compute.wanted():
            picture = pace.timed("decode", lambda: codec.read(job.source))
            made, model, notes = compute(picture, pace, settings.stop)
        input_size, decoded_notes = picture.size, picture.notes
        del picture

        def write() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, lambda file: codec.encode(made, file, settings.compression))

        pace.timed("encode", write)
        input_bytes, output_bytes = job.source.stat().st_size, target.stat().st_size
    except (ImageError, WeightsError, UsageError) as error:
        return _failed(job, str(error), began)
    except OSError as error:
        return _failed(job, f"{error.filename or target}: {error.strerror or error}", began)
    except MemoryError:
        return _failed(job, "not enough memory for it", began)
    except RuntimeError as error:  # torch's: a device's memory, above all
        return _failed(job, f"{' '.join(str(error).split())[:200]}", began)
    return Result(
        job.source, target, "done", None, (*decoded_notes, *notes), model,
        input_size, made.size, input_bytes, output_bytes, time.monotonic() - began,
    )  # fmt: skip


def _settle(job: Job, target: Path, compute: _Streams, settings: Settings, pace: Pace) -> Result:
    """Process a job, and note it before anybody can ask for the result: an interrupt cannot come between."""
    result = _process(job, target, compute, settings, pace)
    settings.note(result)
    return result


EXISTS = {
    "unknown": "exists already; --overwrite replaces it",
    "same": "done already",
    "settings": "exists already, made with other settings; --overwrite replaces it",
    "source": "exists already, but its source has changed since; --update replaces it",
}


def _settled(job: Job, settings: Settings) -> Result | None:
    """What is known of a job without doing it."""
    if job.target is None:
        return Result(job.source, None, "failed", job.obstacle or "has no target")
    if not settings.overwrite and job.target.exists():
        how = settings.recorded(job)
        if not (how == "source" and settings.update):
            return Result(job.source, job.target, "skipped", EXISTS[how])
    return None


def _weight(job: Job, settings: Settings) -> int:
    header = codec.peek(job.source)
    return 0 if header is None else round(HELD * header.pixels * max(1.0, settings.enlarges(header)))


def run(jobs: Iterable[Job | None], works: Sequence[Work], settings: Settings, pace: Pace | None = None) -> Generator[Result]:
    """Process jobs and yield what became of each, in their order.

    As many images are computed side by side as there are ``works``: one for each device, ``ops.threads.streams`` for a CPU.
    A None among the jobs says that there is none at the moment.

    An image larger than the memory for images in flight is processed alone. Where the caller
    stops listening, or an exception like ``KeyboardInterrupt`` comes through, images being
    computed are given up, those being written are finished, and nothing is left half done.
    """
    pace = pace or Pace()
    compute = _Streams(works)
    pool = ThreadPoolExecutor(settings.in_flight, "image")
    turns: deque[Result | Future[Result]] = deque()
    running: dict[Future[Result], int] = {}
    source, held = iter(jobs), None  # held: a job too large for what is in flight, and its weight
    tiling.abandon.clear()
    try:
        more = True
        while more or turns:
            while more and len(turns) < AHEAD + settings.in_flight and len(running) < settings.in_flight:
                if held is None:
                    job = END if settings.stop() else next(source, END)
                    if job is END:
                        more = False
                    if job is END or job is None:
                        break
                    known = _settled(job, settings)
                    if known is not None:
                        settings.note(known)
                        turns.append(known)
                        continue
                    held = job, _weight(job, settings)
                job, weight = held
                if running and sum(running.values()) + weight > settings.room:
                    break
                assert job.target is not None
                future = pool.submit(_settle, job, job.target, compute, settings, pace)
                running[future] = weight
                turns.append(future)
                held = None
            while turns and (isinstance(turns[0], Result) or turns[0].done()):
                first = turns.popleft()
                try:
                    yield first if isinstance(first, Result) else first.result()
                except Abandoned:
                    continue
            if running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    del running[future]
    except BaseException:
        tiling.abandon.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        compute.shutdown()
        tiling.abandon.clear()
