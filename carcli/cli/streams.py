"""Standard streams that may be closed, full, or of an encoding that cannot say everything."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys

from carcli.cli.common import CANNOT_RUN, NOBODY_LISTENS, say_error
from carcli.runtime.paths import reason


def make_ready() -> None:
    """Let every stream take any text; one that was closed leads nowhere.

    A file that the program opens must not get the number of a closed one, for then what is printed would be in it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        with contextlib.suppress(OSError):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for the whole run
        stream = getattr(sys, name)
        if mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def hush_libraries() -> None:
    """Keep what libraries in C print beside us from standard error: lines of a decoder that name no file.

    What is wrong with a file, its decoder's exception says too. Where the process itself breaks, Python tells where.
    """
    with contextlib.suppress(OSError, ValueError):
        ours = os.dup(2)
        sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
        faulthandler.enable(sys.stderr)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def finish(code: int) -> int:
    """Write what is still held back; the exit code, which tells where that cannot be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        code = unwritable(error)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return code


def unwritable(error: OSError) -> int:
    """Say that standard output takes nothing more, unless nobody reads it, and let what is left of it lead nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return NOBODY_LISTENS
    say_error(f"standard output: {reason(error)}")
    return CANNOT_RUN
