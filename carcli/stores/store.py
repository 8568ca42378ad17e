"""What is asked of a store: the contract that each of them keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from carcli.stores.url import Url

MOST = 1 << 29  # bytes of an object that is taken for an image


@dataclass(frozen=True)
class Stored:
    """An object as a store tells of it: as long as ``version`` stays, its content does."""

    url: Url
    size: int  # bytes
    changed: int = 0  # nanoseconds since 1970; 0 where the store does not say
    etag: str = ""  # empty where the store has none

    @property
    def version(self) -> tuple[int, int | str]:
        return self.size, self.etag or self.changed


def never() -> bool:
    """Nobody stops it."""
    return False


class Store(Protocol):
    """Objects behind addresses of one scheme. Two of equal ``Url`` are one object.

    What may be over in a moment is tried again, longer and longer apart, until ``stopped``. Every method raises
    ``StoreError``, which says of which address what went wrong, and ``Abandoned`` once stopped.
    """

    def entries(self, folder: Url) -> Iterator[Stored | Url]:
        """Objects and folders right in a folder, in ascending order of their keys (a folder's ends in ``/``).

        They come as the store lists them, some at a time. A folder that is not there is empty.
        """
        ...

    def stat(self, url: Url) -> Stored | None:
        """An object; None where there is none."""
        ...

    def read(self, url: Url, most: int = MOST, stopped: Callable[[], bool] = never) -> tuple[bytes, Stored]:
        """All of an object, and what it was at that moment. Of one that has more than ``most`` bytes nothing is read."""
        ...

    def beginning(self, url: Url, most: int) -> bytes:
        """The first bytes of an object, at most so many."""
        ...

    def write(self, url: Url, data: bytes, stopped: Callable[[], bool] = never) -> None:
        """Put an object there whole: until it is, whoever reads sees what was there before."""
        ...
