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
from carcli.weights.manifest import ID, usual

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

    family: Annotated[str, Field(min_length=1), AfterValidator(usual)]
    """`edsr`, also called `car`, `tad` or `irn`"""
    scale: Count
    """2, 4; 1 for colour from grey"""
    down: Mapping[str, Any] = Field(default_factory=dict)
    """the downscaler: for `edsr` `net = "residual"`, `"base"`, `"paper"` or `"bicubic"`; for `tad` `"base"`, `"paper"` or
    `"grey"`; `features`, `blocks`; of `irn` `blocks`, `growth`; of `residual` also `basis`, `fine_blocks`, `fine_features`;
    empty: the authors' size"""
    up: Mapping[str, Any] = Field(default_factory=dict)
    """the upscaler: `features`, `blocks`, `res_scale`, `tail = "direct"` or `"progressive"`, `fine_blocks`, `fine_features`
    (blocks at twice the LR's resolution); `net = "vdsr"`, `"srdensenet"`, `"dbpn"`, `"rdn"` or `"rcan"` with arguments of their
    own; or `net = "bicubic"`"""
    freeze: Literal["none", "down", "up"] = "none"
    """`"down"` or `"up"`: that half keeps the weights that `--init` gives it"""
    recursion: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, description="a list of whole numbers from 1")] = (
        1,
    )
    """how often the pair is applied to itself, one of these a step, in turn; 4 at scale 2 is x16"""


class DataPart(Record):
    """What a step sees."""

    patch: Count = 24
    """LR pixels a side of a training patch"""
    batch: Count = 16
    """patches a step, shared by all processes"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of fresh weights, and of which patches make a batch"""


class LossPart(Record):
    """What a step minimises."""

    reconstruction: Literal["l1", "l2", "log"] = "l1"
    """between original and restored: `"l1"`, `"l2"`, or `"log"` of each patch's squared error, the mean PSNR in effect"""
    rounding: Literal["straight-through", "soft", "none"] = "straight-through"
    """of the LR: `"straight-through"`, `"soft"` (CAR, eq. 7) or `"none"`"""
    carrier: Literal["none", "jpeg"] = "none"
    """what the LR is kept as: `"none"` for its 8-bit levels, or `"jpeg"`, a JPEG file of them, 4:2:0"""
    carrier_quality: Qualities = (50, 95)
    """of those files, from the first to the second over a batch"""
    offset_distance: Weight = 0.0
    """weight of CAR's eq. 9: long offsets of outer taps cost"""
    partial_tv: Weight = 0.0
    """weight of CAR's eq. 10: offsets that vary across the kernel's direction cost"""
    lr_guidance: Weight = 0.0
    """weight of the distance between LR and bicubic LR (TAD's λ): how much it must look like a thumbnail"""
    seen_guidance: Weight = 0.0
    """weight of the L1 distance between the two when both are blurred: what of the difference is seen at arm's length"""
    seen_sigma: Positive = 1.0
    """standard deviation of that blur, in LR pixels"""
    guidance: Literal["l1", "l2"] = "l1"
    """the distance of `lr_guidance`: `"l1"`, or `"l2"`, the squared one in units of an 8-bit level"""
    guidance_rise: Share = 0.0
    """until this fraction of the run that weight rises to it, from a hundredth; nothing is kept as the best before"""
    out_of_range: Weight = 0.1
    """weight of the LR's mean excess over [0, 1], which clamping would lose"""


class OptimiserPart(Record):
    """How a step is taken."""

    kind: Literal["adam", "muon"] = "adam"
    """`"adam"`, or `"muon"`: orthogonal steps for hidden convolutions, Adam's for everything else"""
    rate: Positive = 1e-3
    """peak learning rate"""
    adam_rate: Weight = 0.0
    """that of Adam's part beside Muon; 0: the same"""
    momentum: Decay = 0.95
    """Muon's"""
    final: Share = 0.01
    """the cosine ends at this fraction of the rate"""
    warmup: Share = 0.02
    """fraction of the run spent rising to it"""
    betas: Decays = (0.9, 0.99)
    """Adam's"""
    clip: Weight = 1.0
    """largest norm of a step's gradient; 0: any"""
    ema: Share = 0.999
    """decay a step of the averaged weights, which are validated and kept"""
    revive: Share = 0.0
    """until this fraction of the run, hidden channels that a validation finds silent for good are drawn anew"""
    collapse: Ratio = 2.0
    """the loss so many times above its running level is a collapse: the run goes back, and on at half the rate"""


class Recipe(Record):
    """All of it; ``name`` becomes the id of the checkpoint."""

    name: Annotated[str, AfterValidator(_usable)]
    model: ModelPart
    data: DataPart = DataPart()
    loss: LossPart = LossPart()
    optimiser: OptimiserPart = OptimiserPart()
    minutes: Positive = 15.0
    """time budget, unless `--minutes` says otherwise; warm-up and cosine decay are sized to it"""


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


def guided(recipe: Recipe, lr_guidance: float | None) -> Recipe:
    """A recipe with a weight of its guidance that replaces its own, and is then told by its name; as it is where that is None."""
    if lr_guidance is None:
        return recipe
    weight = f"{lr_guidance:g}".replace("+", "")  # 1e+06: an id has no plus
    return change(recipe, f"{recipe.name}-guidance-{weight}", loss={"lr_guidance": lr_guidance})


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
