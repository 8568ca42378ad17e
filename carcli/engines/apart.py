"""A graph made by a process of its own: what traces a network changes what other threads of its process compute meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from carcli.models.base import Half
from carcli.weights.choose import Choice, choose

NO_GRAPH = 3  # the exit code where a network cannot be one


def graph(choice: Choice, half: Half, precision: str) -> bytes:
    """The graph of a half of what was chosen. Raises ``ValueError``, with a line of reason, where it cannot be made."""
    named = str(choice.path) if choice.entry is None and choice.path is not None else choice.description.id
    paths = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109 - of imports
    with tempfile.TemporaryDirectory(prefix="carcli-") as folder:
        file = Path(folder) / "graph.onnx"
        command = [sys.executable, "-m", __name__, named, str(choice.scale), choice.digest, half, precision, str(file)]
        ran = subprocess.run(command, env={**os.environ, **paths}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode:
            lines = ran.stderr.strip().splitlines()
            raise ValueError(lines[-1] if lines else f"its export ended with {ran.returncode}")
        return file.read_bytes()


def main(named: str, scale: str, digest: str, half: Half, precision: str, file: str) -> int:
    """Write the graph to a file; where there is none, the last line of standard error says why."""
    from carcli.export.graph import graph as traced
    from carcli.export.metadata import metadata
    from carcli.weights.loading import load

    choice = choose(named, int(scale))
    if choice.digest != digest:
        print(f"{named} has changed meanwhile", file=sys.stderr)
        return NO_GRAPH
    network = getattr(load(choice), half)
    try:
        data = traced(network, precision, metadata(choice, network, half, precision))
    except ValueError as error:
        print(error, file=sys.stderr)
        return NO_GRAPH
    Path(file).write_bytes(data)
    return 0


if __name__ == "__main__":
    name, scale, digest, half, *rest = sys.argv[1:]
    sys.exit(main(name, scale, digest, "down" if half == "down" else "up", *rest))
