"""One image of a batch, before and after: plain data, to be sent anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carcli.rescale.resolve import Untagged
from carcli.stores.store import Stored
from carcli.stores.url import Place

Status = Literal["done", "skipped", "failed"]
Recorded = Literal["unknown", "same", "settings", "source"]  # what an output was made with, against now


@dataclass(frozen=True)
class Job:
    """One image to process, or a folder that cannot be read.

    ``obstacle`` says why it cannot be done, where that is known beforehand; ``kind`` says so without names of files, where
    the obstacle has some.
    """

    source: Place
    target: Place | None
    obstacle: str | None = None
    kind: str | None = None
    address: str | None = None  # that a user gave, of which ``source`` is a copy: an https:// one, or "standard input"
    listed: Stored | None = None  # what its store said of the source, where it is in one
    there: bool | None = None  # whether the target was there, where it is in a store

    @property
    def name(self) -> str:
        """What a user calls the image."""
        return self.address or str(self.source)


@dataclass(frozen=True)
class Idle:
    """Stands among jobs where there is none at the moment, and more may come."""


@dataclass(frozen=True)
class Result:
    """What became of one image.

    ``kind`` is the reason of a failure without names of files: failures of one kind have the same, and a summary can count
    them. ``existing`` says of a skipped one what is known of the output that is there.
    """

    source: Place
    target: Place | None
    status: Status
    reason: str | None = None  # of a failure or of skipping
    kind: str | None = None
    existing: Recorded | None = None
    notes: tuple[str, ...] = ()
    untagged: Untagged | None = None  # of an image that was restored as an ordinary one
    model: str | None = None
    precision: str | None = None  # in which it was computed, and by which engine
    backend: str | None = None
    input_size: tuple[int, int] | None = None  # width, height
    output_size: tuple[int, int] | None = None
    input_bytes: int | None = None
    input_changed: int | None = None  # nanoseconds: the source's time of change when it was read
    input_etag: str | None = None  # what the source's store called this version of it
    output_bytes: int | None = None
    format: str | None = None  # of the output
    quality: int | None = None  # where it has lost something
    seconds: float = 0.0  # of its own stages: waiting for others is not counted
    address: str | None = None  # as of its job

    @property
    def name(self) -> str:
        """What a user calls the image."""
        return self.address or str(self.source)
