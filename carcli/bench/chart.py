"""A scatter plot as numbers: where its marks, ticks and lines across stand. The report's template draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#475569")
WIDTH, HEIGHT = 560, 340  # pixels
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 24, 44  # of them around the plot
FARTHEST = 1.6  # how far to the right curves go, in the farthest point's x
APART = 12  # pixels between the names of two lines
CHARACTER, GAP = 6.5, 10  # pixels: about one of a name, and from a mark to its name


@dataclass(frozen=True)
class Tick:
    at: float  # pixels
    text: str


@dataclass(frozen=True)
class Point:
    """A model."""

    name: str
    x: float  # pixels
    y: float
    colour: str
    name_y: float  # pixels, of its name's line: beside it, or below where another name stands

    @property
    def to_the_left(self) -> bool:
        """Whether its name stands to the left of it, because there is no room on the right."""
        return _to_the_left(self.x)


@dataclass(frozen=True)
class Line:
    """A published figure; without a name where that would cover another one's."""

    name: str
    y: float  # pixels


@dataclass(frozen=True)
class Curve:
    """A codec, from few bits to many; its name stands at its last place."""

    name: str
    places: tuple[tuple[float, float], ...]  # pixels
    colour: str
    name_y: float  # pixels, of its name's line

    @property
    def path(self) -> str:
        """As SVG has it."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.places)


@dataclass(frozen=True)
class Chart:
    """A plot of dB (upwards) over a cost or a likeness."""

    title: str
    label: str  # of the horizontal axis
    points: tuple[Point, ...]
    lines: tuple[Line, ...]
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


@dataclass(frozen=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    first: float  # the pixel of ``low``
    last: float

    def at(self, value: float) -> float:
        return self.first + (self.last - self.first) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> tuple[Tick, ...]:
        """At round values, seven or eight at most."""
        span = self.high - self.low
        unit = 10 ** math.floor(math.log10(max(span, 1e-9)))
        step = next(step for step in (unit / 5, unit / 2, unit, unit * 2) if span / step <= 7)
        values = (i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))
        return tuple(Tick(self.at(value), f"{value:g}") for value in values)


def _to_the_left(x: float) -> bool:
    return x > WIDTH * 0.7


class _Names:
    """Names in a plot, none over another."""

    def __init__(self) -> None:
        self._taken: list[tuple[float, float, float]] = []  # left, right, y

    def place(self, name: str, x: float, y: float, to_the_left: bool) -> float:
        """The line, ``y`` or the nearest free one below it, of a name that begins or ends at ``x``."""
        width = CHARACTER * len(name) + 2 * GAP
        left, right = (x - width, x) if to_the_left else (x, x + width)
        while any(left < end and right > begin and abs(y - other) < APART for begin, end, other in self._taken):
            y += 1
        self._taken.append((left, right, y))
        return y


def scatter(
    title: str,
    label: str,
    points: Sequence[tuple[str, float, float]],
    lines: Sequence[tuple[str, float]],
    from_zero: bool = True,
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Chart:
    """Named points (x, dB), named lines across at so many dB, and named curves; x begins at zero, or near the least.

    Of the curves, what lies little further to the right than the points is shown.
    """
    xs = [x for _, x, _ in points]
    seen = {name: [place for place in sorted(curve) if place[0] <= FARTHEST * max(xs)] for name, curve in (curves or {}).items()}
    seen = {name: curve for name, curve in seen.items() if len(curve) > 1}
    xs += [x for curve in seen.values() for x, _ in curve]
    ys = [y for *_, y in points] + [y for _, y in lines] + [y for curve in seen.values() for _, y in curve]
    x_axis = _Axis(
        low=0.0 if from_zero else math.floor(min(xs) - 0.5),
        high=max(xs) * 1.15 or 1.0 if from_zero else math.ceil(max(xs) + 0.5),
        first=LEFT,
        last=WIDTH - RIGHT,
    )
    y_axis = _Axis(low=math.floor(min(ys) - 0.5), high=math.ceil(max(ys) + 0.5), first=HEIGHT - BOTTOM, last=TOP)
    names = _Names()
    marks = []
    for i, (name, x, y) in enumerate(points):
        at_x, at_y = x_axis.at(x), y_axis.at(y)
        name_y = names.place(name, at_x, at_y, _to_the_left(at_x))
        marks.append(Point(name, at_x, at_y, COLOURS[i % len(COLOURS)], name_y))
    across: list[Line] = []
    for name, y in sorted(lines, key=lambda line: -line[1]):
        at = y_axis.at(y)
        free = all(abs(at - other.y) > APART for other in across if other.name)
        across.append(Line(name if free else "", at))
    drawn = []
    for i, (name, curve) in enumerate(seen.items()):
        places = tuple((x_axis.at(x), y_axis.at(y)) for x, y in curve)
        last_x, last_y = places[-1]
        name_y = names.place(name, last_x, last_y - GAP, to_the_left=True)
        drawn.append(Curve(name, places, COLOURS[-1 - i % len(COLOURS)], name_y))
    return Chart(
        title=title,
        label=label,
        points=tuple(marks),
        lines=tuple(across),
        curves=tuple(drawn),
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
    )
