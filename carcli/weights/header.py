"""The header of a safetensors file, which says what is in it: bounded, and checked before anything acts on it.

The library reads a file's metadata from a path alone; here are bytes. It is the one that checks where each
tensor lies, when it reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from carcli.errors import WeightsError
from carcli.runtime.records import Record

MAX_HEADER = 1 << 20  # bytes: the deepest network that the registry builds has two thousand tensors
MAX_SIDE = (1 << 64) - 1  # of a tensor: safetensors counts in 64 bits
SAFETENSORS = ".safetensors"  # what such files are called
METADATA = "__metadata__"
PREFIX = 8  # bytes of the header's length, before it


class StoredTensor(Record):
    """One tensor, as the header says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    dtype: str
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_SIDE)], ...], Field(strict=False, max_length=8)]


_TENSORS, _METADATA = TypeAdapter(dict[str, StoredTensor]), TypeAdapter(dict[str, str])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key is there twice")
    return table


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, source: str) -> Header:
        """Of a file's bytes. Raises ``WeightsError``, which names ``source``, for anything but a whole and sound header."""
        length = int.from_bytes(data[:PREFIX], "little")
        try:
            if not PREFIX <= PREFIX + length <= len(data) or length > MAX_HEADER:
                raise ValueError("no header of that length")
            table = json.loads(data[PREFIX : PREFIX + length].decode("utf-8"), object_pairs_hook=_once)
            if not isinstance(table, dict):
                raise TypeError
            metadata = _METADATA.validate_python(table.pop(METADATA, {}), strict=True)
            return cls(_TENSORS.validate_python(table), metadata)
        except (ValueError, TypeError, RecursionError, ValidationError) as error:
            raise WeightsError(f"{source}: not a safetensors file, or a damaged one; copy or fetch it again") from error
