"""A command's options as one dataclass: what belongs together travels together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Flags = TypeVar("Flags")


def takes(flags: type[Flags]) -> Callable[[Callable[[Flags], None]], Callable[..., None]]:
    """Give a command, which takes one ``flags``, that dataclass's fields as its options."""

    def give(command: Callable[[Flags], None]) -> Callable[..., None]:
        def called(**options: Any) -> None:
            command(flags(**options))

        called.__signature__ = inspect.signature(flags, eval_str=True)  # type: ignore[attr-defined]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return give
