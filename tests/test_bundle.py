"""A finished run becomes a bundled checkpoint: its file, and a manifest entry whose figures were measured."""

from __future__ import annotations

import re

import pytest
from conftest import TINY_TAD, write_photos

from carcli.bench.compare import compare
from carcli.bench.datasets import find
from carcli.rescale.rescaler import load
from carcli.training import recipe
from carcli.training.loop import Run, train
from carcli.weights import manifest
from tools.bundle import export, to_toml

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
def package(tmp_path, monkeypatch):
    (tmp_path / "package" / "weights" / "bundled").mkdir(parents=True)
    monkeypatch.setattr(manifest, "PACKAGE", tmp_path / "package")
    return tmp_path / "package"


def exported(tmp_path, text: str, scales: list[int] | None) -> manifest.Entry:
    photos = write_photos(tmp_path / "photos", 4, 64, 64)
    train(recipe.parse(text, "tiny"), [photos], Run(tmp_path / "run", 1, steps=2))
    return export(tmp_path / "run", "mine", "four photographs", [str(photos)], "a note", scales)


def test_its_entry_is_what_the_manifest_reads(tmp_path, package):
    entry = exported(tmp_path, TINY_TAD, None)
    (again,) = manifest.parse(f"version = 1\n{to_toml(entry)}", "test").checkpoints
    assert again == entry
    assert (entry.id, entry.family, entry.scale, entry.card.steps, entry.card.notes) == ("mine", "tad", 2, 2, "a note")
    assert entry.bytes == (package / "weights" / entry.file).stat().st_size


def test_its_figures_are_what_its_commands_measure(tmp_path, package):
    entry = exported(tmp_path, TINY_TAD, [2, 8])
    assert [f.scale for f in entry.figures] == [0, 8]
    for figures, scale in zip(entry.figures, (2, 8), strict=True):
        assert re.search(rf"--scale {scale} --model mine$", figures.command)
        pair = load(str(package / "weights" / entry.file), scale, "cpu")
        *_, mean = compare(find(str(tmp_path / "photos")), [pair], load("bicubic", scale, "cpu"))
        assert figures.psnr_y == pytest.approx(mean.psnr_y, abs=1e-3)
        assert figures.cell == f"{mean.psnr_y:.2f} / {mean.ssim_y:.4f}"


def test_colour_from_grey_is_told_over_all_channels(tmp_path, package):
    (figures,) = exported(tmp_path, GREY, None).figures
    assert figures.cell == f"{figures.psnr_rgb:.2f}"
    assert figures.psnr_rgb < figures.psnr_y
