"""Tasks for clusters, whose workers die, or do not begin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers import Copy

from carcli.batch.observer import SILENT, Observer
from carcli.batch.work import Worker
from carcli.bench.speed.clusters import Wait
from carcli.errors import UsageError
from carcli.images.picture import Picture
from carcli.images.written import Encoding
from carcli.rescale.turn import Turn


@dataclass(frozen=True)
class Refusing(Wait):
    """Can be loaded in one process alone."""

    process: int = 0

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding | None = None) -> Sequence[Worker]:
        if os.getpid() != self.process:
            raise UsageError("no such device here")
        return super().load(device, observer, encoding)


@dataclass(frozen=True)
class Deadly:
    """Kills the process over a picture of this width, and notes that."""

    verb: ClassVar[str] = "down"
    makes_lr: ClassVar[bool] = False

    width: int
    log: Path

    def check(self, encoding: Encoding) -> None:
        pass

    def load(self, device: str, observer: Observer, encoding: Encoding) -> Sequence[Worker]:
        def work(picture: Picture, turn: Turn) -> None:
            if picture.size[0] == self.width:
                with self.log.open("a") as file:
                    file.write("died\n")
                os._exit(1)

        return [Copy(work)]
