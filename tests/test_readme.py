"""README and docs keep their word: figures are the manifest's, commands exist, links lead somewhere, the example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import carcli
from carcli.cli.app import app
from carcli.models.families import DEFAULT
from carcli.weights import manifest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
}
TOLD = "\n".join(PAGES.values())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_it_is_read_in_a_minute():
    assert len(README.encode()) < 6000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_it_begins_with_commands_of_one_line_that_bring_no_cuda():
    install, demonstration, tests = blocks("sh")[:3]
    assert install.count("\n") == demonstration.count("\n") == tests.count("\n") == 1
    assert "--torch-backend cpu" in install
    assert "carcli down tests/photos" in demonstration
    assert "pytest" in tests


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^carcli ([^#\n]+)", TOLD, re.MULTILINE))))
def test_every_command_it_shows_exists(command):
    name, *arguments = shlex.split(command)
    names = [name, arguments[0]] if name == "weights" else [name]
    result = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for option in (a for a in arguments if a.startswith("-")):
        assert option in result.output


def cells(page: str, entry: manifest.Entry) -> list[str]:
    rows = [line for line in page.splitlines() if line.startswith(f"| `{entry.id}`")]
    return [cell.strip() for row in rows for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("entry", [e for e in manifest.entries() if e.figures], ids=lambda e: e.id)
def test_every_figure_of_a_checkpoint_is_the_manifests(entry):
    shown = cells(PAGES[ROOT / "docs" / "models.md"], entry)
    for figures in entry.figures:
        assert figures.cell in shown
    assert f"{entry.figures[0].lr_psnr_y:.2f} / {entry.figures[0].lr_psnr_rgb:.2f}" in shown
    assert f"{entry.parameters / 1e6:.2f} M, {entry.bytes / 1e6:.1f} MB" in shown
    measured = {figures.cell for figures in entry.figures}
    assert {cell for cell in cells(README, entry) if re.fullmatch(r"[\d.]+ / 0\.\d+", cell)} <= measured


def test_it_shows_the_default_pair_at_each_scale():
    for scale in (2, 4):
        default = next(entry for entry in manifest.entries() if (entry.family, entry.scale) == (DEFAULT, scale))
        assert f"| `{default.id}`, the default |" in README


def test_its_library_example_runs_and_keeps_the_tag(monkeypatch, tmp_path):
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["back"].size == scope["photo"].size
    assert carcli.read("small.png").tag.checkpoint == scope["pair"].id
