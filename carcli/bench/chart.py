"""A scatter plot as numbers: where its marks, ticks and lines across stand. The report's template draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from carcli.bench.labels import Label, Labels, Rect, along, around, beside

COLOURS = 8  # of marks, which the page names for light and for dark
WIDTH, HEIGHT = 380, 300  # pixels: a telephone shows them as they are
LEFT, RIGHT, TOP, BOTTOM = 44, 26, 24, 44  # of them around the plot
RADIUS = 5  # pixels, of a mark
FARTHEST = 1.6  # how far to the right curves go, in the farthest point's x
MOST_TICKS = 6
PLOT = Rect(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)


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
    colour: int
    figures: str  # dB and cost
    label: Label | None = None


@dataclass(frozen=True)
class Line:
    """A published figure."""

    name: str
    y: float  # pixels
    label: Label | None = None


@dataclass(frozen=True)
class Curve:
    """A codec, from few bits to many."""

    name: str
    places: tuple[tuple[float, float], ...]  # pixels
    colour: int
    label: Label | None = None

    @property
    def path(self) -> str:
        """As SVG has it."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.places)


@dataclass(frozen=True)
class Key:
    """What a short label stands for; the colour is a mark's."""

    text: str
    name: str
    colour: int | None = None


@dataclass(frozen=True)
class Chart:
    """A plot of dB (upwards) over a cost or a likeness; with ``keys`` where the names have no room in it."""

    title: str
    label: str  # of the horizontal axis
    points: tuple[Point, ...]
    lines: tuple[Line, ...]
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    keys: tuple[Key, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    plot: Rect = PLOT
    radius: int = RADIUS


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
        """At round values, seven at most."""
        span = self.high - self.low
        unit = 10 ** math.floor(math.log10(span))
        step = next(step for step in (unit / 5, unit / 2, unit, unit * 2) if span / step <= MOST_TICKS)
        values = (i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))
        return tuple(Tick(self.at(value), f"{value:.6g}") for value in values)


def _costs(values: Sequence[float]) -> _Axis:
    """From zero, or from near the least where all are much alike."""
    low, high = min(values), max(values)
    margin = 0.2 * (high - low) or 0.1 * abs(high) or 1.0
    first = 0.0 if 0 <= low < high / 2 else low - margin
    return _Axis(first, high + margin, LEFT, WIDTH - RIGHT)


def _letter(number: int) -> str:
    """a, b, … z, a2, b2, …"""
    turn, letter = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(turn + 1) if turn else "")


@dataclass(frozen=True)
class _Marks:
    """What is drawn."""

    points: tuple[Point, ...]
    lines: tuple[Line, ...]
    curves: tuple[Curve, ...]

    def labelled(self, points: Sequence[str], lines: Sequence[str]) -> _Marks:
        """With texts for points and lines, as far as there is room; curves have their names."""
        discs = [Rect(p.x - RADIUS, p.y - RADIUS, p.x + RADIUS, p.y + RADIUS) for p in self.points]
        labels = Labels(PLOT, discs)
        return _Marks(
            curves=tuple(replace(c, label=labels.put(c.name, beside(c.places))) for c in self.curves),
            points=tuple(
                replace(p, label=labels.put(text, around(p.x, p.y))) for p, text in zip(self.points, points, strict=True)
            ),
            lines=tuple(
                replace(line, label=labels.put(text, along(PLOT.left + 4, PLOT.right - 4, line.y)))
                for line, text in zip(self.lines, lines, strict=True)
            ),
        )

    @property
    def complete(self) -> bool:
        marks: tuple[Point | Line | Curve, ...] = (*self.points, *self.lines, *self.curves)
        return all(mark.label is not None for mark in marks)


def scatter(
    title: str,
    label: str,
    points: Sequence[tuple[str, float, float]],
    lines: Sequence[tuple[str, float]],
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Chart:
    """Named points (x, dB), named lines across at so many dB, and named curves.

    Of the curves, what lies little further to the right than the points is shown. Points and lines whose names have no room
    beside one another are numbered, and all named below.
    """
    xs = [x for _, x, _ in points]
    seen = {name: [place for place in sorted(curve) if place[0] <= FARTHEST * max(xs)] for name, curve in (curves or {}).items()}
    seen = {name: curve for name, curve in seen.items() if len(curve) > 1}
    ys = [y for *_, y in points] + [y for _, y in lines] + [y for curve in seen.values() for _, y in curve]
    x_axis = _costs([*xs, *(x for curve in seen.values() for x, _ in curve)])
    y_axis = _Axis(low=math.floor(min(ys) - 0.5), high=math.ceil(max(ys) + 0.5), first=PLOT.bottom, last=PLOT.top)
    marks = _Marks(
        points=tuple(
            Point(name, x_axis.at(x), y_axis.at(y), i % COLOURS, f"{y:.2f} dB, {x:.4g}") for i, (name, x, y) in enumerate(points)
        ),
        lines=tuple(Line(name, y_axis.at(y)) for name, y in sorted(lines, key=lambda line: -line[1])),
        curves=tuple(
            Curve(name, tuple((x_axis.at(x), y_axis.at(y)) for x, y in curve), (COLOURS - 1 - i) % COLOURS)
            for i, (name, curve) in enumerate(seen.items())
        ),
    )
    drawn = marks.labelled([point.name for point in marks.points], [line.name for line in marks.lines])
    keys: tuple[Key, ...] = ()
    if not drawn.complete:
        numbers = [str(i + 1) for i in range(len(points))]
        letters = [_letter(i) for i in range(len(lines))]
        drawn = marks.labelled(numbers, letters)
        keys = (
            *(Key(number, point.name, point.colour) for number, point in zip(numbers, marks.points, strict=True)),
            *(Key(letter, line.name) for letter, line in zip(letters, marks.lines, strict=True)),
        )
    return Chart(
        title=title,
        label=label,
        points=drawn.points,
        lines=drawn.lines,
        curves=drawn.curves,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        keys=keys,
    )
