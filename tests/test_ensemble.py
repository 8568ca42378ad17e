"""``up --ensemble``: the mean of eight views, for ordinary images; refused where a pair has hidden something."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import PHOTOS, noise, seeded
from PIL import Image
from typer.testing import CliRunner

import carcli
from carcli.cli import app as program
from carcli.errors import UsageError
from carcli.models.cascade import cascade
from carcli.models.ensemble import SelfEnsemble
from carcli.models.registry import build
from carcli.rescale import tiling

CPU = torch.device("cpu")
SMALL = {"features": 8, "blocks": 1, "res_scale": 1.0, "tail": "direct"}


@pytest.fixture
def edsr():
    return seeded(build("bicubic", 2, {"up": {"net": "edsr", **SMALL}}).up, 0.6)


def views(image: np.ndarray):
    """An image's eight views, and how each is turned back."""
    for turns in range(4):
        yield np.rot90(image, turns), lambda made, turns=turns: np.rot90(made, -turns)
        yield np.rot90(image[:, ::-1], turns), lambda made, turns=turns: np.rot90(made, -turns)[:, ::-1]


def up(network, image, **options):
    return tiling.run(network, np.ascontiguousarray(image), down=False, device=CPU, rounded=False, **options)


def test_it_is_the_mean_of_the_eight_views(edsr):
    image = noise(7, 12)
    mean = np.mean([back(up(edsr, view)) for view, back in views(image)], axis=0)
    np.testing.assert_allclose(up(SelfEnsemble(edsr), image), mean, atol=1e-5)


def test_a_turned_image_gives_the_turned_result(edsr):
    image = noise(9, 14)
    ensemble = SelfEnsemble(edsr)
    np.testing.assert_allclose(up(ensemble, np.rot90(image)), np.rot90(up(ensemble, image)), atol=1e-5)


def test_it_works_in_tiles_and_on_grey(edsr):
    ensemble = SelfEnsemble(edsr)
    image = noise(40, 33)
    np.testing.assert_allclose(up(ensemble, image, tile=16), up(ensemble, image), atol=1e-5)
    assert up(ensemble, image[..., :1]).shape == (80, 66, 1)


def test_each_network_of_a_cascade_takes_views_of_its_own(edsr):
    several = cascade([build("bicubic", 2, {"up": {"net": "edsr", **SMALL}}) for _ in range(2)]).up
    assert [type(step) for step in SelfEnsemble(several).steps] == [SelfEnsemble, SelfEnsemble]
    assert up(SelfEnsemble(several), noise(5, 6)).shape == (20, 24, 3)


def test_the_library_takes_it_for_ordinary_images(photo):
    pair = carcli.load("edsr-base-x4", scale=4, device="cpu")
    small = photo[:24, :31]
    plain, better = pair.up(small), pair.up(small, ensemble=True)
    assert better.shape == plain.shape
    assert 0 < np.abs(better.astype(int) - plain).mean() < 4


@pytest.mark.parametrize("model", ["edsr", "tad", "tad-x2+tad-x4"])
def test_it_is_refused_where_a_pair_has_hidden_something(model, photo):
    pair = carcli.load(model, scale=8 if "+" in model else 4, device="cpu")
    small = pair.down(Image.fromarray(photo[:48, :64]))
    for image in (small, np.asarray(small)):
        with pytest.raises(UsageError, match="a self-ensemble is for ordinary images"):
            pair.up(image, ensemble=True)


def test_a_super_resolver_refuses_only_what_its_own_down_made(photo):
    pair = carcli.load("edsr-base-x4", scale=4, device="cpu")
    with pytest.raises(UsageError, match="ordinary images"):
        pair.up(pair.down(Image.fromarray(photo[:48, :64])), ensemble=True)


@pytest.mark.parametrize("model", ["bicubic", "dpid"])
def test_images_that_hide_nothing_are_taken_with_their_tag(model, photo):
    pair = carcli.load(model, scale=4, device="cpu")
    small = pair.down(Image.fromarray(photo))
    assert np.abs(np.asarray(pair.up(small, ensemble=True)).astype(int) - np.asarray(pair.up(small))).max() <= 1


def run(*words):
    return CliRunner().invoke(program.app, ["up", *map(str, words), "--ensemble", "--device", "cpu", "--json"])


def test_the_command_says_which_image_it_refuses_and_takes_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = Image.open(PHOTOS / "eyes.png").convert("RGB").crop((0, 0, 64, 48))
    (tmp_path / "in").mkdir()
    carcli.load("tad", scale=4, device="cpu").down(photo).save("in/hidden.png")
    photo.resize((16, 12)).save("in/ordinary.png")
    done = run("in")
    events = {
        event["source"].rpartition("/")[2]: event for event in map(json.loads, done.stdout.splitlines()) if "source" in event
    }
    assert done.exit_code == 1
    assert "tad-x4 hides" in events["hidden.png"]["reason"]
    assert "leave --ensemble out" in events["hidden.png"]["reason"]
    with Image.open("sr/ordinary.png") as restored:
        assert restored.size == (64, 48)


def test_a_pair_that_hides_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(8, 8)).save("a.png")
    result = CliRunner().invoke(program.app, ["up", "a.png", "--ensemble", "--model", "tad-x4", "--device", "cpu"])
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "sr").exists()


def test_it_is_another_result_to_the_journal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(8, 8)).save("a.png")
    plain = CliRunner().invoke(program.app, ["up", "a.png", "--device", "cpu", "--json"])
    assert plain.exit_code == 0
    again = [json.loads(line) for line in run("a.png").stdout.splitlines()]
    assert again[-1]["existing"] == {"settings": 1}
