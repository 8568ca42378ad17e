"""The invertible network: of the published sizes, undone exactly with its z, and one set of weights for both halves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import noise, seeded, write_photos
from torch import nn

from carcli.errors import UsageError, WeightsError
from carcli.models.irn import haar, unhaar
from carcli.models.registry import build, outline
from carcli.models.tempered import for_ordinary
from carcli.rescale import tiling
from carcli.rescale.refine import refine
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import load
from carcli.training import recipe
from carcli.training.loop import Run, train

CPU = torch.device("cpu")
SMALL = {"down": {"blocks": 1, "growth": 4}}


def pair(scale: int):
    """A small one whose couplings do something."""
    built = build("irn", scale, SMALL)
    seeded(built.down, 0.3)
    return built


@pytest.mark.parametrize(("scale", "published"), [(2, 1.66e6), (4, 4.35e6)])
def test_parameters_are_as_many_as_published(scale, published):
    down, up = outline("irn", scale, {})
    count = sum(p.numel() for p in down.parameters())
    assert published <= count < published + 0.01e6  # the paper cuts, and does not round
    assert not list(up.parameters())


def test_haar_keeps_the_means_and_is_undone():
    x = torch.rand(2, 3, 6, 8)
    torch.testing.assert_close(haar(x)[:, :3], nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(unhaar(haar(x)), x)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_it_is_undone_exactly_with_its_z(scale):
    network = pair(scale).down.invertible
    hr = torch.rand(2, 3, 3 * scale, 5 * scale)
    lr, z = network(hr)
    assert (lr.shape, z.shape) == ((2, 3, 3, 5), (2, 3 * scale**2 - 3, 3, 5))
    assert (lr - nn.functional.avg_pool2d(hr, scale)).abs().mean() > 1e-3
    torch.testing.assert_close(network.inverse(lr, z), hr, atol=1e-5, rtol=0)


def test_restoring_takes_z_to_be_0():
    down, up = pair(4)
    lr = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(up(lr), down.invertible.inverse(lr, torch.zeros(1, 45, 4, 4)))


def test_a_fresh_one_is_the_box_filter_both_ways():
    down, up = build("irn", 2, SMALL)
    hr = torch.rand(1, 3, 4, 6)
    box = nn.functional.avg_pool2d(hr, 2)
    torch.testing.assert_close(down(hr), box)
    torch.testing.assert_close(up(box), nn.functional.interpolate(box, scale_factor=2))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("half", [0, 1])
def test_tiles_leave_no_seam(scale, half):
    network, down = pair(scale)[half], half == 0
    image = noise(70 * scale, 61 * scale) if down else noise(70, 61)
    whole = tiling.run(network, image, down=down, device=CPU, tile=1 << 12)
    tiles = tiling.run(network, image, down=down, device=CPU, tile=16)
    assert np.abs(whole.astype(int) - tiles).max() <= 1
    assert np.count_nonzero(whole != tiles) <= whole.size // 1000


def test_halves_go_together():
    with pytest.raises(WeightsError, match="irn restores what its own downscaler makes"):
        build("edsr", 2, {"up": {"net": "irn"}})
    with pytest.raises(WeightsError, match="unknown architecture argument 'blocks'"):
        build("irn", 2, {"up": {"blocks": 1}})
    with pytest.raises(WeightsError, match="2, 4, 8…, not 3"):
        build("irn", 3, {})


def test_a_copy_shares_its_own_weights():
    built = nn.ModuleDict(pair(2)._asdict())
    twin = copy.deepcopy(built)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    lr = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(twin["up"](lr), nn.functional.interpolate(lr, scale_factor=2))
    assert not torch.allclose(built["up"](lr), nn.functional.interpolate(lr, scale_factor=2))


def test_its_upscaler_alone_goes_where_it_is_sent():
    tempered = for_ordinary(pair(2), 0.5).up.to(torch.float64)
    assert next(tempered.network._network[0].parameters()).dtype == torch.float64


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("irn")
    photographs = write_photos(folder / "photos", 12, 48, 48)
    made = recipe.change(recipe.load("irn-x4"), "tiny-irn", model=SMALL, data={"patch": 8, "batch": 2}, optimiser={"rate": 0.01})
    return train(made, [photographs], Run(folder / "run", 1, steps=4)), made, photographs


@pytest.mark.slow
def test_it_trains_into_a_file_that_has_its_weights_once(trained, photo):
    best, _, _ = trained
    again = load(str(best), None, "cpu")
    down, up = again.networks
    assert up._network[0] is down.invertible
    assert best.stat().st_size < 6 * sum(p.numel() for p in down.parameters()) + 20_000
    assert any(layer.weight.abs().max() > 0 for layer in [down.invertible.halvings[0].blocks[0].phi.layers[-1]])
    small = again.down(photo)
    assert again.up(small, size=(221, 161)).shape == photo.shape
    grey = again.down(photo[..., :1])
    assert again.up(grey, size=(221, 161)).shape[:2] == photo.shape[:2]


def test_training_goes_on_from_it(trained, tmp_path):
    best, made, photographs = trained
    assert train(made, [photographs], Run(tmp_path / "run", 1, steps=2, init=str(best))).is_file()
    frozen = recipe.change(made, model={**SMALL, "freeze": "down"})
    with pytest.raises(UsageError, match="leaves nothing to train"):
        train(frozen, [photographs], Run(tmp_path / "frozen", 1, steps=2, init=str(best)))


@pytest.mark.parametrize("method", ["fast", "hcd"])
def test_its_images_are_refined_as_all_others(trained, method):
    pair = load(str(trained[0]), None, "cpu")
    hr = noise(48, 40)
    refined = refine(pair, hr, pair.down(hr), Refinement(4, method))
    assert refined.gain >= 0


def test_a_checkpoint_names_its_family(trained):
    assert load(str(trained[0]), None, "cpu").family == "irn"
