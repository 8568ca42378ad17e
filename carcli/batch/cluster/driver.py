"""The one who asks: Ray Data hands numbers of jobs to workers, and results come back to the one journal, as they are made.

Back-pressure, retries, lost machines and growing pools are Ray's. What is ours: which jobs are settled without work, one journal,
and who is to blame where a worker dies (``ledger``).
"""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data.exceptions import SystemException
from ray.exceptions import RayError, UserCodeException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from carcli.batch.cluster.ledger import Ledger
from carcli.batch.cluster.numbers import Numbers
from carcli.batch.cluster.worker import Duty, Worker
from carcli.batch.history import History, NoHistory, settled_before
from carcli.batch.job import Idle, Job, Result
from carcli.batch.observer import SILENT, Observer
from carcli.batch.options import Options
from carcli.batch.work import Task
from carcli.errors import CarcliError
from carcli.images.written import Encoding
from carcli.stores.url import Place
from carcli.version import __version__

SHARE = 16  # jobs that a worker is given at once, and does over where it dies
MOST_THREADS = 4  # of a worker: a machine of more processors gets several, which share memory but do not wait for each other
LONGEST = 300  # characters of a reason
PATIENCE = 10.0  # seconds, for what has ended where a run is cut short
AN_ERROR = re.compile(r"[\w.]+(Error|Exception): ")
OURS = re.compile(r"carcli\.errors\.\w+: ")


class Cluster:
    """Runs jobs on the machines of a Ray cluster, as ``Pipeline`` does on one. Results come as they are made, in no order."""

    def __init__(
        self,
        task: Task,
        options: Options,
        encoding: Encoding,
        *,
        history: History | None = None,
        observer: Observer = SILENT,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._task, self._options, self._encoding = task, options, encoding
        self._history, self._observer, self._stop = history or NoHistory(), observer, stop
        self._failures = 0

    def slowest(self) -> str:
        """The stage that sets the pace; that of each machine is not told."""
        return "compute"

    def run(self, jobs: Iterable[Job | Idle]) -> Generator[Result]:
        """Process jobs and yield what became of each.

        Raises ``CarcliError`` where there is no such cluster, its machines cannot do it, or the history could not be told
        of a result.
        """
        waiting: list[Job] = []
        for job in jobs:
            if self._stopped():
                return
            if isinstance(job, Idle):
                continue
            result = settled_before(job, self._options, self._history)
            if result is None:
                waiting.append(job)
            else:
                yield self._told(result)
        if not waiting or self._stopped():
            return
        with _connected(self._options.address), _given_up_in_a_line():
            ledger, untold = _ledger(waiting), dict(enumerate(waiting))
            try:
                with closing(self._computed(len(waiting), ledger)) as results:
                    for number, result in results:
                        if number in untold:  # what a lost machine had sent may come once more
                            yield self._told(_of(untold.pop(number), result))
                        if self._stopped():
                            break
            except BaseException:  # whatever ended has ended, and a journal shall know
                for number, result in _ended(ledger):
                    if number in untold:
                        self._told(_of(untold.pop(number), result))
                raise
            for number, result in _ended(ledger):
                if number in untold:
                    yield self._told(_of(untold.pop(number), result))

    def _stopped(self) -> bool:
        most = self._options.max_errors
        return self._stop() or (most is not None and self._failures >= most)

    def _told(self, result: Result) -> Result:
        self._failures += result.status == "failed"
        self._history.record(result)
        self._observer.settled(result)
        return result

    def _computed(self, count: int, ledger: Any) -> Generator[tuple[int, Result]]:
        processors, gpus = _a_machine()
        threads = threads_of_one(processors, gpus)
        options = replace(self._options, workers=self._options.workers or threads + 2)
        duty = Duty(self._task, options, self._encoding, threads, __version__, str(Path.cwd()))
        pool = ray.data.ActorPoolStrategy(min_size=1)
        shares = -(-count // SHARE)
        numbers = ray.data.read_datasource(Numbers(count), override_num_blocks=shares, num_cpus=0)
        results = numbers.map_batches(
            Worker,
            fn_constructor_args=(duty, ledger),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_gpus=1 if gpus else 0,
            num_cpus=threads,
        )
        tables: Any = iter(results.iter_batches(batch_size=None, batch_format="pyarrow"))
        with closing(tables):  # and with it its workers
            for table in tables:
                done = table["id"].to_pylist()
                for number, pickled in zip(done, table["result"].to_pylist(), strict=True):
                    yield number, pickle.loads(pickled)  # of a worker of this very run
                ledger.arrived.remote(done)


def threads_of_one(processors: int, gpus: int) -> int:
    """Threads of each worker, where machines have so many processors and GPUs."""
    return max(1, min((processors - 1) // max(1, gpus), MOST_THREADS))


def _ledger(jobs: Sequence[Job]) -> Any:
    """An actor on the machine of the one who asks, that lives as long."""
    beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Ledger)
    return actor.options(num_cpus=0, scheduling_strategy=beside).remote([_absolute(job) for job in jobs])


def _ended(ledger: Any) -> Sequence[tuple[int, Result]]:
    """What ended without its result having arrived, once nobody works any more."""
    try:
        left: list[tuple[int, Result]] = ray.get(ledger.left.remote(), timeout=PATIENCE)
    except RayError:  # it went with its cluster
        return []
    return left


def _of(job: Job, result: Result) -> Result:
    """A result by the names that were given here."""
    return replace(result, source=job.source, target=job.target, address=job.address)


@contextmanager
def _given_up_in_a_line() -> Iterator[None]:
    """Errors of a cluster are one line."""
    try:
        yield
    except (RayError, UserCodeException, SystemException) as error:
        told = f"the cluster gave up ({_line(error)}); what is done stays, and the same command does the rest"
        raise CarcliError(told) from error


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """With a cluster: the one at an address, else the one that ``RAY_ADDRESS`` names or that ``ray start`` began here, else
    this machine alone for as long."""
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what it says on standard error is for its own makers
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError, AssertionError, RayError) as error:
            where = address or os.environ.get("RAY_ADDRESS") or "this machine"
            why = _line(error.__cause__ or error)
            told = f"no cluster at {where} ({why}); `ray start --head` begins one, and --address names it"
            raise CarcliError(told) from error
    _quiet()
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _quiet() -> None:
    """Ray Data's bars and lines would stand between ours."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    with suppress(AttributeError):
        context.execution_options.verbose_progress = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it comes as an exception too


def _a_machine() -> tuple[int, int]:
    """Processors and GPUs that every machine that computes has at least."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not machines:
        raise CarcliError("no machine of the cluster has a processor to spare")
    gpus = min(int(machine.get("GPU", 0)) for machine in machines)
    return min(int(machine["CPU"]) for machine in machines), gpus


def _absolute(job: Job) -> Job:
    """The same for a process that works in another folder."""
    return replace(job, source=_from_anywhere(job.source), target=None if job.target is None else _from_anywhere(job.target))


def _from_anywhere(place: Place) -> Place:
    return place.absolute() if isinstance(place, Path) else place


def _line(error: BaseException) -> str:
    """The last error that a worker or Ray names, else the last line; of an error of carcli's own, what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    last = next((line for line in reversed(lines) if AN_ERROR.match(line)), lines[-1])
    return OURS.sub("", last)[:LONGEST]
