"""What a batch needs of whatever it does to its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from carcli.batch.observer import Observer
from carcli.images.written import Encoding
from carcli.rescale.resolve import Untagged

if TYPE_CHECKING:
    from carcli.images.codec import Header
    from carcli.images.picture import Picture
    from carcli.rescale.turn import Turn


@dataclass(frozen=True)
class Output:
    """What a picture became."""

    picture: Picture
    model: str  # the checkpoint's id
    notes: tuple[str, ...] = ()  # for the user
    precision: str | None = None  # in which it was computed, and by which engine
    backend: str | None = None
    untagged: Untagged | None = None  # where it was restored as an ordinary image: said once of all that are alike


class Worker(Protocol):
    """A task with its networks loaded, on one device. One may serve several threads at once."""

    @property
    def settings(self) -> str:
        """Everything that decides what an image becomes."""
        ...

    def area(self, header: Header) -> float:
        """Pixels of the result for each one of an image with this header; 0 where it will be refused."""
        ...

    def held(self, header: Header) -> float:
        """Pixels that are held at once for each one of the image, 12 bytes each, where that is more than it and its result."""
        ...

    def __call__(self, picture: Picture, turn: Turn = ...) -> Output:
        """Raises ``ImageError``, ``WeightsError`` or ``UsageError`` for this picture, ``Abandoned`` once it is cancelled."""
        ...


class Task(Protocol):
    """What is done to every image of a batch: plain data, to be loaded wherever it is done."""

    verb: ClassVar[str]
    makes_lr: ClassVar[bool]  # whether its results are LR images

    def check(self, encoding: Encoding) -> None:
        """Raises what can be told to be wrong without loading anything, with results written as ``encoding`` says."""
        ...

    def load(self, device: str, observer: Observer, encoding: Encoding) -> Sequence[Worker]:
        """The workers of a device: as many as it serves at once. Their results will be written as ``encoding`` says."""
        ...
