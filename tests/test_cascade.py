"""Scales beyond any checkpoint's: several of them one after another, without rounding between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import PHOTOS, noise, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from carcli.errors import WeightsError
from carcli.images import codec, metrics
from carcli.images.picture import Picture
from carcli.images.tag import Tag, parse
from carcli.models.base import Pair
from carcli.models.cascade import cascade
from carcli.models.registry import build
from carcli.ops.quantise import to_float, to_uint8
from carcli.rescale import tiling
from carcli.rescale.refine import refine
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.weights.choose import Choice, choose, family_of
from carcli.weights.description import Description

CPU = torch.device("cpu")
SMALL = {
    "down": {"features": 8, "blocks": 1},
    "up": {"features": 8, "blocks": 1, "res_scale": 1.0, "tail": "direct"},
}


def small(scale: int) -> Pair:
    return Pair(*(seeded(net, 0.4) for net in build("tad", scale, SMALL)))


@pytest.fixture(scope="module")
def eight():
    two, four = small(2), small(4)
    return cascade([two, four])


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return to_float(torch.from_numpy(image.transpose(2, 0, 1).copy()))[None]


def as_image(tensor: torch.Tensor) -> np.ndarray:
    return to_uint8(tensor)[0].permute(1, 2, 0).numpy()


def close(a: np.ndarray, b: np.ndarray) -> None:
    """At most one 8-bit level, on at most one value in a hundred: tiles are in another order in memory than the whole."""
    difference = np.abs(a.astype(int) - b)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= max(1, difference.size // 100)


@torch.no_grad()
def test_the_first_pair_shrinks_first_and_restores_last_and_nothing_is_rounded_between():
    two, four = small(2), small(4)
    both = cascade([two, four])
    hr = as_tensor(noise(64, 48))
    lr = four.down(two.down(hr))
    assert torch.equal(both.down(hr), lr)
    assert torch.equal(both.up(lr), two.up(four.up(lr)))
    assert not torch.equal(both.down(hr), four.down(to_float(to_uint8(two.down(hr)))))


def test_what_tiling_needs_to_know(eight):
    assert eight.down.scale == eight.up.scale == 8
    two, four = eight.down.steps
    assert eight.down.multiple_of == 8
    assert eight.down.halo >= two.halo + 2 * four.halo
    first, last = eight.up.steps
    assert (first.scale, last.scale) == (4, 2)
    assert first.halo < eight.up.halo <= first.halo + last.halo


def test_the_smallest_image_it_takes_leaves_every_step_enough():
    """The authors' downscaler mirrors 16 pixels: the second of two at x4 sees a quarter of what the first one does."""
    four = build("edsr", 4, {"down": {"features": 4, "blocks": 1}, "up": {"features": 4, "blocks": 1}})
    sixteen = cascade([four, four]).down
    assert (sixteen.multiple_of, sixteen.minimum) == (32, 64)
    assert sixteen(torch.rand(1, 3, 64, 64)).shape == (1, 3, 4, 4)


def test_a_small_image_is_refined_through_such_a_cascade():
    four = build("edsr", 4, {"down": {"features": 4, "blocks": 1}, "up": {"features": 4, "blocks": 1}})
    pair = Rescaler(Choice(Description("four", "edsr", 16), None, ""), cascade([four, four]), CPU)
    image = noise(20, 20)
    found = refine(pair, image, pair.down(image), Refinement(2, "hcd"))
    assert found.after <= found.before


def test_steps_that_need_sizes_of_their_own_upwards():
    """What the second step must have a multiple of, the first one brings already, or in part."""
    pair = cascade([small(2), build("edsr", 2, SMALL | {"down": {"net": "base", "features": 8, "blocks": 1}})])
    first, second = pair.up.steps
    first.multiple_of, second.multiple_of, second.minimum = 3, 4, 9
    up = cascade([Pair(pair.down.steps[0], second), Pair(pair.down.steps[1], first)]).up
    assert (up.multiple_of, up.minimum) == (6, 5)


def test_what_one_step_cannot_do_the_cascade_cannot(eight):
    two, four = small(2), small(4)
    assert cascade([two, four]).up.differentiable
    four.up.halo, four.up.differentiable = None, False
    both = cascade([two, four])
    assert (both.up.halo, both.up.differentiable) == (None, False)
    assert both.down.halo == eight.down.halo


def test_a_pair_applied_twice_is_held_once():
    two = small(2)
    again = cascade([two, two])
    assert again.down.scale == 4
    assert sum(p.numel() for p in again.down.parameters()) == sum(p.numel() for p in two.down.parameters())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([4, 8, 16]))
