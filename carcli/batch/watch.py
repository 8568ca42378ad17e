"""Jobs for files as they appear in watched folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcli.batch.job import Idle, Job
from carcli.runtime.files import state
from carcli.stores.url import path_of

State = tuple[int, int] | str  # a file's, or what stands in the way of one


@dataclass
class _Seen:
    """What was seen of a source, since when, and whether it has been a job like this."""

    state: State
    since: float
    tried: bool = False


def appearing(
    look: Callable[[], Sequence[Job]],
    stop: Callable[[], bool],
    poll: float = 1.0,
    quiet_for: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Job | Idle]:
    """Jobs as files appear, each once it has stayed the same for ``quiet_for`` seconds, and again whenever it has changed.

    ``look`` plans what is there now, every ``poll`` seconds; Idle after each look. What a file's own time of change says does
    not matter: another machine's clock may have set it. Where something stands in the way of a file or a folder, that is a job
    once, until it changes.
    """
    seen: dict[Path, _Seen] = {}
    while not stop():
        jobs = look()
        for gone in seen.keys() - {job.source for job in jobs}:
            del seen[path_of(gone)]  # it may come back
        for job in jobs:
            source = path_of(job.source)
            try:
                now: State = job.obstacle or "" if job.target is None else state(source)
            except OSError:
                continue  # it has just gone
            known = seen.get(source)
            if known is None or known.state != now:
                known = seen[source] = _Seen(now, clock())
            if not known.tried and clock() - known.since >= quiet_for:
                known.tried = True
                yield job
        sleep(poll)
        yield Idle()
