"""Data flows one way: a room imports only from those below it, and no two files import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "carcli"

# a room, and the rooms that it may import from; errors and version are everybody's
GROUND = ("errors", "version")
BELOW = {
    "runtime": (),
    "ops": ("runtime",),
    "images": ("ops", "runtime"),
    "models": ("ops",),
    "stores": ("runtime",),
    "weights": ("stores", "models", "images", "runtime"),
    "export": ("weights", "models", "images", "ops", "runtime"),
    "engines": ("export", "weights", "models", "runtime"),
    "rescale": ("engines", "export", "weights", "models", "images", "ops", "runtime"),
    "batch": ("rescale", "engines", "weights", "stores", "models", "images", "runtime"),
    "bench": ("rescale", "engines", "weights", "stores", "models", "images", "ops", "runtime"),
    "bench.speed": ("bench", "batch", "rescale", "engines", "weights", "stores", "models", "images", "ops", "runtime"),
    "training": ("weights", "models", "images", "ops", "runtime"),
    "serve": ("rescale", "engines", "weights", "models", "images", "runtime"),
    "web": ("runtime",),
    "cli": (
        *("web", "serve", "bench", "batch", "training", "rescale", "engines", "export"),
        *("weights", "stores", "models", "images", "ops", "runtime"),
    ),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return "bench.speed" if module.startswith("bench.speed") else module.partition(".")[0]


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, at its top, in a function or for its types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "carcli":
                inside = name.removeprefix("carcli").removeprefix(".")
                yield inside if inside in MODULES else inside.rpartition(".")[0]


@pytest.mark.parametrize("room", sorted(BELOW))
def test_a_room_imports_only_from_those_below_it(room):
    for module, path in MODULES.items():
        if room_of(module) == room:
            rooms = {room_of(name) for name in imported(path)} - {room, *GROUND}
            assert rooms <= set(BELOW[room]), f"{module} imports from {sorted(rooms - set(BELOW[room]))}"


def test_every_file_lies_in_a_room():
    assert {room_of(module) for module in MODULES} == {*BELOW, *GROUND, "", "__main__"}


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: {name for name in imported(path) if name and name != module} for module, path in MODULES.items()}
    graph["images.picture"].remove("images.codec")  # Picture.save: a convenience, imported when it is called
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a circle: {' -> '.join((*above[above.index(module) :], module))}"
        if module not in done:
            for name in graph.get(module, ()):
                visit(name, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())
