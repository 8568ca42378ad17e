"""Progress bars: on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def progress_bar(*columns: ProgressColumn, wanted: bool = True) -> Progress:
    """A bar of ``columns``, rich's own where there are none; one that shows nothing where it is not ``wanted``.

    Lines that are printed meanwhile go above it where standard output is a terminal too, and elsewhere where they were sent.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    disable = not (wanted and console.is_terminal)
    return Progress(*columns, console=console, disable=disable, transient=True, redirect_stdout=sys.stdout.isatty())
