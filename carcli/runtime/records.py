"""Tables of a TOML file as strict, frozen records; what is wrong with one is said in a line."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

SAID = {  # what pydantic calls a problem → what a key must be
    "string_type": "a string",
    "string_too_short": "a string that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "greater than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "literal_error": "one of {expected}",
}


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
brief = _short.repr  # a value as it is written, cut short


class Record(BaseModel):
    """A table whose keys and types are exactly those declared: no other key, no number as a string."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def complaint(error: ValidationError, table: Mapping[str, object], source: str, kind: type[Record]) -> str:
    """The first problem that was found in ``table``, which was to be a ``kind``, behind its place in the file ``source``.

    An unknown key comes before what is missing, and with the keys that are known. Where a field has
    a description, that is what it must be. For example
    ``weights.toml, checkpoint 3 ("tad-x4"), figures 1: psnr_y must be a number, not 'high'``.
    """
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    tables, key = _place(first["loc"], table)
    record, field = _declared(kind, first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(record.model_fields)) if record is not None else ""
        problem = f"unknown key {brief(key)}" + (f" (known: {known})" if known else "")
    elif first["type"] == "missing" and isinstance(first["loc"][-1], str):
        problem = f"{key} is missing"
    elif field is not None and field.description:
        problem = f"{key} must be {field.description}, not {brief(_value(table, first['loc']))}"
    elif first["type"] in SAID:
        facts = dict(first.get("ctx", {}))
        if "expected" in facts:  # 'a', 'b' or 'c'
            facts["expected"] = facts["expected"].replace("'", "").replace(" or ", ", ")
        problem = f"{key} must be {SAID[first['type']].format(**facts)}, not {brief(first['input'])}"
    else:
        problem = first["msg"].removeprefix("Value error, ")
    return f"{', '.join([source, *tables])}: {problem}"


def _declared(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The record that a problem is in, and its field, as far as both are declared by name and not in a list of records."""
    record: type[BaseModel] | None = kind
    field: FieldInfo | None = None
    for step in location:
        if isinstance(step, int):
            continue
        if field is not None:  # a table within the one before
            inner = field.annotation
            record = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        field = record.model_fields.get(step) if record is not None else None
    return record, field


def _value(table: Mapping[str, object], location: Sequence[int | str]) -> object:
    """What stands under the key that a problem is in, all of it where only a part is wrong."""
    value: object = table
    for i, step in enumerate(location):
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, Sequence) and any(isinstance(s, str) for s in location[i:]):
            value = value[step]
    return value


def _place(location: Sequence[int | str], table: Mapping[str, object]) -> tuple[list[str], str]:
    """The tables around a problem, from the outermost in, and the key in the innermost (empty: the table itself)."""
    tables: list[str] = []
    key = ""
    node: object = table
    for step in location:
        if isinstance(step, str):
            node = node.get(step) if isinstance(node, Mapping) else None
            tables += [key] if key else []
            key = step
            continue
        node = node[step] if isinstance(node, Sequence) and step < len(node) else None
        if isinstance(node, Mapping):  # one of several tables of that name
            name = node.get("id", node.get("name"))
            tables.append(f"{key} {step + 1}" + (f' ("{name}")' if isinstance(name, str) else ""))
            key = ""
    return tables, key
