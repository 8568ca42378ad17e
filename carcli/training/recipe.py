"""A recipe: everything that decides what a training run makes, as a short TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from carcli.errors import UsageError
from carcli.runtime import toml

T = TypeVar("T")


@dataclass(frozen=True)
class ModelPart:
    family: str
    scale: int
    down: Mapping[str, Any] = field(default_factory=dict)  # architecture arguments of the downscaler
    up: Mapping[str, Any] = field(default_factory=dict)  # and of the upscaler
    freeze: Literal["none", "down", "up"] = "none"  # the half whose weights stay as they are
    recursion: tuple[int, ...] = (1,)  # how often the pair is applied to itself: one of these a step, in turn


@dataclass(frozen=True)
class DataPart:
    patch: int = 24  # LR pixels a side
    batch: int = 16  # patches a step, over all processes
    seed: int = 0


@dataclass(frozen=True)
class LossPart:
    reconstruction: Literal["l1", "l2", "log"] = "l1"
    rounding: Literal["straight-through", "soft", "none"] = "straight-through"
    offset_distance: float = 0.0  # weight of CAR's equation 9
    partial_tv: float = 0.0  # weight of CAR's equation 10
    lr_guidance: float = 0.0  # weight of the distance between LR and bicubic LR
    seen_guidance: float = 0.0  # weight of the L1 distance between the two when both are blurred
    seen_sigma: float = 1.0  # LR pixels: standard deviation of that blur
    guidance: Literal["l1", "l2"] = "l1"  # the distance of lr_guidance: mean absolute, or mean squared in units of 1/255
    guidance_rise: float = 0.0  # until this fraction of the run, that weight rises to it from a hundredth
    out_of_range: float = 0.1  # weight of the LR's mean excess over [0, 1]


@dataclass(frozen=True)
class OptimiserPart:
    kind: Literal["adam", "muon"] = "adam"  # muon: for hidden convolutions, with Adam for everything else
    rate: float = 1e-3  # peak learning rate
    adam_rate: float = 0.0  # of Adam's part beside Muon; 0: the same
    momentum: float = 0.95  # Muon's
    final: float = 0.01  # the cosine ends at this fraction of it
    warmup: float = 0.02  # fraction of the run spent rising to it
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # largest gradient norm; 0: any
    ema: float = 0.999  # decay a step of the averaged weights
    revive: float = 0.0  # until this fraction of the run, channels found silent at a validation are drawn anew
    collapse: float = 2.0  # the loss so many times above its running level means going back, at half the rate


@dataclass(frozen=True)
class Recipe:
    name: str
    model: ModelPart
    data: DataPart = DataPart()
    loss: LossPart = LossPart()
    optimiser: OptimiserPart = OptimiserPart()
    minutes: float = 15.0  # default time budget


def _part(kind: type[T], values: Any, where: str) -> T:
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected a table")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r} (known: {', '.join(sorted(known))})")
    hints = get_type_hints(kind)
    made = dict(values)
    for key, value in values.items():
        if hints[key] is float and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UsageError(f"{where}: {key} must be a number, not {value!r}")
        if hints[key] is int and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{where}: {key} must be a whole number, not {value!r}")
        if hints[key] == tuple[int, ...]:
            if not isinstance(value, list) or not value or not all(type(v) is int and v >= 1 for v in value):
                raise UsageError(f"{where}: {key} must be a list of whole numbers from 1, not {value!r}")
            made[key] = tuple(value)
        allowed = get_args(hints[key]) if get_origin(hints[key]) is Literal else ()
        if allowed and value not in allowed:
            raise UsageError(f"{where}: {key} must be one of {', '.join(allowed)}, not {value!r}")
    try:
        return kind(**made)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from error


def parse(text: str, name: str) -> Recipe:
    """Read a recipe from TOML text. Raises ``UsageError`` that names the key that is wrong."""
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise UsageError(f"recipe {name}: {error}") from error
    parts: dict[str, type[Any]] = {
        "model": ModelPart,
        "data": DataPart,
        "loss": LossPart,
        "optimiser": OptimiserPart,
    }
    made = {key: _part(parts[key], value, f"recipe {name}, [{key}]") if key in parts else value for key, value in table.items()}
    return _part(Recipe, {"name": name, **made}, f"recipe {name}")


def load(name: str) -> Recipe:
    """A recipe of the package by name, or one of the user's own by path."""
    path = Path(name)
    if path.suffix == ".toml":
        try:
            return parse(path.read_text(encoding="utf-8"), path.stem)
        except OSError as error:
            raise UsageError(f"recipe {name}: {error.strerror}") from error
    folder = resources.files("carcli.training") / "recipes"
    file = folder / f"{name}.toml"
    if not file.is_file():
        raise UsageError(f"unknown recipe {name!r} (known: {', '.join(names())}; or give a .toml file)")
    return parse(file.read_text(encoding="utf-8"), name)


def names() -> list[str]:
    """The recipes of the package."""
    folder = resources.files("carcli.training") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def purpose(name: str) -> str:
    """The first line of a recipe of the package: what it is for."""
    file = resources.files("carcli.training") / "recipes" / f"{name}.toml"
    return file.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
