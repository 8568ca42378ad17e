"""A batch from its inputs to its results: what ``carcli down library/`` does, for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

from carcli.batch.estimate import Estimate, estimate, refuse_if_full
from carcli.batch.folders import make_ready, writable
from carcli.batch.job import Idle, Job, Result
from carcli.batch.journal import Journal
from carcli.batch.names import listed
from carcli.batch.observer import SILENT, Observer
from carcli.batch.options import Options
from carcli.batch.pipeline import Pipeline
from carcli.batch.plan import plan
from carcli.batch.walk import Filter
from carcli.batch.watch import appearing
from carcli.batch.work import Task, Worker
from carcli.errors import CarcliError, UsageError
from carcli.images import codec
from carcli.rescale.turn import ALONE

TRIAL = 16_000_000  # pixels of the largest image that is tried to tell how long a batch will take
TRIED = 100  # jobs among which one that is good for a trial is sought


class Batch:
    """A task, planned for what is there and loaded on its devices; nothing is written before it is run."""

    def __init__(
        self,
        task: Task,
        inputs: Sequence[str | Path],
        output: str | Path,
        options: Options | None = None,
        observer: Observer = SILENT,
    ) -> None:
        """Raises ``UsageError`` where there is nothing to do, and whatever loading the task raises."""
        self.options, self.output = options or Options(), Path(output)
        self._inputs, self._observer = [Path(item) for item in inputs], observer
        self._pipeline: Pipeline | None = None
        self.jobs = self._planned()
        self.workers: list[Worker] = [w for device in self.options.devices for w in task.load(device, observer)]

    def _planned(self) -> list[Job]:
        options = self.options
        inputs = [*self._inputs, *(listed(options.from_file) if options.from_file is not None else ())]
        if not inputs:
            raise UsageError("name image files or folders, or --from-file")
        jobs = plan(inputs, self.output, options.recursive, Filter(options.include, options.exclude))
        if not jobs and not options.watch:
            raise UsageError(f"no images in {', '.join(map(str, inputs))}; name image files, or add --recursive")
        return jobs

    def estimate(self) -> Estimate:
        """What the batch comes to."""
        return estimate(self.jobs, self.output, self.workers[0].area, self.options.overwrite)

    def seconds(self, size: Estimate) -> float | None:
        """How long it will take, from trying its first image that is good for that; None where none is."""
        for job in self.jobs[:TRIED]:
            header = codec.peek(job.source)
            settled = job.target is None or (job.target.exists() and not self.options.overwrite)
            if settled or header is None or header.pixels > TRIAL:
                continue
            try:
                picture = codec.read(job.source)
                self.workers[0](picture, ALONE)  # what the first use costs is not counted
                began = time.perf_counter()
                self.workers[0](codec.read(job.source), ALONE)
            except CarcliError:
                continue
            return (time.perf_counter() - began) * size.pixels / header.pixels
        return None

    def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[Result]:
        """What became of each image, in the order of the jobs; once ``stop`` is true, nothing more is begun.

        Closing it gives up what is being computed, and leaves nothing half written. Raises ``CarcliError``, before
        anything is written, where the disk cannot hold it or the output folder cannot be written.
        """
        if not self.options.ignore_space:
            refuse_if_full(self.estimate(), self.output)
        make_ready(self.jobs)
        journal = None
        if not self._one_file:
            writable(self.output)
            journal = Journal(self.output, self.workers[0].settings)
        self._pipeline = Pipeline(self.workers, self.options, history=journal, observer=self._observer, stop=stop)
        jobs = appearing(self._planned, stop) if self.options.watch else self.jobs
        return _recorded(self._pipeline, jobs, journal)

    @property
    def _one_file(self) -> bool:
        return len(self.jobs) == 1 and self.jobs[0].target == self.output

    def slowest(self) -> str:
        """The stage that sets the pace of a batch that was run: decode, compute or encode."""
        return self._pipeline.slowest() if self._pipeline is not None else "compute"


def _recorded(pipeline: Pipeline, jobs: Iterable[Job | Idle], journal: Journal | None) -> Generator[Result]:
    try:
        yield from pipeline.run(jobs)
    finally:
        if journal is not None:
            journal.close()


def run(
    task: Task,
    inputs: Sequence[str | Path],
    output: str | Path,
    options: Options | None = None,
    observer: Observer = SILENT,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Result]:
    """Do a task to images: files, folders of them, patterns like ``2024/*.jpg``.

    >>> from carcli.batch import Down, run
    >>> for result in run(Down(scale=4), ["library"], "lr"):  # doctest: +SKIP
    ...     print(result.source, result.status)

    What is there already is left alone, as a journal in ``output`` knows it. One image's failure is its result, with a
    reason. Raises ``CarcliError`` at once where nothing can be done: no images, no such model or device, a full disk.
    """
    return Batch(task, inputs, output, options, observer).run(stop)
