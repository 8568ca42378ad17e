"""The default downscaler is bicubic, plus a kernel of its own for every pixel, plus a residual; and it can begin as TAD."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY_TAD
from torch import nn

from carcli.errors import WeightsError
from carcli.models.layers import bicubic_down
from carcli.models.registry import build
from carcli.models.residual_resampler import ResidualResampler, ResidualResamplerConfig
from carcli.training import recipe, start
from carcli.training.objective import Objective
from carcli.weights import checkpoint
from carcli.weights.description import Description, describe

TINY = TINY_TAD.replace('"tad"', '"edsr"').replace("down = {", 'down = { net = "residual", basis = 5,')
FINE = TINY.replace("blocks = 1,", "blocks = 1, fine_blocks = 1, fine_features = 8,").replace(
    "blocks = 1 }", "blocks = 1, fine_blocks = 1, fine_features = 8 }"
)


def network(scale: int = 4, **arguments: int) -> ResidualResampler:
    torch.manual_seed(0)
    return ResidualResampler(ResidualResamplerConfig(scale, features=16, blocks=1, basis=6, **arguments))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_nothing_in_its_heads_it_is_bicubic(scale):
    net = network(scale)
    nn.init.zeros_(net.tail.weight)
    hr = torch.rand(2, 3, 6 * scale, 9 * scale)
    assert torch.equal(net(hr), bicubic_down(hr, scale))


@pytest.mark.parametrize("scale", [2, 4])
def test_its_kernels_are_the_combination_of_the_basis_that_the_coefficients_say(scale):
    """Pixel by pixel: the sum over 3s x 3s HR pixels, beyond the border the nearest one."""
    net = network(scale)
    hr, coefficients = torch.rand(1, 3, 4 * scale, 5 * scale), torch.randn(1, 6, 4, 5)
    got = net.correction(hr, coefficients)
    flat = F.pixel_shuffle((net.basis - net.basis.mean((1, 2, 3), keepdim=True)), scale)[:, 0]  # (J, 3s, 3s)
    padded = F.pad(hr, (scale,) * 4, mode="replicate")
    for y in range(4):
        for x in range(5):
            kernel = (coefficients[0, :, y, x, None, None] * flat).sum(0)
            window = padded[0, :, y * scale : (y + 3) * scale, x * scale : (x + 3) * scale]
            assert torch.allclose(got[0, :, y, x], (window * kernel).sum((1, 2)), atol=1e-4)


def test_flat_areas_stay_as_they_are_whatever_the_kernels():
    net = network()
    flat = torch.full((1, 3, 32, 32), 0.7)
    assert net.correction(flat, torch.randn(1, 6, 8, 8) * 10).abs().max() < 1e-3


@pytest.mark.parametrize("arguments", [{}, {"fine_blocks": 2, "fine_features": 8}])
def test_nothing_beyond_the_halo_moves_a_pixel(arguments):
    net = network(**arguments)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    hr = torch.rand(1, 3, 160, 160)
    moved = hr.clone()
    moved[:, :, :, : 80 - net.halo] = torch.rand(1, 3, 160, 80 - net.halo)
    assert torch.allclose(net(hr)[..., 20:], net(moved)[..., 20:], atol=1e-5)


@pytest.mark.parametrize("text", [TINY, FINE])
def test_begun_from_tad_it_computes_what_tad_does(text, tmp_path):
    torch.manual_seed(1)
    tad = recipe.parse(TINY_TAD, "tad").model
    given = build("tad", 2, {"down": tad.down, "up": tad.up})
    for net in given:
        for parameter in net.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "tad.safetensors"
    checkpoint.write(path, Description("t", "tad", 2, tad.down, tad.up), given.down, given.up)
    pair, taken = start.networks(recipe.parse(text, "r"), str(path))
    assert taken == ("down", "up")
    hr = torch.rand(1, 3, 24, 32)
    written = build("tad", 2, {"down": tad.down, "up": tad.up})
    kept = checkpoint.read(path, describe(path))
    assert torch.allclose(pair.down(hr), kept.down(hr), atol=1e-6)
    lr = torch.rand(1, 3, 12, 16)
    assert torch.allclose(pair.up(lr), kept.up(lr), atol=1e-6)
    assert type(written.down) is not type(pair.down)


def test_what_it_adds_learns_from_the_first_step():
    made = recipe.parse(FINE, "r")
    pair, _ = start.networks(made, None)
    Objective(pair, made)(torch.rand(2, 3, 24, 24)).loss.backward()
    for net, names in ((pair.down, ("coefficients.weight", "fine.tail.weight")), (pair.up, ("fine.tail.weight",))):
        for name in names:
            assert net.get_parameter(name).grad.abs().max() > 0


def test_another_pair_of_the_family_cannot_start_it(tmp_path):
    torch.manual_seed(0)
    down, up = {"net": "base", "features": 8, "blocks": 1}, {"features": 8, "blocks": 1, "tail": "direct"}
    given = build("edsr", 2, {"down": down, "up": up})
    path = tmp_path / "car.safetensors"
    checkpoint.write(path, Description("c", "edsr", 2, down, up), given.down, given.up)
    with pytest.raises(WeightsError, match="neither of its networks"):
        start.networks(recipe.parse(TINY, "r"), str(path))


def test_blocks_at_twice_the_lr_need_an_even_scale():
    with pytest.raises(WeightsError, match="even scale"):
        build("edsr", 3, {"down": {"net": "residual", "fine_blocks": 1}, "up": {"tail": "direct"}})
    with pytest.raises(WeightsError, match="direct tail"):
        build("edsr", 2, {"down": {"net": "residual"}, "up": {"fine_blocks": 1}})
