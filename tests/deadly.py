"""Tasks for clusters, whose workers take their time, or die."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers import Copy

from carcli.batch.observer import Observer
from carcli.batch.work import Worker
from carcli.errors import UsageError
from carcli.images.picture import Picture
from carcli.images.written import Encoding
from carcli.rescale.turn import Turn


@dataclass(frozen=True)
class Slow:
    """Takes so many seconds for each picture."""

    verb: ClassVar[str] = "down"
    makes_lr: ClassVar[bool] = False

    seconds: float

    def check(self, encoding: Encoding) -> None:
        pass

    def load(self, device: str, observer: Observer, encoding: Encoding) -> Sequence[Worker]:
        return [Copy(lambda picture, turn: time.sleep(self.seconds))]


@dataclass(frozen=True)
class Refusing(Slow):
    """Can be loaded in one process alone."""

    process: int = 0

    def load(self, device: str, observer: Observer, encoding: Encoding) -> Sequence[Worker]:
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
