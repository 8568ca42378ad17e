"""The way into the program: whatever happens, from its first moment to its last, is a line and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the program, run it, and exit."""
    try:
        from carcli.cli.app import main as program

        program(hush=True)
    except KeyboardInterrupt:  # before the program could listen for it, or while it ended
        print("carcli: interrupted", file=sys.stderr)
        sys.exit(130)
