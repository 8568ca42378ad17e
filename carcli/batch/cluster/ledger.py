"""What is known of every job of a run while it is under way: kept by one actor beside the driver, asked by all workers.

A worker that dies takes nothing with it: which images were being worked on is written down before they are begun. The first
time, several may have been, so that each is tried again, alone; who dies a second time over one does so over that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from carcli.batch.job import Job, Result

TRIES = 2  # deaths of a worker over an image, until it is given up


class Share(NamedTuple):
    """A job as a worker gets it."""

    number: int
    job: Job
    deaths: int  # of workers that had begun it
    result: Result | None  # of a worker that died over another job later


class Ledger:
    """Jobs by number. Its methods are called one after another, by whoever works."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._begun: dict[int, int] = {}  # times, of those that have not ended
        self._results: dict[int, Result] = {}  # of shares that are not settled as a whole

    def take(self, numbers: Sequence[int]) -> list[Share]:
        """Jobs to be done by the one who asks."""
        return [Share(n, self._jobs[n], self._begun.get(n, 0), self._results.get(n)) for n in numbers]

    def begin(self, numbers: Sequence[int]) -> None:
        """Whoever asks works on these from now on."""
        for number in numbers:
            self._begun[number] = self._begun.get(number, 0) + 1

    def end(self, number: int, result: Result) -> None:
        """What became of one."""
        self._begun.pop(number, None)
        self._results[number] = result

    def arrived(self, numbers: Sequence[int]) -> None:
        """The results of these have reached whoever wants them."""
        for number in numbers:
            self._results.pop(number, None)

    def left(self) -> list[tuple[int, Result]]:
        """Results that have not arrived."""
        return sorted(self._results.items(), key=lambda item: item[0])
