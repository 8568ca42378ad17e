"""Outputs that lie among the inputs: none is to be shrunk, and none that was restored to be restored once more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from carcli.batch.job import Idle, Job
from carcli.batch.journal import Journal
from carcli.batch.walk import Source, same
from carcli.runtime.paths import is_there
from carcli.stores.url import Place


class Ours:
    """What is no input of ``verb`` in the output folder, where that is walked: results, but what ``down`` made is for ``up``."""

    def __init__(self, inputs: Iterable[object], output: Place, verb: str) -> None:
        self._output = output if isinstance(output, Path) else Path()  # of a store: see Streamed
        self._verb = verb
        self._in_place = isinstance(output, Path) and any(isinstance(item, Path) and same(item, output) for item in inputs)
        self.met = False  # whether there was anything of ours

    def __contains__(self, source: Source) -> bool:
        found = self._in_place and self._name(source.path) in self._made
        self.met = self.met or found
        return found

    def noting(self, jobs: Iterable[Job | Idle]) -> Iterator[Job | Idle]:
        """Jobs, whose results are known as ours from then on; what somebody has put there meanwhile stays theirs."""
        for job in jobs:
            target = job.target if isinstance(job, Job) and self._in_place else None
            if isinstance(target, Path) and not is_there(target):
                self._made.add(self._name(target))
            yield job

    @cached_property
    def _made(self) -> set[str]:
        return Journal(self._output, "").no_inputs(self._verb)

    def _name(self, path: Path) -> str:
        """As the journal has it, whichever way the folder was named."""
        return os.path.relpath(Path(os.path.realpath(path.parent), path.name), self._real)

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self._output)
