"""A finished run becomes a bundled checkpoint: its file, and a manifest entry whose figures were measured."""

from __future__ import annotations

import re

import pytest
import typer
from conftest import TINY_TAD, write_photos
from typer.testing import CliRunner

from carcli.bench.compare import Setup, compare
from carcli.bench.datasets import find
from carcli.rescale.rescaler import load
from carcli.training import recipe
from carcli.training.loop import Run, train
from carcli.weights import manifest
from tools.bundle import export, main, measure_again, to_toml

GREY = """
[model]
family = "tad"
scale = 1
down = { net = "grey", features = 8, blocks = 1 }
up = { features = 8, blocks = 1 }
[data]
patch = 24
batch = 2
"""


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A folder of bundled weights of one's own, instead of the package's."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(manifest, "BUNDLED", folder)
    return folder


def exported(tmp_path, text: str, scales: list[int] | None) -> manifest.Entry:
    photos = write_photos(tmp_path / "photos", 4, 64, 64)
    train(recipe.parse(text, "tiny"), [photos], Run(tmp_path / "run", 1, steps=2))
    return export(tmp_path / "run", "mine", "four photographs", [str(photos)], "a note", scales)


def test_its_entry_is_what_the_manifest_reads(tmp_path, bundled):
    entry = exported(tmp_path, TINY_TAD, None)
    (again,) = manifest.parse(f"version = 1\n{to_toml(entry)}", "test").checkpoints
    assert again == entry
    assert (entry.id, entry.family, entry.scale, entry.card.steps, entry.card.notes) == ("mine", "tad", 2, 2, "a note")
    assert entry.bytes == (bundled / entry.file).stat().st_size


def test_its_figures_are_what_its_commands_measure(tmp_path, bundled):
    entry = exported(tmp_path, TINY_TAD, [2, 8])
    assert [f.scale for f in entry.figures] == [0, 8]
    for figures, scale in zip(entry.figures, (2, 8), strict=True):
        assert re.search(rf"--scale {scale} --model mine$", figures.command)
        pair = load(str(bundled / entry.file), scale, "cpu")
        mean = compare(find(str(tmp_path / "photos")), Setup(pair, load("bicubic", scale, "cpu")))
        assert figures.psnr_y == pytest.approx(mean.psnr_y, abs=1e-3)
        assert figures.cell == f"{mean.psnr_y:.2f} / {mean.ssim_y:.4f}"


def test_colour_from_grey_is_told_over_all_channels(tmp_path, bundled):
    (figures,) = exported(tmp_path, GREY, None).figures
    assert figures.cell == f"{figures.psnr_rgb:.2f}"
    assert figures.psnr_rgb < figures.psnr_y


def run(*arguments: object):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_bundled_checkpoint_is_measured_again_where_it_was_measured_before(tmp_path, bundled, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the dataset is a folder here
    entry = exported(tmp_path, TINY_TAD, [2, 4])
    old = tuple(figures.model_copy(update={"psnr_y": 1.0, "lr_psnr_seen": 0.0}) for figures in entry.figures)
    outdated = entry.model_copy(update={"figures": old})
    assert measure_again(outdated) == entry
    monkeypatch.setattr(manifest, "manifest", lambda: manifest.Manifest(version=1, checkpoints=(outdated,)))
    result = run("--measure", "mine")
    assert result.exit_code == 0
    assert result.output.strip() == to_toml(entry).strip()
    assert all(figures.lr_psnr_seen > 0 for figures in entry.figures)


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["run", "mine"], ["run", "../mine", "--data", "x"], ["--measure", "nonsense"]]
)
def test_what_cannot_be_bundled_or_measured_is_refused(arguments, bundled):
    assert run(*arguments).exit_code != 0
    assert not list(bundled.parent.rglob("*.safetensors"))
