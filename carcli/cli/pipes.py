"""Bytes in from standard input, bytes out on standard output, and nothing else there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from carcli.cli.batches import BatchFlags
from carcli.cli.choices import Executor
from carcli.cli.common import Unwritable, excludes
from carcli.errors import CarcliError, UsageError
from carcli.images.written import FORMATS, PNG
from carcli.runtime.paths import reason
from carcli.stores.url import Url, place_of

ONE = "-o - takes one image; name a folder with -o for several"
STANDARD = "-"  # input or output, by its place


def check(flags: BatchFlags) -> None:
    """Raise ``UsageError`` for pipes that nothing can go through as asked."""
    inputs = flags.inputs or []
    from_pipe, to_pipe = STANDARD in inputs, str(flags.output) == STANDARD
    excludes("an input -", "--from-file -", from_pipe and str(flags.from_file) == STANDARD)
    if from_pipe and sys.stdin.isatty():
        raise UsageError("standard input is a terminal; send an image into it, as in: carcli down - < photo.jpg")
    for pipe, given in {"an input -": from_pipe, "-o -": to_pipe}.items():  # it is on this machine alone
        excludes("--executor ray", pipe, given and flags.executor is Executor.ray)
    if not to_pipe:
        return
    for option, given in {"--json": flags.as_json, "--dry-run": flags.dry_run, "--watch": flags.watch}.items():
        excludes(option, "-o -", given)
    if len(inputs) != 1 or flags.from_file is not None or _is_folder(inputs[0]):
        raise UsageError(ONE)
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal; send the image on, as in: carcli down photo.jpg -o - > small.png")


def _is_folder(name: str) -> bool:
    place = place_of(name)
    return place.is_folder if isinstance(place, Url) else place.is_dir()


def incoming() -> IO[bytes]:
    """Standard input's bytes."""
    return sys.stdin.buffer


@contextmanager
def outgoing(flags: BatchFlags) -> Iterator[str | Path]:
    """The file or folder that ``-o`` names; for ``-`` a temporary file, whose bytes are written at the end, if it is there.

    Raises ``Unwritable`` where standard output takes no more.
    """
    if flags.output != STANDARD:
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
        if target.is_dir():  # an address whose name does not say that it is a folder's
            raise UsageError(ONE)
        try:
            sys.stdout.buffer.write(target.read_bytes())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise Unwritable(error) from error
