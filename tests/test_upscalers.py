"""The upscalers that CAR is trained with: of the published sizes, seeing as far as they say, and trained by their recipes."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded, write_photos
from torch import nn

from carcli.errors import WeightsError
from carcli.models.layers import MeanShift, bicubic_up
from carcli.models.registry import build, outline
from carcli.training import recipe
from carcli.training.loop import Run, train

SMALL = {
    "vdsr": {"features": 8, "depth": 5},
    "srdensenet": {"blocks": 2, "layers": 3, "growth": 4, "bottleneck": 8},
    "dbpn": {"stages": 2, "first": 8, "features": 4},
    "rdn": {"blocks": 2, "layers": 3, "growth": 4, "features": 8},
    "rcan": {"groups": 2, "blocks": 2, "features": 8, "reduction": 2},
}
NETS = sorted(SMALL)
ROLES = ("", "-on-frozen", "-on-bicubic")


def network(net: str, scale: int, **arguments):
    return build("bicubic", scale, {"up": {"net": net, **SMALL[net], **arguments}}).up


@pytest.mark.parametrize(
    ("net", "scale", "published"),
    [
        ("dbpn", 2, 5_953_526),
        ("dbpn", 4, 10_426_358),
        ("dbpn", 8, 23_205_878),
        ("rdn", 2, 22_123_395),
        ("rdn", 3, 22_308_035),
        ("rdn", 4, 22_271_107),
        ("rcan", 2, 15_444_667 - 24),
        ("rcan", 4, 15_592_379 - 24),  # both colour shifts are counted in what is published
        ("vdsr", 4, 664_704 + 2 * 2 * 9 * 64),  # published for one channel, where there are three
    ],
)
def test_parameters_are_as_many_as_published(net, scale, published):
    up = outline("bicubic", scale, {"up": {"net": net}}).up
    assert sum(p.numel() for p in up.parameters() if p.requires_grad) == published


def test_srdensenet_is_as_large_as_its_papers_description():
    """Which gives no count: blocks of 8 layers of 16 features on 128, 256 … 1024, 1152 to 256, and two deconvolutions of 256."""
    first, rest = sum(9 * 16 * 128 * n + 16 for n in range(1, 9)), 8 * sum(9 * 16 * 16 * n + 16 for n in range(1, 8))
    ends = 9 * 3 * 128 + 128, 1152 * 256 + 256, 2 * (9 * 256 * 256 + 256), 9 * 256 * 3 + 3
    up = outline("bicubic", 4, {"up": {"net": "srdensenet"}}).up
    assert sum(p.numel() for p in up.parameters() if p.requires_grad) == first + rest + sum(ends)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_they_enlarge_any_size(net, scale):
    up = network(net, scale)
    for h, w in ((1, 1), (1, 5), (6, 3)):
        assert up(torch.rand(2, 3, h, w)).shape == (2, 3, h * scale, w * scale)


@pytest.mark.parametrize("net", sorted({*NETS} - {"rcan"}))
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_they_see_as_far_as_they_say_and_no_further(net, scale):
    """How far the slope of a pixel's restored cell reaches, where nothing is silenced."""
    up = seeded(network(net, scale))
    for module in up.modules():
        if not isinstance(module, MeanShift):
            for parameter in module.parameters(recurse=False):
                parameter.data.abs_()
    side = 2 * up.halo + 3
    lr = torch.full((1, 3, side, side), 0.9, requires_grad=True)
    middle = side // 2
    cell = slice(middle * scale, (middle + 1) * scale)
    up(lr)[:, :, cell, cell].sum().backward()
    touched = lr.grad.abs().sum((0, 1)).nonzero()
    reach = int((touched - middle).abs().max())
    assert up.halo - 4 <= reach <= up.halo


def test_rcan_sees_the_whole_image():
    up = seeded(network("rcan", 2), 0.6)
    lr = torch.rand(1, 3, 12, 40)
    assert up.halo is None
    assert not torch.allclose(up(lr)[..., :20], up(lr[..., :30])[..., :20], atol=1e-5)


@pytest.mark.parametrize("net", [net for net in NETS if net != "vdsr"])
def test_what_is_added_to_bicubic_begins_as_little(net):
    torch.manual_seed(0)
    lr = torch.rand(1, 3, 8, 8)
    fresh = network(net, 4, on_bicubic=True)(lr) - bicubic_up(lr, 4)
    assert 0 < fresh.abs().mean() < 0.05


@pytest.mark.parametrize(
    ("net", "scale", "message"),
    [("dbpn", 3, "scales 2, 4 and 8, not 3"), ("srdensenet", 6, "2, 4, 8…, not 6"), ("rcan", 6, "2, 4, 8…, not 6")],
)
def test_a_scale_that_a_network_does_not_have_is_said(net, scale, message):
    with pytest.raises(WeightsError, match=message):
        network(net, scale)


def test_vdsr_and_rdn_have_odd_scales():
    assert network("vdsr", 5)(torch.rand(1, 3, 4, 4)).shape == (1, 3, 20, 20)
    assert network("rdn", 3)(torch.rand(1, 3, 4, 4)).shape == (1, 3, 12, 12)


@pytest.mark.parametrize("net", [*NETS, "edsr"])
def test_there_is_a_recipe_for_every_way_to_train_it(net):
    """CAR† (with the downscaler), CAR‡ (for a frozen one), and on bicubic's images; all with the same small network."""
    joint, frozen, plain = (recipe.load({"edsr": EDSR}.get(net, [f"{net}{role}-x4" for role in ROLES])[n]) for n in range(3))
    assert joint.model.up == frozen.model.up == plain.model.up
    assert (joint.model.freeze, frozen.model.freeze, plain.model.down) == ("none", "down", {"net": "bicubic"})
    assert joint.model.down == frozen.model.down
    up = outline("edsr", 4, {"up": joint.model.up}).up
    assert sum(p.numel() for p in up.parameters()) < 2.2e6


EDSR = ("edsr-base-x4", "sr-on-frozen-x4", "edsr-on-bicubic-x4")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("upscalers") / "photos", 12, 48, 48)


@pytest.mark.parametrize("net", [net if net == "vdsr" else pytest.param(net, marks=pytest.mark.slow) for net in NETS])
def test_a_few_steps_train_both_halves(net, photographs, tmp_path):
    made = recipe.change(
        recipe.load(f"{net}-x4"),
        model={"down": {"net": "base", "features": 8, "blocks": 1}, "up": {"net": net, **SMALL[net]}},
        data={"patch": 8, "batch": 2},
    )
    best = train(made, [photographs], Run(tmp_path / "run", 1, steps=3))
    frozen = recipe.change(
        recipe.load(f"{net}-on-frozen-x4"),
        "frozen",
        model={"down": made.model.down, "up": made.model.up},
        data={"patch": 8, "batch": 2},
    )
    assert train(frozen, [photographs], Run(tmp_path / "frozen", 1, steps=2, init=str(best))).is_file()


def test_every_weight_learns():
    torch.manual_seed(0)
    for net in NETS:
        up: nn.Module = network(net, 4)
        up(torch.rand(1, 3, 8, 8)).square().sum().backward()
        silent = [name for name, p in up.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert not silent, net
