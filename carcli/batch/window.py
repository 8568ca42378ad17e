"""What is in flight, within a bound on images and memory, and what comes out of it in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from carcli.batch.job import Result
from carcli.errors import Abandoned

AHEAD = 64  # images that may be settled before the one whose turn it is


class Window:
    """At most ``images`` images and ``memory`` bytes in flight; results come out in the order in which their jobs went in.

    An image that needs more memory than there is goes in once nothing else is in flight.
    """

    def __init__(self, images: int, memory: int) -> None:
        self._images, self._memory = images, memory
        self._order: deque[Result | Future[Result]] = deque()
        self._weights: dict[Future[Result], int] = {}  # of what is in flight

    def __len__(self) -> int:
        """Jobs whose results have not come out."""
        return len(self._order)

    @property
    def full(self) -> bool:
        return len(self._order) >= AHEAD + self._images or len(self._weights) >= self._images

    def fits(self, weight: int) -> bool:
        """Whether an image of so many bytes may go in now."""
        return not self._weights or sum(self._weights.values()) + weight <= self._memory

    def settle(self, result: Result) -> None:
        """Put in a job that needs no work."""
        self._order.append(result)

    def begin(self, future: Future[Result], weight: int) -> None:
        """Put in a job that is being worked on."""
        self._weights[future] = weight
        self._order.append(future)

    def results(self) -> Iterator[Result]:
        """Take out the results whose turn it is; those of abandoned computations are left out."""
        while self._order:
            first = self._order[0]
            if isinstance(first, Future) and not first.done():
                return
            self._order.popleft()
            if isinstance(first, Result):
                yield first
                continue
            try:
                result = first.result()
            except Abandoned:
                continue
            yield result

    def wait(self) -> None:
        """Until something in flight is finished, if anything is."""
        if self._weights:
            finished, _ = wait(self._weights, return_when=FIRST_COMPLETED)
            for future in finished:
                del self._weights[future]
