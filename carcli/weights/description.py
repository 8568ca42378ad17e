"""What a checkpoint says of itself, read without loading what computes.

A file is read once, as bytes: what is checked is what is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from carcli.errors import WeightsError
from carcli.images.tag import MAX_SCALE
from carcli.runtime import paths
from carcli.runtime.records import Record, complaint
from carcli.weights.header import Header
from carcli.weights.manifest import Carrier, Entry, Id, variety
from carcli.weights.store import MAX_BYTES

MAX_DESCRIPTION = 1 << 16  # characters of JSON


@dataclass(frozen=True)
class Description:
    """What a checkpoint is: enough to build its networks."""

    id: str
    family: str
    scale: int
    down: Mapping[str, Any] = field(default_factory=dict)  # architecture arguments of the downscaler
    up: Mapping[str, Any] = field(default_factory=dict)  # and of the upscaler
    carrier: str | None = None  # the lossy format that it was trained through (``jpeg``); None: LR images need every level

    @classmethod
    def of(cls, entry: Entry) -> Description:
        """Of a checkpoint of the manifest."""
        return cls(
            id=entry.id, family=entry.family, scale=entry.scale, down=entry.down, up=entry.up, carrier=entry.carrier or None
        )

    @property
    def variety(self) -> str:
        """Its family as users name it."""
        return variety(self.family, self.carrier)


class _Stored(Record):
    """A description as a file holds it, whoever wrote that file."""

    id: Id
    family: str
    scale: Annotated[int, Field(ge=1, le=MAX_SCALE)]
    down: dict[str, Any] = Field(default_factory=dict)
    up: dict[str, Any] = Field(default_factory=dict)
    carrier: Carrier | None = None


def check(fields: Mapping[str, Any], source: str) -> None:
    """Raise ``WeightsError``, which names ``source``, for fields that are no description."""
    try:
        _Stored.model_validate(fields)
    except ValidationError as error:
        raise WeightsError(complaint(error, fields, source, _Stored)) from error


def content(path: Path) -> bytes:
    """A checkpoint's file as bytes. Raises ``WeightsError`` where it cannot be read, or is larger than any checkpoint."""
    try:
        return paths.read(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such checkpoint file") from error
    except OSError as error:
        raise WeightsError(f"{path}: {paths.reason(error)}") from error


def describes_itself(data: bytes, source: str) -> bool:
    """Whether a safetensors file says that it is a checkpoint of carcli's. Raises ``WeightsError`` for a damaged one."""
    return "carcli" in Header.parse(data, source).metadata


def described(data: bytes, source: str) -> Description:
    """The description stored in a checkpoint.

    Raises ``WeightsError``, which names ``source``, where there is none, or a malformed one.
    """
    text = Header.parse(data, source).metadata.get("carcli", "")
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{source}: its carcli description is longer than {MAX_DESCRIPTION >> 10} kB")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source}: holds no carcli description; import it instead of naming it") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{source}: its carcli description is not a JSON object")
    check(fields, f"{source}, its carcli description")
    return Description(**{**fields, "carrier": fields.get("carrier") or None})


def describe(path: Path) -> Description:
    """The description stored in a checkpoint's file. Raises ``WeightsError`` as ``content`` and ``described`` do."""
    return described(content(path), str(path))
