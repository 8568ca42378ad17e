"""How far a computation is: the share of its tiles that have been begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from carcli.images.exchange import Progress
from carcli.rescale.turn import Turn


@dataclass(frozen=True)
class Watched(Turn):
    """A turn that tells, at the beginning of each of ``tiles``, the share of them that is done."""

    tell: Progress = lambda share: None
    tiles: int = 1
    _begun: Iterator[int] = field(default_factory=count)

    def begin(self) -> None:
        super().begin()
        self.tell(min(next(self._begun) / self.tiles, 1.0))  # tiles that did not fit are begun again, smaller
