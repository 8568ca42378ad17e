"""A command's options as one dataclass: what belongs together travels together."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, TypeVar, get_type_hints

from typer.models import OptionInfo

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


def command_line(name: str, flags: Any) -> str:
    """The command, as a shell takes it, that has these flags; without those that are as by default."""
    hints = get_type_hints(type(flags), include_extras=True)
    words = (word for field in fields(flags) for word in _words(field, hints[field.name], getattr(flags, field.name)))
    return shlex.join(["carcli", name, *words])


def _words(field: Field[Any], hint: Any, value: Any) -> Iterator[str]:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if value == default or value is None:
        return
    infos = (info for info in getattr(hint, "__metadata__", ()) if isinstance(info, OptionInfo))
    given = next(((info.default, *(info.param_decls or ())) for info in infos), ())  # typer takes the first for a default
    names = (str(word).partition("/")[0] for word in given if str(word).startswith("--"))
    option = next(names, f"--{field.name.replace('_', '-')}")
    for each in value if isinstance(value, list | tuple) else [value]:
        yield option
        if each is not True:
            yield f"{each:g}" if isinstance(each, float) else str(each.value if isinstance(each, Enum) else each)
