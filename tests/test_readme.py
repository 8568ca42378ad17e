"""The README keeps its word: its figures are the manifest's, its commands exist, its example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import carcli
from carcli.cli.app import app
from carcli.weights import manifest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_it_begins_with_two_commands_of_one_line():
    demonstration, tests = blocks("sh")[:2]
    assert demonstration.count("\n") == tests.count("\n") == 1
    assert "carcli down tests/photos" in demonstration
    assert "pytest" in tests


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^carcli ([^#\n]+)", README, re.MULTILINE))))
def test_every_command_it_shows_exists(command):
    name, *arguments = shlex.split(command)
    names = [name, arguments[0]] if name == "weights" else [name]
    result = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for option in (a for a in arguments if a.startswith("-")):
        assert option in result.output


@pytest.mark.parametrize("entry", [e for e in manifest.entries() if e.figures], ids=lambda e: e.id)
def test_every_figure_in_its_tables_is_the_manifests(entry):
    rows = [line for line in README.splitlines() if line.startswith(f"| `{entry.id}`")]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    for figures in entry.figures:
        assert figures.cell in cells
    assert f"{entry.figures[0].lr_psnr_y:.2f} / {entry.figures[0].lr_psnr_rgb:.2f}" in cells
    assert f"{entry.parameters / 1e6:.2f} M, {entry.bytes / 1e6:.1f} MB" in cells


def test_its_library_example_runs_and_keeps_the_tag(monkeypatch, tmp_path):
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["back"].size == scope["photo"].size
    assert carcli.read("small.png").tag.checkpoint == scope["pair"].id
