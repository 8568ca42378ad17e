"""Objects of stores read ahead of their turn: while some are computed, the next ones arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

from carcli.batch.job import Idle, Job, Result
from carcli.errors import CarcliError
from carcli.stores.schemes import store_of
from carcli.stores.store import MOST, Stored
from carcli.stores.url import Url

Content: TypeAlias = "Future[tuple[bytes, Stored]]"
KNOWN = 64  # jobs ahead at most, those that are settled without work too


class Turn(NamedTuple):
    """A job whose turn it is."""

    job: Job
    settled: Result | None  # where nothing is to be done
    content: Content | None  # what is in its source, where that is in a store


class Ahead:
    """Jobs in their order. Files wait for their turn, as they always did; of objects some are read before.

    ``settle`` says what is known of a job without doing it, ``stopped`` when to give up reading.
    """

    def __init__(
        self,
        jobs: Iterator[Job | Idle],
        settle: Callable[[Job], Result | None],
        stopped: Callable[[], bool],
        images: int,
        memory: int,
    ) -> None:
        """At most ``images`` objects of ``memory`` bytes in all are read ahead, but one of any size."""
        self._jobs, self._settle, self._stopped = jobs, settle, stopped
        self._images, self._memory = images, memory
        self._turns: deque[Turn | Idle] = deque()
        self._broken: CarcliError | None = None  # why there are no more
        self._pool: ThreadPoolExecutor | None = None

    def next(self) -> Turn | Idle | None:
        """The next one; None at the end. Raises what the jobs do, once those before are through."""
        while self._broken is None and (not self._turns or self._has_room()):
            try:
                job = next(self._jobs, None)
            except CarcliError as error:
                self._broken = error
                break
            if job is None:
                break
            self._turns.append(job if isinstance(job, Idle) else self._turn(job))
        if self._turns:
            return self._turns.popleft()
        if self._broken is not None:
            raise self._broken
        return None

    def _turn(self, job: Job) -> Turn:
        settled = self._settle(job)
        return Turn(job, settled, None if settled is not None or not isinstance(job.source, Url) else self._begun(job.source))

    def _begun(self, source: Url) -> Content:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._images, "read")
        return self._pool.submit(store_of(source).read, source, MOST, self._stopped)

    def _has_room(self) -> bool:
        last = self._turns[-1]
        if isinstance(last, Idle) or not isinstance(last.job.source, Url) or len(self._turns) >= KNOWN:
            return False
        reading = [turn.job for turn in self._turns if isinstance(turn, Turn) and turn.content is not None]
        size = sum(job.listed.size for job in reading if job.listed is not None)
        return len(reading) < self._images and size < self._memory

    def shutdown(self) -> None:
        """Give up what nobody waits for any more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
