"""Workers for batches whose networks are not what is tested."""

from __future__ import annotations

from collections.abc import Callable

from carcli.batch.work import Output
from carcli.images.codec import Header
from carcli.images.picture import Picture
from carcli.rescale.turn import Turn


class Copy:
    """Gives every picture back as it is, after doing something with it in its turn."""

    settings = "copy"

    def __init__(self, work: Callable[[Picture, Turn], object] = lambda picture, turn: None) -> None:
        self._work = work

    def area(self, header: Header) -> float:
        return 1.0

    def held(self, header: Header) -> float:
        return 1.0

    def __call__(self, picture: Picture, turn: Turn) -> Output:
        self._work(picture, turn)
        return Output(picture, "copy")
