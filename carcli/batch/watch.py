"""Jobs for files as they appear in watched folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from carcli.batch.job import Idle, Job
from carcli.runtime.files import state

POLL = 1.0  # seconds between looks at watched folders
QUIET_FOR = 2.0  # seconds since a file's last change before it is taken to be complete


def appearing(look: Callable[[], Sequence[Job]], stop: Callable[[], bool]) -> Iterator[Job | Idle]:
    """Jobs as files appear, each once it has stopped changing; a file that failed is tried again when it changes.

    ``look`` plans what is there now. Idle after each look.
    """
    tried: dict[Path, tuple[int, int]] = {}
    while not stop():
        for job in look():
            try:
                now = state(job.source)
            except OSError:
                continue
            _, changed = now
            complete = time.time() - changed / 1e9 >= QUIET_FOR
            if job.target is None or tried.get(job.source) == now or not complete:
                continue
            tried[job.source] = now
            if not job.target.exists():
                yield job
        time.sleep(POLL)
        yield Idle()
