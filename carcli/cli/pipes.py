"""Bytes in from standard input, bytes out on standard output, and nothing else there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from carcli.cli.batches import BatchFlags
from carcli.cli.common import Unwritable, excludes
from carcli.errors import CarcliError, UsageError
from carcli.images.written import FORMATS, PNG
from carcli.runtime.paths import reason

STANDARD = "-"  # input or output, by its place


def check(flags: BatchFlags) -> None:
    """Raise ``UsageError`` for pipes that nothing can go through as asked."""
    inputs = flags.inputs or []
    from_pipe, to_pipe = STANDARD in inputs, str(flags.output) == STANDARD
    excludes("an input -", "--from-file -", from_pipe and str(flags.from_file) == STANDARD)
    if from_pipe and sys.stdin.isatty():
        raise UsageError("standard input is a terminal; send an image into it, as in: carcli down - < photo.jpg")
    if not to_pipe:
        return
    for option, given in {"--json": flags.as_json, "--dry-run": flags.dry_run, "--watch": flags.watch}.items():
        excludes(option, "-o -", given)
    if len(inputs) != 1 or flags.from_file is not None or Path(inputs[0]).is_dir():
        raise UsageError("-o - takes one image; name a folder with -o for several")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal; send the image on, as in: carcli down photo.jpg -o - > small.png")


def incoming() -> IO[bytes]:
    """Standard input's bytes."""
    return sys.stdin.buffer


@contextmanager
def outgoing(flags: BatchFlags) -> Iterator[Path]:
    """The file or folder that ``-o`` names; for ``-`` a temporary file, whose bytes are written at the end, if it is there.

    Raises ``Unwritable`` where standard output takes no more.
    """
    if str(flags.output) != STANDARD:
        yield flags.output
        return
    form = PNG if flags.form is None else FORMATS[flags.form.value]
    try:
        folder = tempfile.TemporaryDirectory(prefix="carcli-", ignore_cleanup_errors=True)
    except OSError as error:
        raise CarcliError(f"no temporary file can be made ({reason(error)}); let TMPDIR name another folder") from error
    with folder as name:
        target = Path(name) / f"image{form.suffix}"
        yield target
        try:
            sys.stdout.buffer.write(target.read_bytes())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise Unwritable(error) from error
