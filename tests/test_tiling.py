"""Tiles: no seam, any size, and the same bytes whatever the circumstances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from carcli.models.base import Network
from carcli.models.registry import build
from carcli.rescale import tiling

CPU = torch.device("cpu")
SMALL = {
    "bicubic": {},
    "edsr": {
        "down": {"net": "base", "features": 8, "blocks": 1},
        "up": {"features": 8, "blocks": 2, "res_scale": 1.0, "tail": "direct"},
    },
    "tad": {
        "down": {"features": 8, "blocks": 1},
        "up": {"features": 8, "blocks": 2, "res_scale": 1.0, "tail": "direct"},
    },
    "tad-paper": {
        "down": {"net": "paper", "features": 8, "blocks": 1},
        "up": {"features": 8, "blocks": 1, "res_scale": 1.0, "tail": "progressive"},
    },
    "tad-grey": {"down": {"net": "grey", "features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 2}},
    "edsr-paper": {"down": {"net": "paper", "features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 2}},
}
_pairs = {}


def pair(name: str, scale: int):
    key = name, scale
    if key not in _pairs:
        _pairs[key] = [seeded(net, 0.6) for net in build(name.split("-")[0], scale, SMALL[name])]
    return _pairs[key]


def close(a: np.ndarray, b: np.ndarray) -> None:
    """The promise: at most one 8-bit level, on at most 0.1 % of values (one value of a tiny image)."""
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= max(1, difference.size // 1000)


def whole(network, image: np.ndarray, down: bool) -> np.ndarray:
    return tiling.run(network, image, down=down, device=CPU, tile=1 << 13)


SCALES = {"tad-paper": [2], "tad-grey": [1]}
KINDS = st.sampled_from([(name, scale) for name in sorted(SMALL) for scale in SCALES.get(name, [2, 4])])


@settings(max_examples=40, deadline=None)
@given(KINDS, st.integers(1, 90), st.integers(1, 90), st.sampled_from([8, 16, 24]))
def test_down_in_tiles_equals_down_whole(kind, height, width, tile):
    name, scale = kind
    network = pair(name, scale)[0]
    image = noise(height, width, seed=height * 100 + width)
    got = tiling.run(network, image, down=True, device=CPU, tile=tile)
    assert got.shape == (-(-height // scale), -(-width // scale), 1 if name == "tad-grey" else 3)
    close(got, whole(network, image, True))


@settings(max_examples=40, deadline=None)
@given(KINDS, st.integers(1, 40), st.integers(1, 40), st.sampled_from([5, 8, 16]))
def test_up_in_tiles_equals_up_whole(kind, height, width, tile):
    name, scale = kind
    network = pair(name, scale)[1]
    image = noise(height, width, seed=height * 100 + width)[..., : 1 if name == "tad-grey" else 3]
    got = tiling.run(network, image, down=False, device=CPU, tile=tile)
    assert got.shape == (height * scale, width * scale, 3)
    close(got, whole(network, image, False))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("down", [True, False])
def test_full_depth_halo_is_wide_enough(scale, down):
    """The bundled depth, with weights that let every layer reach as far as it can."""
    architecture = {
        "down": {"net": "base", "features": 8, "blocks": 6},
        "up": {"features": 8, "blocks": 16, "res_scale": 1.0, "tail": "direct"},
    }
    network = seeded(build("edsr", scale, architecture)[0 if down else 1], 0.6)
    image = noise(150 * scale, 130 * scale) if down else noise(150, 130)
    close(tiling.run(network, image, down=down, device=CPU, tile=40), whole(network, image, down))


def test_a_halo_one_pixel_short_would_show():
    """The test above can fail: the halo is needed."""
    network = seeded(build("edsr", 2, SMALL["edsr"])[1], 0.6)
    image = noise(64, 64)
    expected = whole(network, image, False)
    network.halo = 1
    got = tiling.run(network, image, down=False, device=CPU, tile=16)
    assert not np.array_equal(got, expected)


def test_the_default_grid_is_the_networks_own():
    network = pair("edsr", 2)[1]
    image = noise(30, 30)
    default = tiling.run(network, image, down=False, device=CPU)
    assert np.array_equal(default, tiling.run(network, image, down=False, device=CPU, tile=network.tile))


def test_same_bytes_for_any_number_of_threads(set_threads):
    results = []
    for threads in (1, 2, 4):
        set_threads(threads)
        small = tiling.run(pair("edsr", 4)[0], noise(200, 180), down=True, device=CPU, tile=24)
        results.append(tiling.run(pair("edsr", 4)[1], small, down=False, device=CPU, tile=24))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_grey_and_alpha_planes_stay_one_channel():
    image = noise(33, 21, 1)
    for name in SMALL.keys() - SCALES.keys():
        down, up = pair(name, 4)
        small = tiling.run(down, image, down=True, device=CPU)
        assert small.shape == (9, 6, 1)
        assert tiling.run(up, small, down=False, device=CPU).shape == (36, 24, 1)


def test_only_tiles_are_ever_shown_to_the_network():
    network = pair("edsr", 2)[1]
    seen = []

    class Spy(Network):
        halo, tile = network.halo, 16

        def forward(self, x):
            seen.append(x.shape)
            return network(x)

    tiling.run(Spy(network.scale), noise(100, 90), down=False, device=CPU)
    assert len(seen) == 7 * 6
    assert max(max(s[2:]) for s in seen) <= 16 + 2 * network.halo


@given(st.integers(1, 30), st.integers(0, 100), st.integers(1, 100))
def test_reflection_never_leaves_the_image(size, first, count):
    index = tiling.reflected(first, first + count, size)
    assert index.min() >= 0
    assert index.max() < size
    if size > 1:
        assert np.all(np.abs(np.diff(index)) == 1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close(precision):
    down, up = pair("edsr", 4)
    image = noise(64, 48)
    small = tiling.run(down, image, down=True, device=CPU)
    full = tiling.run(up, small, down=False, device=CPU).astype(int)
    half = tiling.run(up, small, down=False, device=CPU, precision=precision).astype(int)
    assert np.abs(full - half).mean() < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [2, 3, 100])
def test_tiles_computed_together_are_as_those_one_by_one(monkeypatch, at_once):
    sizes = []
    for index, name in ((0, "edsr"), (1, "tad")):
        network = pair(name, 2)[index]
        image = noise(130, 170)
        alone = tiling.run(network, image, down=index == 0, device=CPU, tile=16)
        with monkeypatch.context() as patch:
            patch.setitem(tiling.AT_ONCE, "cpu", at_once)
            honest = network.forward
            patch.setattr(network, "forward", lambda x, honest=honest: (sizes.append(len(x)), honest(x))[1])
            close(tiling.run(network, image, down=index == 0, device=CPU, tile=16), alone)
    assert 1 < max(sizes) <= at_once


def test_memory_for_one_tile_is_enough(monkeypatch):
    """Where four do not fit they are computed one by one, on the same grid: the bytes stay."""
    network = pair("bicubic", 2)[1]
    image = noise(64, 64)
    expected = tiling.run(network, image, down=False, device=CPU, tile=16)
    honest, seen = network.forward, []

    def forward(x):
        seen.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError("no")
        return honest(x)

    monkeypatch.setitem(tiling.AT_ONCE, "cpu", 4)
    monkeypatch.setattr(network, "forward", forward)
    assert np.array_equal(tiling.run(network, image, down=False, device=CPU, tile=16), expected)
    assert max(seen) > 1
