"""A batch from its inputs to its results: what ``carcli down library/`` does, for programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.batch.estimate import Estimate, estimate, refuse_if_full
from carcli.batch.folders import make_ready, make_ready_below
from carcli.batch.history import NoHistory, settled_before
from carcli.batch.in_place import Ours
from carcli.batch.inputs import Input, Inputs, named_input, named_output
from carcli.batch.job import Idle, Job, Result
from carcli.batch.journal import Journal, verb_of
from carcli.batch.names import listed
from carcli.batch.observer import SILENT, Observer
from carcli.batch.options import Options
from carcli.batch.origins import is_no_input
from carcli.batch.parts import Parts, no_inputs_in, verb_in
from carcli.batch.plan import is_file_name, plan
from carcli.batch.streamed import Streamed, resolved
from carcli.batch.survey import Survey
from carcli.batch.walk import Filter, Source
from carcli.batch.watch import appearing
from carcli.batch.work import Task, Worker
from carcli.errors import CarcliError, UsageError
from carcli.images import written
from carcli.images.written import Encoding
from carcli.runtime.device_names import check_device
from carcli.runtime.paths import is_there
from carcli.stores.schemes import store_of
from carcli.stores.url import Place, Url

if TYPE_CHECKING:
    from carcli.batch.cluster.driver import Cluster
    from carcli.batch.pipeline import Pipeline

TRIAL = 16_000_000  # pixels of the largest image that is tried to tell how long a batch will take
TRIED = 100  # jobs among which one that is good for a trial is sought
NAMED = 5  # inputs that a message names at most


class Batch:
    """A task, planned for what is there; nothing is loaded before it is needed, and nothing written before it is run."""

    def __init__(
        self,
        task: Task,
        inputs: Sequence[Input],
        output: str | Place,
        options: Options | None = None,
        observer: Observer = SILENT,
    ) -> None:
        """Raises ``UsageError`` where there is nothing to do, and what the task tells to be wrong without being loaded."""
        self.options, self.output, self._task = options or Options(), named_output(output), task
        self._observer, self._fetched = observer, Inputs()
        items = list(inputs)
        self._pipeline: Pipeline | Cluster | None = None
        if self.options.from_file is not None:
            items += listed(self.options.from_file)
        if not items:
            raise UsageError("name image files or folders, or --from-file")
        named = [named_input(item) for item in items]
        self.streams = any(isinstance(place, Url) for place in (self.output, *named))
        if self.streams and self.options.watch:
            raise UsageError("--watch looks at folders of this machine alone; run the command again now and then instead")
        for device in self.options.devices:
            check_device(device)
        self._one_file = is_file_name(self.output, named) and not self._is_store_folder(named[0])
        self.encoding = self._encoded(task)
        task.check(self.encoding)
        self.options.check()
        if self.options.executor == "ray" and any(isinstance(item, str | Source) for item in named):
            raise UsageError(
                "what comes by a pipe or an https:// address lies on this machine alone; leave it out, or --executor ray"
            )
        self._inputs = self._fetched.ready(named)
        self._ours = Ours(self._inputs, self.output, task.verb)
        self.left_out: Counter[str] = Counter()
        self.passed_over: list[Place] = []  # folders in folders, of what was made before
        self.jobs: Sequence[Job] | Streamed = self._streamed() if self.streams else self._planned(self.left_out)
        if not self.options.watch and next(iter(self.jobs), None) is None:
            raise UsageError(self._no_images())

    @cached_property
    def workers(self) -> list[Worker]:
        """The task with its networks, loaded on its devices when they are first needed. Raises whatever loading it does."""
        return [w for device in self.options.devices for w in self._task.load(device, self._observer, self.encoding)]

    @property
    def computes(self) -> bool:
        """Whether there is, or may come, anything that can be done."""
        return self.options.watch or self.streams or any(job.target is not None for job in self.jobs)

    @property
    def count(self) -> int | None:
        """How many jobs there are; None where nobody knows before the end."""
        return None if self.options.watch or isinstance(self.jobs, Streamed) else len(self.jobs)

    def _encoded(self, task: Task) -> Encoding:
        """How results are written: in the format that is asked for, or that the output file is called after."""
        options, form = self.options, self.options.format
        if self._one_file:
            output = Path(self.output.name) if isinstance(self.output, Url) else self.output
            form = written.named(output, form)
        return written.encoding(form or written.PNG.name, options.quality, lr=task.makes_lr, level=options.compression)

    def _planned(self, left_out: Counter[str] | None = None) -> list[Job]:
        options = self.options
        chosen = Filter(options.include, options.exclude)

        def wanted(source: Source) -> bool:
            return chosen(source) and source not in self._ours

        form = self.encoding.format
        inputs = [item for item in self._inputs if not isinstance(item, Url)]
        assert isinstance(self.output, Path)
        return plan(inputs, self.output, options.recursive, wanted, left_out, form, self._is_passed_over)

    def _streamed(self) -> Streamed:
        options = self.options
        return Streamed(
            [resolved(item) for item in self._inputs],
            self.output,
            one_file=self._one_file,
            suffix=self.encoding.format.suffix,
            recursive=options.recursive,
            wanted=Filter(options.include, options.exclude),
            look=not options.overwrite,
            is_passed_over=self._is_passed_over,
            left_out=self.left_out,
            ours=lambda output: no_inputs_in(output, self._task.verb),
        )

    def _is_store_folder(self, item: Input) -> bool:
        """Whether the one input, or the output that is called like an image, is a folder of a store."""
        there = resolved(item) if isinstance(item, Url) else None
        if isinstance(there, Url) and there.is_folder:
            return True
        return isinstance(self.output, Url) and next(iter(store_of(self.output).entries(self.output.folder)), None) is not None

    def _is_passed_over(self, folder: Place) -> bool:
        """Whether a folder holds results of a batch, which are not to be shrunk, nor restored once more."""
        verb = verb_in(folder) if isinstance(folder, Url) else verb_of(folder)
        if verb is None or not is_no_input(verb, self._task.verb):
            return False
        if folder not in self.passed_over:
            self.passed_over.append(folder)
        return True

    def _no_images(self) -> str:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.left_out.most_common())
        beside = f" that can be read here, but {kinds}" if kinds else ""
        made = [*self.passed_over, *([self.output] if self._ours.met else [])]
        ours = f"; {made[0]} holds what carcli made" if made else ""
        named = ", ".join(str(item) for item in self._inputs[:NAMED]) + (", ..." if len(self._inputs) > NAMED else "")
        return f"no images in {named}{beside}{ours}; name image files, or add --recursive"

    def estimate(self) -> Estimate:
        """What the batch comes to. Raises ``CarcliError`` where nobody can tell what is free on the output's disk."""
        size = self.encoding.bytes_a_pixel
        if isinstance(self.jobs, Streamed):
            return Survey(self.jobs, self.output, self.workers[0].area, size).estimate
        assert isinstance(self.output, Path)
        return estimate(self.jobs, self.output, self.workers[0].area, self.options.overwrite, size)

    def seconds(self, size: Estimate) -> float | None:
        """How long it will take, from trying its first image that is good for that; None where none is."""
        from carcli.images import codec  # and with it Pillow

        for job in islice(self.jobs, TRIED):
            there = is_there(job.target) if isinstance(job.target, Path) else job.there
            if job.target is None or (there and not self.options.overwrite):
                continue
            try:
                source = store_of(job.source).read(job.source)[0] if isinstance(job.source, Url) else job.source
                header = codec.peek(source)
                if header is None or header.pixels > TRIAL:
                    continue
                picture = codec.decode(source)
                self.workers[0](picture)  # what the first use costs is not counted
                began = time.perf_counter()
                self.workers[0](codec.decode(source))
            except (CarcliError, OSError, MemoryError, RuntimeError):  # doing it will say what is wrong
                continue
            return (time.perf_counter() - began) * size.pixels / header.pixels
        return None

    def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[Result]:
        """What became of each image, in the order of the jobs; once ``stop`` is true, nothing more is begun.

        Closing it gives up what is being computed, and leaves nothing half written. Raises ``CarcliError``, before
        anything is written, where the disk cannot hold it or the output folder cannot be written, and after the results of
        all that was begun where its journal cannot be written any more.
        """
        if not self.computes:
            return self._refused()
        journal = self._ready()
        self._pipeline = self._runner(journal, stop)
        poll, quiet_for = self.options.poll, self.options.quiet_for
        jobs = self._ours.noting(appearing(self._planned, stop, poll, quiet_for)) if self.options.watch else self.jobs
        return _recorded(self._pipeline, jobs, journal, self._fetched)

    def _runner(self, journal: Journal | Parts | None, stop: Callable[[], bool]) -> Pipeline | Cluster:
        """Who does the jobs: this process, or a cluster."""
        if self.options.executor == "ray":
            from carcli.batch.cluster.driver import Cluster  # and with it Ray

            return Cluster(self._task, self.options, self.encoding, history=journal, observer=self._observer, stop=stop)
        from carcli.batch.pipeline import Pipeline  # and with it torch

        return Pipeline(self.workers, self.options, encoding=self.encoding, history=journal, observer=self._observer, stop=stop)

    def _ready(self) -> Journal | Parts | None:
        """The output's journal, once the output can be written; None where the output is one file."""
        if isinstance(self.output, Url):
            return None if self._one_file else Parts(self.output, self._settings, self._task.verb)
        if not (self.options.ignore_space or self.streams):  # a listing's end is not awaited to add up what it comes to
            refuse_if_full(self.estimate(), self.output)
        if isinstance(self.jobs, Streamed) and not self._one_file:
            make_ready_below(self.output)
        else:
            make_ready(self.output.parent if self._one_file else self.output, self.jobs)
        return None if self._one_file else Journal(self.output, self._settings, self._task.verb)

    def _refused(self) -> Generator[Result]:
        """What became of jobs that can all not be done: nothing is loaded or made for them."""
        for job in self.jobs:
            if (result := settled_before(job, self.options, NoHistory())) is not None:
                self._observer.settled(result)
                yield result

    @property
    def _settings(self) -> str:
        """What decides what an image becomes; of PNGs it says no format, as it never did."""
        settings = self.workers[0].settings
        return settings if self.encoding.format is written.PNG else f"{settings} {self.encoding.name}"

    def slowest(self) -> str:
        """The stage that sets the pace of a batch that was run: decode, compute or encode."""
        return self._pipeline.slowest() if self._pipeline is not None else "compute"


def _recorded(
    pipeline: Pipeline | Cluster, jobs: Iterable[Job | Idle], journal: Journal | Parts | None, fetched: Inputs
) -> Generator[Result]:
    """The results; what was ``fetched`` lasts until the last of them."""
    try:
        yield from pipeline.run(jobs)
    finally:
        if journal is not None:
            journal.close()


def run(
    task: Task,
    inputs: Sequence[str | Path],
    output: str | Place,
    options: Options | None = None,
    observer: Observer = SILENT,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Result]:
    """Do a task to images: files, folders of them, patterns like ``2024/*.jpg``, addresses; ``output`` may be one too.

    >>> from carcli.batch import Down, run
    >>> for result in run(Down(scale=4), ["library"], "lr"):  # doctest: +SKIP
    ...     print(result.source, result.status)

    What is there already is left alone, as a journal in ``output`` knows it. One image's failure is its result, with a
    reason. Raises ``CarcliError`` at once where nothing can be done: no images, no such model or device, a full disk.
    """
    return Batch(task, inputs, output, options, observer).run(stop)
