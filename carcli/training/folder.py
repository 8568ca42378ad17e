"""A run's folder: ``state.pt`` (everything that resuming needs), ``best.safetensors`` and ``log.jsonl``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carcli.errors import WeightsError
from carcli.runtime import paths
from carcli.runtime.files import remove_leftovers


@dataclass(frozen=True)
class RunFolder:
    """What lies where, and what is said where it cannot be written."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    def holds_a_run(self) -> bool:
        """Whether there is a state to resume. Raises ``WeightsError`` where that cannot be told."""
        try:
            return self.state.exists()
        except OSError as error:
            raise WeightsError(f"{self.path}: {paths.reason(error)}; name another --output") from error

    def clear(self) -> None:
        """Make it where there is none, and clear away what a killed run was writing. Raises ``OSError``."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers([self.path])

    def note(self, record: Mapping[str, object]) -> None:
        """Put a line behind the log. Raises ``OSError``."""
        with os.fdopen(paths.open_to_append(self.log), "ab") as file:
            file.write(json.dumps(record).encode() + b"\n")

    @contextmanager
    def writing(self, save: Callable[[], None]) -> Iterator[None]:
        """Writing into it: where that fails, ``save`` is called to keep what was trained if there is room, and the run ends.

        Raises ``WeightsError``.
        """
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                save()
            how = "mend that and continue with --resume" if self.state.is_file() else "name another --output"
            raise WeightsError(f"{error.filename or self.path}: {paths.reason(error)}; {how}") from error