def test_tiles_of_every_step_equal_the_whole(rows, columns, tile):
    pair = cascade([small(2), small(4)])
    image = noise(8 * rows, 8 * columns, seed=rows * 100 + columns)
    lr = tiling.run(pair.down, image, down=True, device=CPU, tile=tile)
    with torch.no_grad():
        close(lr, as_image(pair.down(as_tensor(image))))
        back = tiling.run(pair.up, lr, down=False, device=CPU, tile=tile)
        close(back, as_image(pair.up(as_tensor(lr))))


def test_a_family_reaches_every_power_of_two():
    assert choose("edsr", 8).description.id == "edsr-x2+edsr-x4-v3"
    assert choose("edsr", 16).description.id == "edsr-x4-v3+edsr-x4-v3"
    for scale in (2, 4, 8, 16, 32, 64, 128):
        for model in ("edsr", "tad", "best"):
            chosen = choose(model, scale)
            assert chosen.description.scale == scale
            assert family_of(chosen.description.id) == chosen.description.family


def test_a_chain_is_identified_by_all_its_checkpoints():
    parts = [choose(name, None) for name in ("tad-x2", "tad-x4")]
    chain, turned = choose("tad-x2+tad-x4", 8), choose("tad-x4+tad-x2", None)
    assert chain.digest not in (turned.digest, *(p.digest for p in parts))
    assert choose("tad-x2", 8).digest == parts[0].digest


@pytest.mark.parametrize(
    ("model", "scale", "message"),
    [
        ("tad-x2+edsr-base-x4", None, "joins families"),
        ("tad-x2+tad-x4", 16, "is for scale 8, not 16"),
        ("tad-x4", 8, "is for scale 4, or 16, 64"),
        ("tad", 6, "no checkpoint at scale 6; it has 2, 4 and their products"),
        ("tad-x2+nothing", None, "unknown model 'nothing'"),
    ],
)
def test_what_cannot_be_chained_is_refused(model, scale, message):
    with pytest.raises(WeightsError, match=message):
        choose(model, scale)


@pytest.mark.parametrize("model", ["tad", "edsr"])
@pytest.mark.parametrize("shape", [(64, 64), (45, 83), (1, 1), (7, 130)])
def test_a_round_trip_at_scale_8(model, shape, photo):
    pair = load(model, 8, "cpu")
    image = np.tile(photo, (1, 1, 1))[: shape[0], : shape[1]]
    alpha = noise(*shape)[..., :1]
    small = pair.down(Picture(image, alpha))
    assert small.size == (-(-shape[1] // 8), -(-shape[0] // 8))
    back = pair.up(small)
    assert back.pixels.shape == image.shape
    assert back.alpha is not None
    assert back.alpha.shape == alpha.shape


def test_the_tag_names_the_chain_and_brings_the_original_back(tmp_path, photo):
    pair = load("tad", 8, "cpu")
    small = pair.down_picture(Picture(photo))
    path = tmp_path / "lr.png"
    with path.open("wb") as file:
        codec.encode(small, file)
    found = codec.read(path).tag
    assert found == Tag(pair.id, pair.digest, 8, photo.shape[1], photo.shape[0])
    again = load(found.checkpoint, found.scale, "cpu")
    assert again.digest == pair.digest
    assert parse(found.to_json(), small.size) == found
    assert np.array_equal(again.up_picture(codec.read(path)).pixels, pair.up_picture(small).pixels)


@pytest.mark.parametrize("scale", [8, 16])
def test_a_cascade_restores_better_than_bicubic(scale, photo):
    def restored(model: str) -> float:
        pair = load(model, scale, "cpu")
        return metrics.psnr_y(photo, pair.up(pair.down(Picture(photo))).pixels, 8)

    assert restored("tad") > restored("bicubic") + 1


@pytest.mark.slow
def test_a_cascade_can_be_refined(photo):
    pair = load("tad", 8, "cpu")
    image = photo[:128, :128]
    found = refine(pair, image, pair.down(image), Refinement(4))
    assert found.gain > 0


@pytest.mark.slow
def test_seventy_pixels_hold_more_than_bicubic_keeps():
    photo = np.asarray(Image.open(PHOTOS / "coffee.jpg").convert("RGB"))
    restored = {}
    for model in ("tad", "tad-recursive", "bicubic"):
        pair = load(model, 64, "cpu")
        lr = pair.down(photo)
        assert lr.shape == (7, 10, 3)
        restored[model] = metrics.psnr_y(photo, pair.up(lr)[:400, :600], 8)
    assert restored["tad-recursive"] > restored["bicubic"] + 1
    assert restored["tad"] > restored["bicubic"] + 1
