"""A recipe: everything that decides what a training run makes, as a short TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from carcli.errors import UsageError
from carcli.runtime import paths, toml
from carcli.runtime.records import Record, complaint
from carcli.runtime.text import shown
from carcli.weights.manifest import ID

MAX_BYTES = 1 << 20  # of a recipe's file

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=1)]
# lists in TOML, hence not strict
Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, description="a list of whole numbers from 1")]
Decays = Annotated[tuple[Decay, Decay], Field(strict=False, description="two numbers from 0 and below 1")]


def _rising(values: tuple[int, int]) -> tuple[int, int]:
    """A range, ``ValueError`` where it is upside down."""
    if values[0] > values[1]:
        raise ValueError(f"from {values[0]} to {values[1]} is no range: name the smaller one first")
    return values


def _usable(name: str) -> str:
    """``name`` where it can be the id of what a recipe makes; ``ValueError`` where not."""
    if not ID.fullmatch(name):
        better = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "mine"
        raise ValueError(
            "its name becomes the id of the checkpoint, which has at most 64 characters of a-z, 0-9, '.', '_' and '-'; "
            f"rename the file to {better}.toml"
        )
    return name


Quality = Annotated[int, Field(ge=1, le=100)]
Qualities = Annotated[
    tuple[Quality, Quality],
    Field(strict=False, description="two whole numbers from 1 to 100, the lower one first"),
    AfterValidator(_rising),
]


class ModelPart(Record):
    """What is trained."""

    family: Annotated[str, Field(min_length=1)]
    scale: Count
    down: Mapping[str, Any] = Field(default_factory=dict)  # architecture arguments of the downscaler
    up: Mapping[str, Any] = Field(default_factory=dict)  # and of the upscaler
    freeze: Literal["none", "down", "up"] = "none"  # the half whose weights stay as they are
    # how often the pair is applied to itself: one of these a step, in turn
    recursion: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, description="a list of whole numbers from 1")] = (
        1,
    )


class DataPart(Record):
    """What a step sees."""

    patch: Count = 24  # LR pixels a side
    batch: Count = 16  # patches a step, over all processes
    seed: Annotated[int, Field(ge=0)] = 0


class LossPart(Record):
    """What a step minimises."""

    reconstruction: Literal["l1", "l2", "log"] = "l1"
    rounding: Literal["straight-through", "soft", "none"] = "straight-through"
    carrier: Literal["none", "jpeg"] = "none"  # what the LR is kept as: 8-bit levels, or a JPEG file of them (4:2:0)
    carrier_quality: Qualities = (50, 95)  # of those files, spread over a batch
    offset_distance: Weight = 0.0  # weight of CAR's equation 9
    partial_tv: Weight = 0.0  # weight of CAR's equation 10
    lr_guidance: Weight = 0.0  # weight of the distance between LR and bicubic LR
    seen_guidance: Weight = 0.0  # weight of the L1 distance between the two when both are blurred
    seen_sigma: Positive = 1.0  # LR pixels: standard deviation of that blur
    guidance: Literal["l1", "l2"] = "l1"  # the distance of lr_guidance: mean absolute, or mean squared in units of 1/255
    guidance_rise: Share = 0.0  # until this fraction of the run, that weight rises to it from a hundredth
    out_of_range: Weight = 0.1  # weight of the LR's mean excess over [0, 1]


class OptimiserPart(Record):
    """How a step is taken."""

    kind: Literal["adam", "muon"] = "adam"  # muon: for hidden convolutions, with Adam for everything else
    rate: Positive = 1e-3  # peak learning rate
    adam_rate: Weight = 0.0  # of Adam's part beside Muon; 0: the same
    momentum: Decay = 0.95  # Muon's
    final: Share = 0.01  # the cosine ends at this fraction of it
    warmup: Share = 0.02  # fraction of the run spent rising to it
    betas: Decays = (0.9, 0.99)
    clip: Weight = 1.0  # largest gradient norm; 0: any
    ema: Share = 0.999  # decay a step of the averaged weights
    revive: Share = 0.0  # until this fraction of the run, channels found silent at a validation are drawn anew
    collapse: Ratio = 2.0  # the loss so many times above its running level means going back, at half the rate


class Recipe(Record):
    """All of it; ``name`` becomes the id of the checkpoint."""

    name: Annotated[str, AfterValidator(_usable)]
    model: ModelPart
    data: DataPart = DataPart()
    loss: LossPart = LossPart()
    optimiser: OptimiserPart = OptimiserPart()
    minutes: Positive = 15.0  # default time budget


def checked(table: Mapping[str, Any]) -> Recipe:
    """The recipe that a table is, as a state or a log holds it: keys that came later have their defaults.

    Raises ``UsageError`` as ``parse`` does.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise UsageError(complaint(error, table, f"recipe {shown(table['name'])[:80]}", Recipe)) from error


def parse(text: str, name: str) -> Recipe:
    """Read a recipe from TOML text. Raises ``UsageError`` that names the table and the key that is wrong."""
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise UsageError(f"recipe {name}: {error}") from error
    except (ValueError, RecursionError) as error:  # a number, or brackets in brackets, beyond what Python reads
        raise UsageError(f"recipe {name}: holds a number or a nesting that is too long to read") from error
    return checked({"name": name, **table})


def change(recipe: Recipe, name: str | None = None, **tables: Mapping[str, Any]) -> Recipe:
    """``change(recipe, loss={"lr_guidance": 0.1})``: the recipe with other values of some keys.

    Raises ``UsageError`` as ``parse`` does.
    """
    values = recipe.model_dump()
    for table, keys in tables.items():
        values[table] = {**values[table], **keys}
    return checked({**values, "name": name or recipe.name})


def load(name: str) -> Recipe:
    """A recipe of the package by name, or one of the user's own by path.

    Raises ``UsageError`` where there is none, and as ``parse`` does.
    """
    path = Path(name)
    if path.suffix == ".toml":
        try:
            return parse(paths.read(path, MAX_BYTES).decode("utf-8"), path.stem)
        except OSError as error:
            raise UsageError(f"recipe {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"recipe {name}: not a text file in UTF-8") from error
    if name not in names():
        raise UsageError(f"unknown recipe {name!r} (known: {', '.join(names())}; or give a .toml file)")
    file = resources.files("carcli.training") / "recipes" / f"{name}.toml"
    return parse(file.read_text(encoding="utf-8"), name)


def names() -> list[str]:
    """The recipes of the package."""
    folder = resources.files("carcli.training") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def purpose(name: str) -> str:
    """The first line of a recipe of the package: what it is for."""
    file = resources.files("carcli.training") / "recipes" / f"{name}.toml"
    return file.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
