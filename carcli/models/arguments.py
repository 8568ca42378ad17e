"""Architecture arguments, which a stranger's checkpoint may hold: checked against the fields of a network's config.

They are of the types that the fields are declared with, and nothing is taken for another type. What is declared
as a whole number and no more is from 0 to ``MOST``; a field says otherwise with one of the types below, or
with its own ``Annotated``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from carcli.errors import WeightsError

MOST = 1024
Scale = Annotated[int, Field(ge=1, le=128)]
Features = Annotated[int, Field(ge=1, le=MOST)]
Blocks = Annotated[int, Field(ge=0, le=256)]
Cell = Annotated[int, Field(ge=1, le=16)]  # pixels a side

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def brief(value: object) -> str:
    """A value as it is written, cut short."""
    return _short.repr(value)


class _Arguments(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _model(config: type[Any] | None) -> type[_Arguments]:
    """What the arguments of a config dataclass must be; of None, the scale alone."""
    declared: dict[str, Any] = {}
    if config is not None:
        hints = get_type_hints(config, include_extras=True)
        for field in fields(config):
            hint = Annotated[int, Field(ge=0, le=MOST)] if hints[field.name] is int else hints[field.name]
            required = field.default is MISSING and field.default_factory is MISSING
            declared[field.name] = (hint, ... if required else None)
    return create_model("Arguments", __base__=_Arguments, **{**declared, "scale": (Scale, ...)})


def check(config: type[Any] | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a network, for its ``config``: a dataclass, or None where the scale is all.

    Raises ``WeightsError``, which names the argument that is unknown, of another type or out of bounds.
    """
    model = _model(config)
    unknown = sorted(arguments.keys() - model.model_fields.keys())
    if unknown:
        known = ", ".join(sorted(model.model_fields))
        raise WeightsError(f"unknown architecture argument {brief(unknown[0])} (known: {known})")
    try:
        given = model.model_validate(dict(arguments))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        wanted = problem["msg"].removeprefix("Input should be ")
        value = brief(arguments[name]) if name in arguments else "missing"
        raise WeightsError(f"architecture argument {name} must be {wanted}, not {value}") from error
    return {name: getattr(given, name) for name in given.model_fields_set}
