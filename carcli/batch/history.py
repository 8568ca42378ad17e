"""What is known of outputs that are there already, and which jobs are settled by it."""

from __future__ import annotations

from typing import Literal, Protocol

from carcli.batch.job import Job, Result
from carcli.batch.options import Options

Recorded = Literal["unknown", "same", "settings", "source"]  # what an output was made with, against now

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
        """Remember what became of an image; from any thread. Raises ``OSError``."""
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
        return Result(job.source, None, "failed", job.obstacle or "has no target")
    if not options.overwrite and job.target.exists():
        how = history.how_made(job)
        if not (how == "source" and options.update):
            return Result(job.source, job.target, "skipped", EXISTS[how])
    return None
