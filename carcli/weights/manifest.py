"""``weights.toml``: every checkpoint and benchmark dataset there is, with origin, digest and figures."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from carcli.errors import WeightsError
from carcli.images import tag, written
from carcli.models.families import ALSO
from carcli.runtime import toml
from carcli.runtime.records import Record, complaint

PACKAGE = Path(__file__).parents[1]
BUNDLED = PACKAGE / "weights" / "bundled"  # the folder of the checkpoints that come with the package
ID = tag.ID
DIGEST = re.compile(r"[0-9a-f]{64}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_id(name: str) -> str:
    """``name`` where it can be a checkpoint's or dataset's id. Raises ``ValueError``, fit for a user, where not.

    An id stands in file names, tags and commands: it never leads into another folder.
    """
    if not ID.fullmatch(name):
        raise ValueError(
            f"id {name[:80]!r} is malformed: it begins with a letter or digit, and has 64 characters at most, "
            "of a-z, 0-9, '.', '_' and '-'"
        )
    return name


def _check_file(name: str) -> str:
    if not FILE.fullmatch(name):
        raise ValueError(f"file name {name!r} is malformed")
    return name


def _check_digest(digest: str) -> str:
    if digest and not DIGEST.fullmatch(digest):
        raise ValueError("sha256 must be 64 lower-case hexadecimal digits")
    return digest


def _check_source(address: str) -> str:
    if not address.startswith("https://"):
        raise ValueError(f"source {address!r} is not https")
    return address


def check_carrier(carrier: str) -> str:
    """``carrier`` where it is a format that can lose something, or empty. Raises ``ValueError``, fit for a user, where not."""
    if carrier and carrier not in written.LOSSY:
        raise ValueError(f"carrier {carrier[:20]!r} is none of {', '.join(written.LOSSY)}")
    return carrier


def variety(family: str, carrier: str | None) -> str:
    """A family as users name it: with what its pairs were trained through, where that loses something (``tad-jpeg``)."""
    return f"{family}-{carrier}" if carrier else family


def usual(name: str) -> str:
    """A family by its usual name, whichever of its names is given; anything else as it is."""
    family, dash, carrier = name.partition("-")
    if family in ALSO and carrier in written.LOSSY:
        return f"{ALSO[family]}{dash}{carrier}"
    return ALSO.get(name, name)


Id = Annotated[str, AfterValidator(check_id)]
FileName = Annotated[str, AfterValidator(_check_file)]
Carrier = Annotated[str, AfterValidator(check_carrier)]
Digest = Annotated[str, AfterValidator(_check_digest)]
Source = Annotated[str, AfterValidator(_check_source)]
Size = Annotated[int, Field(ge=0)]  # bytes
Listed = Field(strict=False)  # a tuple, which TOML writes as a list


class Card(Record):
    """How a checkpoint came to be."""

    recipe: str
    data: str
    steps: int
    minutes: float
    device: str
    notes: str = ""


class Figures(Record):
    """What a checkpoint reaches on a dataset; ``command`` is what measures it."""

    dataset: str
    psnr_y: float  # dB
    ssim_y: float
    lr_psnr_y: float  # dB, LR against bicubic LR
    lr_psnr_rgb: float  # the same over all channels
    lr_bpp: float  # bits per LR pixel of the PNG file that ``down`` writes, tag included
    command: str
    lr_psnr_seen: float = 0.0  # dB over all channels of the LR images, both blurred by a Gaussian of one LR pixel; 0: unknown
    psnr_rgb: float = 0.0  # dB over all channels, where that is what counts: colour restored from grey
    scale: int = 0  # where it is not the checkpoint's own: reached by applying it again and again
    carrier: Carrier = ""  # the lossy format that the LR image went through, at ``quality``; empty: a PNG
    quality: Annotated[int, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _a_carrier_has_a_quality(self) -> Figures:
        if bool(self.carrier) != bool(self.quality):
            raise ValueError("carrier and quality go together")
        return self

    @property
    def plain(self) -> bool:
        """Whether it is of the checkpoint at its own scale, its LR images kept without loss."""
        return not (self.scale or self.carrier)

    @property
    def cell(self) -> str:
        """As it stands in tables: dB over RGB alone, or dB / SSIM on Y."""
        return f"{self.psnr_rgb:.2f}" if self.psnr_rgb else f"{self.psnr_y:.2f} / {self.ssim_y:.4f}"


class OrdinaryFigures(Record):
    """What a checkpoint's upscaler makes of thumbnails that no ``down`` of carcli made; ``command`` is what measures it."""

    dataset: str
    thumbnails: str  # how they were made: "bicubic", or "lanczos q75" where they were JPEGs of that quality
    psnr_y: float  # dB
    lanczos_psnr_y: float  # dB, of what Lanczos makes of the same thumbnails
    command: str


