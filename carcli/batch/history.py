"""What is known of outputs that are there already, and which jobs are settled by it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from carcli.batch.job import Job, Recorded, Result
from carcli.batch.options import Options
from carcli.runtime import paths

EXISTS: dict[Recorded, str] = {
    "unknown": "exists already; --overwrite replaces it",
    "same": "done already",
    "settings": "exists already, made with other settings; --overwrite replaces it",
    "source": "exists already, but its source has changed since; --update replaces it",
}


class History(Protocol):
    """Remembers what became of images."""

    def how_made(self, job: Job) -> Recorded:
        """How the output that is there was made."""
        ...

    def record(self, result: Result) -> None:
        """Remember what became of an image; from any thread. Raises ``CarcliError`` where that cannot be."""
        ...


class NoHistory:
    """Remembers nothing."""

    def how_made(self, job: Job) -> Recorded:
        return "unknown"

    def record(self, result: Result) -> None:
        pass


def settled_before(job: Job, options: Options, history: History) -> Result | None:
    """What is known of a job without doing it: that it cannot be done, or that its output stays."""
    if job.target is None:
        obstacle = job.obstacle or "has no target"
        return Result(job.source, None, "failed", obstacle, job.kind or obstacle, address=job.address)
    try:
        there = paths.kind(job.target) != "nothing" if isinstance(job.target, Path) else bool(job.there)
    except OSError as error:
        reason = f"cannot be written ({paths.reason(error)})"
        return Result(job.source, job.target, "failed", reason, reason, address=job.address)
    if there and not options.overwrite:
        how = history.how_made(job)
        if not (how == "source" and options.update):
            return Result(job.source, job.target, "skipped", EXISTS[how], existing=how, address=job.address)
    return None
