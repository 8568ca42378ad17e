"""What whoever computes is told by whoever asked: when to stop, and how many threads are its own.

A ``Turn`` is passed along, from a batch or a script down to the loop over tiles. Nothing of it is global: cancelling
one batch leaves another one, and a call in another thread, alone. No result depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch

from carcli.errors import Abandoned


class Cancel:
    """A request to stop, to be shared: made in one thread, seen in others before their next tile or iteration."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether it has been made."""
        return self._event.is_set()

    def request(self) -> None:
        self._event.set()


@dataclass(frozen=True)
class Turn:
    """``cancelled`` says whether the result is still wanted; ``threads``, where given, how many threads torch may use now."""

    cancelled: Callable[[], bool] = lambda: False
    threads: Callable[[], int] | None = None

    def check(self) -> None:
        """Raises ``Abandoned`` once cancelled."""
        if self.cancelled():
            raise Abandoned

    def begin(self) -> None:
        """Before a tile or an iteration. Raises ``Abandoned`` once cancelled."""
        self.check()
        if self.threads is not None and (share := max(1, self.threads())) != torch.get_num_threads():
            torch.set_num_threads(share)


ALONE = Turn()  # nobody else computes, and nobody will cancel
