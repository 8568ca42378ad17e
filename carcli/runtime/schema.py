"""All lines of JSON, which ``--json`` prints and a batch's journal and a training run's log hold: their version, their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SCHEMA = 1  # another number once a name goes, or says something else


def plain(value: Any) -> Any:
    """A value as JSON can tell it: a figure that is infinite or not a number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
