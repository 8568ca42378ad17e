"""The size that a user asks an LR image to have, and which networks reach it.

A network makes one scale. For any other size the original is resized first (``carcli.ops.resize``) to the network's scale times
the LR image's size, so that the network has the last word on the LR image, and the first one on the way back. Measured on Set5:
the other way around loses 7 dB or more; the next larger trained scale is the better one, but where the next smaller one is missed
by an eighth at most; and beyond the largest, chains of checkpoints restore no better than it alone, and take ten times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Real
from operator import index

from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images.tag import MAX_SCALE, natural_size
from carcli.models.families import RESIZERS
from carcli.weights.choose import Scales

BEYOND = 1.125  # so much further than its own scale a smaller network is still better than a larger one
DISTORTED = 0.02  # of a side, from which on it is told that an image has another shape
Size = tuple[int, int]  # width, height


@dataclass(frozen=True, kw_only=True)
class Target:
    """Exactly one of these; pixels are those of the LR image.

    ``scale``: how many times smaller, above 1 and at most 128; sides are rounded up. ``size``: width and height, whatever the
    original's shape. ``width``, ``height``: one side; the other keeps the shape, rounded to the nearest. ``fit``: the largest
    size of the original's shape within a width and a height. ``max_pixels``: the largest one with no more pixels, sides rounded
    down. No side is less than 1. All but ``scale`` and ``size`` leave an image as it is that is small enough.

    Raises ``UsageError`` for none, several, or a value that makes no sense.
    """

    scale: float | None = None
    size: Size | None = None
    width: int | None = None
    height: int | None = None
    fit: Size | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        names = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(names) != 1:
            raise UsageError(f"name one of {', '.join(f.name for f in fields(self))}; not {' and '.join(names) or 'none'}")
        name, value = self.given, getattr(self, self.given)
        if name == "scale":
            object.__setattr__(self, name, _factor(value))
        elif name in ("size", "fit"):
            object.__setattr__(self, name, sides(name, value))
        else:
            object.__setattr__(self, name, _count(name, value))

    @property
    def given(self) -> str:
        """The name of the one."""
        return next(f.name for f in fields(self) if getattr(self, f.name) is not None)

    def __str__(self) -> str:
        value = getattr(self, self.given)
        return f"{self.given} " + ("x".join(map(str, value)) if isinstance(value, tuple) else str(value))

    def lr_size(self, width: int, height: int) -> Size:
        """Width and height of the LR image of an original; its own size where it is small enough.

        Raises ``ImageError`` where it would have to be enlarged.
        """
        if self.scale is not None:
            factor = Fraction(str(self.scale))
            return math.ceil(width / factor), math.ceil(height / factor)
        if self.size is not None:
            if self.size[0] > width or self.size[1] > height:
                raise ImageError(
                    f"is {width}x{height}, smaller than {self.size[0]}x{self.size[1]}; --fit leaves such an image as it is"
                )
            return self.size
        if self.max_pixels is not None:
            return _within(self.max_pixels, width, height)
        most_wide, most_high = self.fit or (self.width or width, self.height or height)
        if width <= most_wide and height <= most_high:
            return width, height
        if most_wide * height <= most_high * width:  # the width decides
            return most_wide, _nearest(height * most_wide, width)
        return _nearest(width * most_high, height), most_high


@dataclass(frozen=True)
class Plan:
    """What makes an LR image: a model, at its scale, and the LR image's size where that does not decide it."""

    model: str
    scale: int
    size: Size | None = None
    notes: tuple[str, ...] = ()  # what a user should know


def plan(model: str, scales: Scales, target: Target, width: int, height: int) -> Plan:
    """How an original becomes the LR image that is asked for, by a model that has ``scales``.

    One that is small enough already is kept by bicubic at scale 1, from which ``up`` gives it back as it is. Raises
    ``ImageError`` where it would have to be enlarged, ``WeightsError`` where the model only keeps the size.
    """
    if target.scale is not None and target.scale in scales.reached:
        return Plan(model, int(target.scale))
    size = target.lr_size(width, height)
    if size == (width, height):
        return Plan("bicubic", 1, notes=(f"is {width}x{height}, which is small enough: kept as it is",))
    factor = target.scale or _mean_factor(size, width, height)
    scale = scale_for(model, scales, factor)
    notes = _distortion(size, width, height) if target.size is not None else ()
    whole = round(factor) if model in RESIZERS else scale
    if 1 < whole <= MAX_SCALE and size == natural_size(width, height, whole):
        return Plan(model, whole, notes=notes)
    return Plan(model, scale, size, notes)


def refuse_to_resize(model: str, scales: Scales, wanted: str) -> None:
    """Raise ``WeightsError`` where the model only keeps the size, and so does not make what is ``wanted``."""
    if model not in RESIZERS and not scales.trained:
        raise WeightsError(f"model {model!r} keeps the size, and has no checkpoint at {wanted}")


def scale_for(model: str, scales: Scales, factor: float) -> int:
    """The scale of the networks for a factor; 1 for bicubic and Lanczos, which resize to any size.

    Raises as ``refuse_to_resize`` does.
    """
    refuse_to_resize(model, scales, f"scale {factor:g}")
    if model in RESIZERS:
        return 1
    return next((scale for scale in scales.trained if factor <= scale * BEYOND), scales.trained[-1])


def _mean_factor(size: Size, width: int, height: int) -> float:
    """How many times smaller, where both sides may differ in that."""
    return math.sqrt(width * height / (size[0] * size[1]))


def _distortion(size: Size, width: int, height: int) -> tuple[str, ...]:
    shaped = _nearest(height * size[0], width)
    if abs(shaped - size[1]) <= max(1, DISTORTED * shaped):
        return ()
    return (f"becomes {size[0]}x{size[1]}, which distorts it: {size[0]}x{shaped} has its shape",)


def _nearest(numerator: int, denominator: int) -> int:
    """A fraction rounded to the nearest whole number from 1 on, halves up."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))


def _within(pixels: int, width: int, height: int) -> Size:
    """The largest sides of a shape with no more pixels, rounded down, and not below 1."""
    if width * height <= pixels:
        return width, height
    wide, high = math.isqrt(pixels * width // height), math.isqrt(pixels * height // width)
    return (min(wide, width), high) if high and wide else (min(pixels, width), 1) if wide else (1, min(pixels, height))


def _count(name: str, value: object) -> int:
    try:
        count = index(value)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise UsageError(f"{name} is a whole number of pixels, at least 1, not {value!r}")
    return count


def sides(name: str, value: object) -> Size:
    """An argument that is a width and a height. Raises ``UsageError``."""
    try:
        width, height = (index(n) for n in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) < 1:
        raise UsageError(f"{name} is (width, height) in pixels, each at least 1, not {value!r}")
    return width, height


def _factor(value: object) -> float:
    """A scale above 1."""
    scale = number(value)
    if not 1 < scale <= MAX_SCALE:
        raise UsageError(f"scale is a number above 1 and at most {MAX_SCALE}, not {value!r}")
    return scale


def number(value: object) -> float:
    """A number of Python's or NumPy's, an int where it is whole; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        plain = float(value)
    except OverflowError:
        return math.inf
    return int(plain) if plain.is_integer() else plain
