"""How downloads are shown while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn


def _show(bar: Progress, task: TaskID, have: int, total: int) -> None:
    bar.update(task, completed=have, total=total, visible=have < total)


@contextmanager
def download_bar(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A progress bar of what is being fetched, where standard error is a terminal.

    Gives what is told a file's name, and returns what is told of its bytes: so many so far, so many in all.
    """
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        yield lambda name: partial(_show, bar, bar.add_task(name, total=None))
