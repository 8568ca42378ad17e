"""Training through JPEG: the real codec forwards, an approximation with slopes backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import PHOTOS, TINY_TAD, write_photos

from carcli.errors import UsageError
from carcli.images import codec
from carcli.models.registry import build
from carcli.ops.jpeg import approximate
from carcli.ops.quantise import to_float
from carcli.training import carrier, recipe
from carcli.training.loop import Run, Stopped, train
from carcli.training.objective import Objective
from carcli.training.start import networks
from carcli.training.validate import validate
from carcli.weights.description import describe

TINY = TINY_TAD + 'carrier = "jpeg"\n'


@pytest.fixture(scope="module")
def levels():
    pixels = codec.read(PHOTOS / "eyes.png").pixels
    return torch.from_numpy(pixels[:96, :128].copy()).permute(2, 0, 1)[None]


def tables(quality: int):
    return torch.tensor([carrier._tables(quality)], dtype=torch.float32).unflatten(2, (8, 8)).unbind(1)


def rounding(x, sharpness):
    return x.round()


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
def test_with_hard_rounding_the_approximation_is_the_codec(levels, quality, monkeypatch):
    monkeypatch.setattr("carcli.ops.jpeg.soft_round", rounding)
    near = approximate(to_float(levels), *tables(quality)).clamp(0, 1)
    real = to_float(carrier.decoded(levels, [quality]))
    lost = (real - to_float(levels)).square().mean().sqrt()
    assert (near - real).square().mean().sqrt() < min(2 / 255, lost / 2)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (17, 40)])
def test_any_size_keeps_its_size_and_a_flat_image_its_colour(size):
    flat = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None].expand(1, 3, *size)
    near = approximate(flat, *tables(95), sharpness=0.0)
    assert near.shape == flat.shape
    torch.testing.assert_close(near, flat, atol=1e-4, rtol=0)


def test_forwards_it_is_what_the_files_keep(levels):
    lr = to_float(levels).expand(2, -1, -1, -1).clone().requires_grad_()
    kept = carrier.through_jpeg(lr, [50, 90])
    torch.testing.assert_close(kept.detach(), to_float(carrier.decoded(levels.expand(2, -1, -1, -1), [50, 90])))


def test_backwards_it_has_the_slope_of_the_approximation(levels):
    lr, towards = to_float(levels), torch.randn(levels.shape, generator=torch.Generator().manual_seed(0))
    moving, near = lr.clone().requires_grad_(), lr.clone().requires_grad_()
    (carrier.through_jpeg(moving, [75]) * towards).sum().backward()
    (approximate(near, *tables(75)) * towards).sum().backward()
    torch.testing.assert_close(moving.grad, near.grad)
    assert float(moving.grad.abs().max()) > 0.1


def test_what_a_file_drops_has_little_slope_and_what_it_keeps_all(levels):
    """A fine pattern far below a step of the table is rounded away; the mean of a block is not."""
    flat = torch.full((1, 3, 16, 16), 0.5)
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    checks = torch.where((x + y) % 2 == 0, 1.0, -1.0).expand(1, 3, -1, -1)

    def slope(direction):
        moved = approximate(flat + 1e-3 * direction, *tables(50)) - approximate(flat, *tables(50))
        return float(moved.square().mean().sqrt()) / 1e-3

    assert slope(checks) < 0.05
    assert slope(torch.ones(1, 3, 16, 16)) < 2.1


def test_qualities_are_spread_over_a_batch():
    assert carrier.spread((50, 95), 4) == [50, 65, 80, 95]
    assert carrier.spread((50, 95), 1) == [72]
    assert carrier.spread((80, 80), 3) == [80, 80, 80]


@pytest.mark.parametrize("wrong", ["[95, 50]", "[0, 50]", "[50]", "50", "[50, 101]"])
def test_a_range_of_qualities_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match="carrier_quality must be two whole numbers from 1 to 100, the lower one first"):
        recipe.parse(TINY + f"carrier_quality = {wrong}", "tiny")


def test_the_loss_is_of_what_the_file_keeps(levels):
    tiny = recipe.parse(TINY, "tiny")
    pair = build("tad", 2, {"down": tiny.model.down, "up": tiny.model.up})
    hr = to_float(levels)
    through = Objective(pair, tiny)(hr).loss
    without = Objective(pair, recipe.change(tiny, loss={"carrier": "none"}))(hr).loss
    assert float(through.detach()) > float(without.detach())
    through.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in pair.down.parameters())


def test_validation_goes_through_files_of_each_quality(levels):
    down, up = build("bicubic", 2, {})
    high, low, both = (
        validate(down, up, [to_float(levels)], 2, torch.device("cpu"), qualities=q) for q in [(95,), (30,), (95, 30)]
    )
    assert high.hr > low.hr
    assert both.hr == pytest.approx((high.hr + low.hr) / 2)
    assert high.lr == low.lr == np.inf  # the LR as it was before


def test_a_pair_that_hides_colours_in_grey_has_no_carrier():
    grey = recipe.change(recipe.load("tad-grey"), loss={"carrier": "jpeg"})
    with pytest.raises(UsageError, match="which no JPEG keeps: leave its carrier out"):
        networks(grey, None)


def test_a_run_cut_and_resumed_ends_as_one_that_was_not(tmp_path):
    photos = write_photos(tmp_path / "photos", 6, 40, 48)
    tiny, seen = recipe.parse(TINY, "tiny"), []
    whole = train(tiny, [photos], Run(tmp_path / "whole", 1, steps=4))
    assert describe(whole).carrier == "jpeg"
    with pytest.raises(Stopped):
        train(tiny, [photos], Run(tmp_path / "cut", 1, steps=4), seen.append, stop=lambda: len(seen) == 2)
    assert train(tiny, [photos], Run(tmp_path / "cut", 1, steps=4, resume=True)).read_bytes() == whole.read_bytes()
