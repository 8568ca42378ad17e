"""``weights.toml``: every checkpoint there is, with its architecture, origin, digest and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import carcli
from carcli import toml
from carcli.errors import WeightsError

PACKAGE = Path(carcli.__file__).parent
DIGEST = re.compile(r"[0-9a-f]{64}")
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Card:
    """How a checkpoint came to be."""

    recipe: str
    data: str
    steps: int
    minutes: float
    device: str
    notes: str = ""


@dataclass(frozen=True)
class Figures:
    """What a checkpoint reaches on a dataset; ``command`` is what measures it."""

    dataset: str
    psnr_y: float  # dB
    ssim_y: float
    lr_psnr_y: float  # dB, LR against bicubic LR
    lr_psnr_rgb: float  # the same over all channels
    lr_bpp: float  # bits per LR pixel as PNG
    command: str


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the manifest."""

    id: str
    family: str
    scale: int
    file: str  # below carcli/weights
    sha256: str
    bytes: int
    licence: str
    parameters: int
    down: Mapping[str, Any] = field(default_factory=dict)
    up: Mapping[str, Any] = field(default_factory=dict)
    card: Card | None = None
    figures: tuple[Figures, ...] = ()

    @property
    def path(self) -> Path:
        return PACKAGE / "weights" / self.file


def location() -> Path:
    """The manifest's file: inside an installed package, or at the top of a checkout."""
    inside = PACKAGE / "weights.toml"
    return inside if inside.exists() else PACKAGE.parent / "weights.toml"


def _record(kind: type[Any], table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise WeightsError(f"{where}: expected a table")
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            raise WeightsError(f"{where}: unknown key {key!r} (known: {', '.join(hints)})")
        wanted: Any = {str: str, int: int, float: (int, float)}.get(hints[key])
        if wanted is not None and (isinstance(value, bool) or not isinstance(value, wanted)):
            raise WeightsError(f"{where}: {key} is not of type {hints[key].__name__}")
    required = [f.name for f in fields(kind) if f.default is f.default_factory]  # both MISSING
    for key in required:
        if key not in table:
            raise WeightsError(f"{where}: {key} is missing")
    return kind(**table)


def parse(text: str, source: str) -> tuple[Entry, ...]:
    """Read a manifest strictly. Raises ``WeightsError`` that names the entry and key at fault."""
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise WeightsError(f"{source}: {error}") from error
    unknown = sorted(set(table) - {"version", "checkpoint"})
    if unknown or table.get("version") != 1:
        raise WeightsError(f"{source}: {f'unknown key {unknown[0]!r}' if unknown else 'version must be 1'}")
    entries = []
    for number, raw in enumerate(table.get("checkpoint", []), 1):
        where = f"{source}: checkpoint {raw.get('id', number)}"
        made = dict(raw)
        if "card" in made:
            made["card"] = _record(Card, made["card"], f"{where}, card")
        made["figures"] = tuple(_record(Figures, f, f"{where}, figures") for f in made.get("figures", ()))
        entry: Entry = _record(Entry, made, where)
        if not DIGEST.fullmatch(entry.sha256):
            raise WeightsError(f"{where}: sha256 must be 64 lower-case hexadecimal digits")
        if not ID.fullmatch(entry.id) or Path(entry.file).name != entry.file:
            raise WeightsError(f"{where}: id or file is malformed")
        entries.append(entry)
    if len({e.id for e in entries}) != len(entries):
        raise WeightsError(f"{source}: two checkpoints have one id")
    return tuple(entries)


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """The checkpoints of the package's own manifest, in its order: the first of a family and scale is its default."""
    path = location()
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; reinstall carcli") from error
