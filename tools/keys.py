"""The table of a recipe's keys for docs/training.md: names, meanings and defaults as carcli/training/recipe.py has them.

python tools/keys.py
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticUndefined

from carcli.runtime.records import Record
from carcli.training import recipe

PARTS: dict[str, type[Record]] = {
    "": recipe.Recipe,
    "model": recipe.ModelPart,
    "data": recipe.DataPart,
    "loss": recipe.LossPart,
    "optimiser": recipe.OptimiserPart,
}


def _meanings() -> dict[tuple[str, str], str]:
    """The text below each field of each class, by class and field."""
    meanings = {}
    for node in ast.parse(Path(recipe.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    meanings[node.name, ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return meanings


def _shown(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def rows() -> Iterator[str]:
    """One line of Markdown for each key."""
    meanings = _meanings()
    for table, part in PARTS.items():
        for name, field in part.model_fields.items():
            if not table and name != "minutes":
                continue
            key = f"[{table}] {name}" if table else name
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = "" if default is PydanticUndefined else f"`{_shown(default)}`"
            yield f"| `{key}` | {meanings[part.__name__, name]} | {shown} |"


def table() -> str:
    """The whole table, in Markdown."""
    return "\n".join(["| key | meaning | default |", "|---|---|---|", *rows()])


if __name__ == "__main__":
    print(table())
