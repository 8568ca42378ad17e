"""Colour from grey: one channel that looks like the photograph's luma, and three from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise, seeded
from PIL import Image
from typer.testing import CliRunner

from carcli.cli.app import app
from carcli.errors import ImageError, WeightsError
from carcli.images.metrics import psnr
from carcli.images.picture import Picture
from carcli.models.layers import luma
from carcli.models.registry import build
from carcli.models.tad import GreyConfig, GreyEncoder, PaperConfig
from carcli.rescale.refine import refine, squared_error
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import load
from carcli.weights import checkpoint
from carcli.weights.description import Description

SMALL = Description("small-grey", "tad", 1, {"net": "grey", "features": 8, "blocks": 1}, {"features": 8, "blocks": 1})


def convolutions(net: torch.nn.Module) -> int:
    return sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A pair with weights of no worth, as a file."""
    path = tmp_path_factory.mktemp("grey") / "grey.safetensors"
    checkpoint.write(path, SMALL, *(seeded(net, 0.1) for net in build("tad", 1, {"down": SMALL.down, "up": SMALL.up})))
    return str(path)


def test_the_papers_networks_have_as_many_convolutions_as_the_paper_says():
    pair = build("tad", 2, {"down": {"net": "paper"}, "up": {"features": 64, "blocks": 3, "res_scale": 1.0}})
    assert [convolutions(net) for net in pair] == [10, 10]
    grey = build("tad", 1, {"down": {"net": "grey", "blocks": 3, "cell": 1}, "up": {"blocks": 3, "cell": 1}})
    assert [convolutions(net) for net in grey] == [9, 9]


def test_a_fresh_grey_encoder_is_close_to_the_luma():
    torch.manual_seed(0)
    rgb = torch.rand(1, 3, 32, 32)
    grey = GreyEncoder(GreyConfig(1))(rgb)
    assert grey.shape == (1, 1, 32, 32)
    assert float((grey - luma(rgb)).abs().mean().detach()) < 0.05


def test_luma_is_pillows_grey(photo):
    ours = luma(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float())[0, 0].numpy()
    assert np.abs(ours - np.asarray(Image.fromarray(photo).convert("L"))).max() <= 1


@pytest.mark.parametrize("scale", [2, 4])
def test_grey_has_no_other_scale(scale):
    with pytest.raises(WeightsError, match="grey keeps the size"):
        build("tad", scale, {"down": {"net": "grey"}})


def test_the_papers_encoder_only_halves():
    with pytest.raises(WeightsError, match="halves"):
        build("tad", 4, {"down": {"net": "paper"}})
    assert PaperConfig(2).blocks == 3


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (31, 64), (65, 47)])
def test_size_alpha_and_tag_of_a_round_trip(model, shape):
    pair = load(model, None, "cpu")
    picture = Picture(noise(*shape), noise(*shape, seed=1)[..., :1])
    grey = pair.down(picture)
    assert grey.pixels.shape == (*shape, 1)
    assert np.array_equal(grey.alpha, picture.alpha)
    back = pair.up(grey)
    assert back.pixels.shape == (*shape, 3)
    assert np.array_equal(back.alpha, picture.alpha)


def test_a_grey_original_comes_back_grey(model):
    pair = load(model, None, "cpu")
    grey = noise(20, 31)[..., :1]
    back = pair.up(pair.down(Picture(grey)))
    assert back.pixels.shape == grey.shape


def test_colour_cannot_come_from_colour(model):
    with pytest.raises(ImageError, match="three channels"):
        load(model, None, "cpu").up(Picture(noise(8, 8)))


@pytest.mark.parametrize("method", ["fast", "hcd"])
@pytest.mark.parametrize("shape", [(1, 3), (33, 48), (300, 31)])
def test_grey_is_refined_at_any_size(model, shape, method):
    pair = load(model, None, "cpu")
    hr = noise(*shape)
    grey = pair.down(hr)
    found = refine(pair, hr, grey, Refinement(4, method))
    assert found.lr.shape == grey.shape
    assert found.after <= found.before == pytest.approx(squared_error(pair, hr, grey))
    assert method == "hcd" or found.gain > 0


def test_the_bundled_checkpoint_brings_colours_back(tmp_path, photo):
    source = tmp_path / "photo.png"
    Image.fromarray(photo).save(source)
    code, said = run("down", source, "--to-grey", "-o", tmp_path / "grey")
    assert code == 0, said
    with Image.open(tmp_path / "grey" / "photo.png") as grey:
        assert (grey.mode, grey.size) == ("L", (221, 161))
        assert psnr(np.asarray(Image.fromarray(photo).convert("L")), np.asarray(grey)) > 32
    code, said = run("up", tmp_path / "grey", "-o", tmp_path / "sr")
    assert code == 0, said
    assert psnr(photo, np.asarray(Image.open(tmp_path / "sr" / "photo.png"))) > 30


def run(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    return found.exit_code, found.output + str(found.exception or "")


def test_the_command_line(tmp_path, model, photo):
    source = tmp_path / "photo.png"
    Image.fromarray(photo[:40, :50]).save(source)
    code, said = run("down", source, "--to-grey", "--model", model, "-o", tmp_path / "grey")
    assert code == 0, said
    with Image.open(tmp_path / "grey" / "photo.png") as grey:
        assert (grey.mode, grey.size) == ("L", (50, 40))
    code, said = run("up", tmp_path / "grey", "--model", model, "-o", tmp_path / "back")
    assert code == 0, said
    with Image.open(tmp_path / "back" / "photo.png") as back:
        assert (back.mode, back.size) == ("RGB", (50, 40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to-grey", "--scale", 2), "keeps the size"),
        (("--to-grey", "--model", "tad-x2"), "is for scale 2"),
        (("--to-grey", "--model", "bicubic"), "makes no grey images"),
    ],
)
def test_what_grey_cannot_be_combined_with(tmp_path, photo, arguments, message):
    source = tmp_path / "photo.png"
    Image.fromarray(photo[:8, :8]).save(source)
    code, said = run("down", source, "-o", tmp_path / "grey", *arguments)
    assert code != 0
    assert message in said