class Entry(Record):
    """One checkpoint of the manifest: a file of the package, or of the store once it is fetched or imported."""

    id: Id
    family: str
    scale: Annotated[int, Field(ge=1, le=tag.MAX_SCALE)]
    file: FileName  # in the package or in the store
    licence: str
    parameters: Annotated[int, Field(ge=0)]
    sha256: Digest = ""  # of the file; empty where only its structure can be checked
    bytes: Size = 0
    down: dict[str, Any] = Field(default_factory=dict)  # architecture arguments of the downscaler
    up: dict[str, Any] = Field(default_factory=dict)  # and of the upscaler
    sources: Annotated[tuple[Source, ...], Listed] = ()  # addresses of the file, tried in order
    archive: str = ""  # the archive that it is imported from
    carrier: Carrier = ""  # the lossy format that it was trained through; empty: LR images need every level
    note: str = ""
    card: Card | None = None
    figures: Annotated[tuple[Figures, ...], Listed] = ()
    ordinary_strength: Annotated[float, Field(gt=0, le=1)] = 1.0  # of what its upscaler adds to bicubic, on ordinary images
    ordinary: Annotated[tuple[OrdinaryFigures, ...], Listed] = ()  # at that strength

    @model_validator(mode="after")
    def _can_be_verified(self) -> Entry:
        if not (self.sha256 and self.bytes) and not self.archive:
            raise ValueError("sha256 or bytes is missing")
        return self

    @property
    def variety(self) -> str:
        """Its family as users name it."""
        return variety(self.family, self.carrier)

    @property
    def bundled(self) -> Path:
        """Where the file is if it came with the package."""
        return BUNDLED / self.file

    @property
    def ahead_of_lanczos(self) -> float:
        """Mean dB by which its upscaler beats Lanczos on ordinary thumbnails; 0 where it was never measured on any.

        Above 0, it super-resolves. A pair that hides is below: its upscaler looks for what its downscaler has hidden, and
        an ordinary image has nothing hidden.
        """
        ahead = [figures.psnr_y - figures.lanczos_psnr_y for figures in self.ordinary]
        return sum(ahead) / len(ahead) if ahead else 0.0


class Archive(Record):
    """A file that holds checkpoints in a foreign form."""

    id: Id
    file: FileName
    bytes: Size  # at most
    sources: Annotated[tuple[Source, ...], Listed]
    note: str = ""


class PinnedFile(Record):
    """One file of a dataset."""

    name: FileName
    bytes: Size
    sha256: Digest


class Dataset(Record):
    """A benchmark dataset, pinned file by file; ``sources`` are folders' addresses, tried in order."""

    id: Id
    title: str
    licence: str
    sources: Annotated[tuple[Source, ...], Listed]
    files: Annotated[tuple[PinnedFile, ...], Listed]


class Manifest(Record):
    """All of ``weights.toml``, whose tables are named in the singular."""

    model_config = ConfigDict(populate_by_name=True)

    version: Annotated[Literal[1], Field(description="1")]
    checkpoints: Annotated[tuple[Entry, ...], Listed] = Field(default=(), validation_alias="checkpoint")
    archives: Annotated[tuple[Archive, ...], Listed] = Field(default=(), validation_alias="archive")
    datasets: Annotated[tuple[Dataset, ...], Listed] = Field(default=(), validation_alias="dataset")

    @model_validator(mode="after")
    def _hangs_together(self) -> Manifest:
        for kind, records in (("checkpoints", self.checkpoints), ("archives", self.archives), ("datasets", self.datasets)):
            for identity, times in Counter(record.id for record in records).items():
                if times > 1:
                    raise ValueError(f"{times} {kind} have the id {identity!r}")
        archives = {archive.id for archive in self.archives}
        for entry in self.checkpoints:
            if entry.archive and entry.archive not in archives:
                raise ValueError(f"checkpoint {entry.id!r}: there is no archive {entry.archive!r}")
        return self


def location() -> Path:
    """The manifest's file: inside an installed package, or at the top of a checkout."""
    inside = PACKAGE / "weights.toml"
    return inside if inside.exists() else PACKAGE.parent / "weights.toml"


def parse(text: str, source: str) -> Manifest:
    """Read a manifest strictly. Raises ``WeightsError`` that names ``source``, the table and the key at fault."""
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise WeightsError(f"{source}: {error}") from error
    try:
        return Manifest.model_validate(table)
    except ValidationError as error:
        raise WeightsError(complaint(error, table, source, Manifest)) from error


@lru_cache(maxsize=1)
def manifest() -> Manifest:
    """The package's own manifest. In its order, the first checkpoint of a variety and scale is its default.

    Raises ``WeightsError`` where the file is missing or wrong.
    """
    path = location()
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; reinstall carcli") from error


def entries() -> tuple[Entry, ...]:
    """The checkpoints of the package's own manifest."""
    return manifest().checkpoints
