"""A worker of a cluster: a task's networks on one machine, and the pipeline of a single machine over a share of the jobs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import torch

from carcli.batch.cluster.ledger import TRIES, Share
from carcli.batch.history import NoHistory
from carcli.batch.job import Result
from carcli.batch.observer import SILENT
from carcli.batch.options import Options
from carcli.batch.pipeline import Pipeline
from carcli.batch.work import Task
from carcli.errors import CarcliError
from carcli.images.formats import allow_large_images
from carcli.images.written import Encoding
from carcli.runtime.limits import cores, memory
from carcli.runtime.memory import give_back_at_once

GIVEN_UP = f"the process that worked on it died {TRIES} times; try it on one machine, or with less at once (--jobs)"


@dataclass(frozen=True)
class Duty:
    """What every worker is for, as plain data."""

    task: Task
    options: Options  # of one worker
    encoding: Encoding
    threads: int  # that it computes on
    version: str  # of the carcli that asks
    folder: str  # that it works in: relative names, as a model's may be, are meant there


class _Noting(NoHistory):
    """Tells the ledger of every image as it ends."""

    def __init__(self, note: Callable[[Result], None]) -> None:
        self._note = note

    def record(self, result: Result) -> None:
        self._note(result)


class Worker:
    """An actor of Ray Data: it loads the networks once, and maps numbers of jobs to their results."""

    def __init__(self, duty: Duty, ledger: Any) -> None:
        self._ledger = ledger
        self._error: Exception | None = None
        try:
            self._begin(duty)
        except Exception as error:  # Ray would begin again and again; what a call raises ends the run
            self._error = error

    def _begin(self, duty: Duty) -> None:
        from carcli.version import __version__

        if duty.version != __version__:
            told = f"a machine of the cluster has carcli {__version__}, and the one that asks {duty.version}; install the same"
            raise CarcliError(told)
        with suppress(OSError):  # whatever is named in full is found all the same
            os.chdir(duty.folder)
        torch.set_num_threads(duty.threads)
        allow_large_images()
        give_back_at_once()
        room = duty.options.memory or memory() // 2 * duty.threads // max(duty.threads, cores())  # others are here too
        self._options = replace(duty.options, overwrite=True, memory=room)  # what stays has been decided
        self._encoding = duty.encoding
        self._workers = [w for device in duty.options.devices for w in duty.task.load(device, SILENT, duty.encoding)]

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """A table with a column ``id`` of numbers → tables of ``id`` and the ``result`` of each, pickled."""
        if self._error is not None:
            raise self._error
        shares: Sequence[Share] = ray.get(self._ledger.take.remote(table["id"].to_pylist()))
        for number, result in self._results(shares):
            yield pa.table({"id": [number], "result": pa.array([pickle.dumps(result)], pa.binary())})

    def _results(self, shares: Sequence[Share]) -> Iterator[tuple[int, Result]]:
        fresh: list[Share] = []
        for share in shares:
            if share.result is not None:
                yield share.number, share.result
            elif share.deaths >= TRIES:
                yield share.number, Result(share.job.source, share.job.target, "failed", GIVEN_UP, GIVEN_UP)
            elif share.deaths:
                yield from self._done([share])
            else:
                fresh.append(share)
        yield from self._done(fresh)

    def _done(self, shares: Sequence[Share]) -> Iterator[tuple[int, Result]]:
        """Do jobs side by side; which ones is known before any is begun."""
        if not shares:
            return
        numbers = {share.job.source: share.number for share in shares}
        ray.get(self._ledger.begin.remote(list(numbers.values())))

        def note(result: Result) -> None:
            self._ledger.end.remote(numbers[result.source], result)

        pipeline = Pipeline(self._workers, self._options, encoding=self._encoding, history=_Noting(note))
        for result in pipeline.run(share.job for share in shares):
            yield numbers[result.source], result
