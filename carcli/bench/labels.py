"""Where the names in a chart stand: inside it, none over another or over a mark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

CHARACTER, LINE = 7.0, 14.0  # pixels: a wide one of a name, and its line
REACH = 14.0  # pixels: what stands farther from its mark is led to it
NEAREST, FARTHEST, STEP = 10, 260, 4  # pixels around a mark, tried from within
BASELINE = 4.0  # pixels below the middle of a line

Anchor = Literal["start", "middle", "end"]
START: Anchor = "start"
END: Anchor = "end"


@dataclass(frozen=True)
class Rect:
    """Pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Rect) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Rect) -> bool:
        return other.left <= self.left and self.right <= other.right and other.top <= self.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Place:
    """Where a text may stand: from here, around here or up to here; ``y`` is the middle of its line."""

    x: float
    y: float
    anchor: Anchor
    far: bool = False  # from what it names

    def rect(self, text: str) -> Rect:
        """What a text covers here."""
        width = CHARACTER * len(text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Rect(left, self.y - LINE / 2, left + width, self.y + LINE / 2)


@dataclass(frozen=True)
class Label:
    """A text in its place; led to what it names where that is far."""

    text: str
    place: Place

    @property
    def baseline(self) -> float:
        """As SVG has ``y``."""
        return self.place.y + BASELINE


class Labels:
    """Places given out one after another."""

    def __init__(self, area: Rect, marks: Iterable[Rect]) -> None:
        self._area, self._taken = area, list(marks)

    def put(self, text: str, places: Iterable[Place]) -> Label | None:
        """A text in the first of these places that is free; None where none is."""
        for place in places:
            rect = place.rect(text)
            if rect.within(self._area) and not any(rect.meets(other) for other in self._taken):
                self._taken.append(rect)
                return Label(text, place)
        return None


def around(x: float, y: float) -> Iterator[Place]:
    """Places beside, above and below a mark, the nearest first."""
    for ring in range(NEAREST, FARTHEST, STEP):
        far = ring > REACH
        yield Place(x + ring, y, "start", far)
        yield Place(x - ring, y, "end", far)
        yield Place(x, y - ring - LINE / 2, "middle", far)
        yield Place(x, y + ring + LINE / 2, "middle", far)
        for degrees in (30, 45, 60, 75):
            dx, dy = ring * math.cos(math.radians(degrees)), ring * math.sin(math.radians(degrees)) + LINE / 4
            for side, anchor in ((dx, START), (-dx, END)):
                yield Place(x + side, y - dy, anchor, far)
                yield Place(x + side, y + dy, anchor, far)


def along(left: float, right: float, y: float, steps: int = 16) -> Iterator[Place]:
    """Places just above and just below a line across, from its right end to its left."""
    for i in range(steps):
        x = right - (right - left) * i / steps
        yield Place(x, y - LINE / 2 - 1, "end")
        yield Place(x, y + LINE / 2 + 1, "end")


def beside(places: Iterable[tuple[float, float]]) -> Iterator[Place]:
    """Places near a curve, from its last point to its first."""
    for x, y in reversed(list(places)):
        for gap in (LINE * 0.7, LINE * 1.3):
            yield Place(x - 4, y - gap, "end")
            yield Place(x + 6, y + gap, "start")
            yield Place(x, y - gap, "middle")
            yield Place(x, y + gap, "middle")
