"""``weights.toml``: every checkpoint and benchmark dataset there is, with origin, digest and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

from carcli.errors import WeightsError
from carcli.runtime import toml

PACKAGE = Path(__file__).parents[1]
DIGEST = re.compile(r"[0-9a-f]{64}")
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


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
    lr_psnr_seen: float = 0.0  # dB over all channels of the LR images, both blurred by a Gaussian of one LR pixel
    psnr_rgb: float = 0.0  # dB over all channels, where that is what counts: colour restored from grey
    scale: int = 0  # where it is not the checkpoint's own: reached by applying it again and again

    @property
    def cell(self) -> str:
        """As it stands in tables: dB over RGB alone, or dB / SSIM on Y."""
        return f"{self.psnr_rgb:.2f}" if self.psnr_rgb else f"{self.psnr_y:.2f} / {self.ssim_y:.4f}"


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the manifest: a file of the package, or of the store once it is fetched or imported."""

    id: str
    family: str
    scale: int
    file: str  # its name, in the package or in the store
    licence: str
    parameters: int
    sha256: str = ""  # of the file; empty where only its structure can be checked
    bytes: int = 0
    down: Mapping[str, Any] = field(default_factory=dict)
    up: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()  # addresses of the file, tried in order
    archive: str = ""  # the archive that it is imported from
    note: str = ""
    card: Card | None = None
    figures: tuple[Figures, ...] = ()

    @property
    def bundled(self) -> Path:
        """Where the file is if it came with the package."""
        return PACKAGE / "weights" / "bundled" / self.file


@dataclass(frozen=True)
class Archive:
    """A file that holds checkpoints in a foreign form."""

    id: str
    file: str
    bytes: int  # at most
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class PinnedFile:
    """One file of a dataset."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A benchmark dataset, pinned file by file; ``sources`` are folders' addresses, tried in order."""

    id: str
    title: str
    licence: str
    sources: tuple[str, ...]
    files: tuple[PinnedFile, ...]


@dataclass(frozen=True)
class Manifest:
    checkpoints: tuple[Entry, ...] = ()
    archives: tuple[Archive, ...] = ()
    datasets: tuple[Dataset, ...] = ()


def location() -> Path:
    """The manifest's file: inside an installed package, or at the top of a checkout."""
    inside = PACKAGE / "weights.toml"
    return inside if inside.exists() else PACKAGE.parent / "weights.toml"


class _Reader:
    """Checks tables against their dataclasses; every complaint names the line."""

    def __init__(self, text: str, source: str) -> None:
        self.lines, self.source = text.splitlines(), source

    def fail(self, what: str, header: str, number: int, key: str = "") -> WeightsError:
        """An error about ``key`` of the ``number``-th table (from 0) with this header."""
        starts = [i for i, line in enumerate(self.lines) if header and line.strip() == header]
        at = starts[number] if number < len(starts) else 0
        for i in range(at + (header != ""), len(self.lines)):
            line = self.lines[i].strip()
            if line.startswith("[[") and not line.startswith(header[:-2] + "."):
                break
            if key and re.search(rf"(^|[{{,\s])[\"']?{re.escape(key)}[\"']?\s*=", line):
                at = i
                break
        return WeightsError(f"{self.source}, line {at + 1}: {what}")

    def record(self, kind: type[Any], table: Any, header: str, number: int) -> Any:
        if not isinstance(table, dict):
            raise self.fail("expected a table", header, number)
        hints = get_type_hints(kind)
        made = dict(table)
        for key, value in table.items():
            if key not in hints:
                raise self.fail(f"unknown key {key!r} (known: {', '.join(hints)})", header, number, key)
            hint = hints[key]
            wanted: Any = {str: str, int: int, bool: bool, float: (int, float)}.get(hint)
            if wanted is not None and (isinstance(value, bool) != (hint is bool) or not isinstance(value, wanted)):
                raise self.fail(f"{key} is not of type {hint.__name__}", header, number, key)
            if hint == tuple[str, ...]:
                if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                    raise self.fail(f"{key} is no list of strings", header, number, key)
                made[key] = tuple(value)
        for one in fields(kind):
            if one.default is one.default_factory and one.name not in table:  # both MISSING
                raise self.fail(f"{one.name} is missing", header, number)
        for key in ("id", "file", "name"):
            form = ID if key == "id" else FILE
            if key in made and not form.fullmatch(made[key]):
                raise self.fail(f"{key} {made[key]!r} is malformed", header, number, key)
        if made.get("sha256") and not DIGEST.fullmatch(made["sha256"]):
            raise self.fail("sha256 must be 64 lower-case hexadecimal digits", header, number, "sha256")
        if "bytes" in made and made["bytes"] < 0:
            raise self.fail("bytes is negative", header, number, "bytes")
        for address in made.get("sources", ()):
            if not address.startswith("https://"):
                raise self.fail(f"source {address!r} is not https", header, number, "sources")
        return kind(**made)


def parse(text: str, source: str) -> Manifest:
    """Read a manifest strictly. Raises ``WeightsError`` that names the line at fault."""
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise WeightsError(f"{source}: {error}") from error
    reader = _Reader(text, source)
    unknown = sorted(set(table) - {"version", "checkpoint", "archive", "dataset"})
    if unknown:
        raise reader.fail(f"unknown key {unknown[0]!r}", "", 0, unknown[0])
    if table.get("version") != 1:
        raise reader.fail("version must be 1", "", 0, "version")
    checkpoints, figures_seen, cards_seen = [], 0, 0
    for number, raw in enumerate(table.get("checkpoint", [])):
        made = dict(raw)
        if "card" in made:
            made["card"] = reader.record(Card, made["card"], "[checkpoint.card]", cards_seen)
            cards_seen += 1
        rows = made.get("figures", ())
        made["figures"] = tuple(reader.record(Figures, f, "[[checkpoint.figures]]", figures_seen + i) for i, f in enumerate(rows))
        figures_seen += len(rows)
        checkpoints.append(reader.record(Entry, made, "[[checkpoint]]", number))
    archives = [reader.record(Archive, raw, "[[archive]]", n) for n, raw in enumerate(table.get("archive", []))]
    datasets = []
    for number, raw in enumerate(table.get("dataset", [])):
        made = dict(raw)
        made["files"] = tuple(reader.record(PinnedFile, f, "[[dataset]]", number) for f in made.get("files", ()))
        datasets.append(reader.record(Dataset, made, "[[dataset]]", number))
    for header, group in (("[[checkpoint]]", checkpoints), ("[[archive]]", archives), ("[[dataset]]", datasets)):
        ids = [one.id for one in group]
        for number, one in enumerate(ids):
            if one in ids[:number]:
                raise reader.fail(f"two entries have the id {one!r}", header, number, "id")
    for number, entry in enumerate(checkpoints):
        if entry.archive and entry.archive not in {a.id for a in archives}:
            raise reader.fail(f"there is no archive {entry.archive!r}", "[[checkpoint]]", number, "archive")
        if not (entry.sha256 and entry.bytes) and not entry.archive:
            raise reader.fail("sha256 or bytes is missing", "[[checkpoint]]", number)
    return Manifest(tuple(checkpoints), tuple(archives), tuple(datasets))


@lru_cache(maxsize=1)
def manifest() -> Manifest:
    """The package's own manifest. In its order, the first checkpoint of a family and scale is its default."""
    path = location()
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; reinstall carcli") from error


def entries() -> tuple[Entry, ...]:
    """The checkpoints of the package's own manifest."""
    return manifest().checkpoints
