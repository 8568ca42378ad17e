"""The way into the program: whatever happens, from its first moment to its last, is a line and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program and exit."""
    try:
        from carcli.cli import streams

        streams.make_ready()
        from carcli.cli.app import run

        code = streams.finish(run())
    except KeyboardInterrupt:  # before the program itself could listen for it
        print("carcli: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
