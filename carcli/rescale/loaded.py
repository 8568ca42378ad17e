"""Pairs that are loaded once, when the first image needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from carcli.rescale.rescaler import Rescaler


class Loaded:
    """Pairs by model and scale; may be asked from several threads."""

    def __init__(self, load: Callable[[str, int], Rescaler]) -> None:
        self._load = load
        self._pairs: dict[tuple[str, int], Rescaler] = {}
        self._lock = threading.Lock()

    def __call__(self, model: str, scale: int) -> Rescaler:
        """Raises as loading it does."""
        key = (model, scale)
        with self._lock:
            if key not in self._pairs:
                self._pairs[key] = self._load(model, scale)
            return self._pairs[key]
