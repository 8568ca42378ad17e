"""How downloads are shown while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from carcli.cli.bars import progress_bar


def _show(bar: Progress, task: TaskID, have: int, total: int) -> None:
    bar.update(task, completed=have, total=total, visible=have < total)


@contextmanager
def download_bar(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A progress bar of what is being fetched, where standard error is a terminal.

    Gives what is told a file's name, and returns what is told of its bytes: so many so far, so many in all.
    """
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with progress_bar(*columns, wanted=not quiet) as bar:
        yield lambda name: partial(_show, bar, bar.add_task(name, total=None))
