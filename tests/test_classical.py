"""Classical downscalers that look at what they shrink, against their papers' formulas written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import carcli
from carcli.images.picture import Picture
from carcli.images.written import JPEG, Encoding
from carcli.models.dpid import DpidDown
from carcli.models.registry import build
from carcli.rescale import tiling
from carcli.weights.choose import choose, super_resolves

CPU = torch.device("cpu")
MODELS = ("perceptual", "dpid", "dpid-0.5", "l0")
TILED = MODELS[:3]


def down(model: str, scale: int, image: np.ndarray, tile: int = 1 << 13) -> np.ndarray:
    """(H, W, C) uint8 → LR, float32, not clamped."""
    return tiling.run(build(model, scale, {}).down, image, down=True, device=CPU, tile=tile, rounded=False)


def perceptual(hr: np.ndarray, s: int) -> np.ndarray:
    """Algorithm 1 of the paper, on one channel (H, W) in [0, 1]."""
    h, w = hr.shape[0] // s, hr.shape[1] // s
    box = np.array([[hr[y * s : y * s + s, x * s : x * s + s].mean() for x in range(w)] for y in range(h)])
    rows, columns = min(2, h), min(2, w)
    total, count = np.zeros((h, w)), np.zeros((h, w))
    for y in range(h - rows + 1):
        for x in range(w - columns + 1):
            patch = box[y : y + rows, x : x + columns]
            beneath = hr[y * s : (y + rows) * s, x * s : (x + columns) * s]
            ratio = 0 if patch.var() < 1e-6 else beneath.std() / patch.std()
            total[y : y + rows, x : x + columns] += patch.mean() + ratio * (patch - patch.mean())
            count[y : y + rows, x : x + columns] += 1
    return total / count


def dpid(hr: np.ndarray, s: int, strength: float) -> np.ndarray:
    """Equation 1 of the paper, on (H, W, 3) in [0, 1]."""
    h, w = hr.shape[0] // s, hr.shape[1] // s
    box = hr.reshape(h, s, w, s, 3).mean((1, 3))
    out = np.empty_like(box)
    for y in range(h):
        for x in range(w):
            around = [(min(max(y + i, 0), h - 1), min(max(x + j, 0), w - 1), i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            guide = sum(box[v, u] * (2 - abs(i)) * (2 - abs(j)) for v, u, i, j in around) / 16
            cell = hr[y * s : y * s + s, x * s : x * s + s].reshape(-1, 3)
            weights = np.linalg.norm(cell - guide, axis=1) ** strength
            out[y, x] = guide if weights.sum() < 1e-9 else (cell * weights[:, None]).sum(0) / weights.sum()
    return out


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(6, 5), (1, 7), (4, 1), (1, 1)])
def test_they_are_the_papers(scale, size):
    rng = np.random.default_rng(scale)
    hr = rng.integers(0, 256, (size[0] * scale, size[1] * scale, 3), dtype=np.uint8)
    exact = hr / 255
    wanted = np.stack([perceptual(exact[..., c], scale) for c in range(3)], 2)
    np.testing.assert_allclose(down("perceptual", scale, hr), wanted, atol=2e-5)
    np.testing.assert_allclose(down("dpid", scale, hr), dpid(exact, scale, 1.0), atol=2e-5)
    np.testing.assert_allclose(down("dpid-0.5", scale, hr), dpid(exact, scale, 0.5), atol=2e-5)


def test_dpid_without_strength_is_the_box_filter():
    hr = torch.rand(1, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    box = torch.nn.functional.avg_pool2d(hr, 4)
    torch.testing.assert_close(DpidDown(4, 0.0)(hr), box)
    torch.testing.assert_close(DpidDown(4, 1e-4)(hr), box, atol=1e-3, rtol=0)
    assert (DpidDown(4, 1.0)(hr) - box).abs().max() > 0.02


def test_a_perceptual_patch_has_the_originals_mean_and_variance():
    hr = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    lr = build("perceptual", 4, {}).down(hr)  # one patch
    torch.testing.assert_close(lr.mean((2, 3)), hr.mean((2, 3)))
    torch.testing.assert_close(lr.var((2, 3), correction=0), hr.var((2, 3), correction=0))


def test_l0_has_fewer_and_sharper_edges_than_a_box_filter():
    """A soft edge through the middle of cells becomes a hard one, and faint grain disappears."""
    rng = np.random.default_rng(0)
    ramp = np.clip((np.arange(64) - 30) / 4, 0, 1)
    hr = np.broadcast_to(ramp * 200 + 20, (64, 64)) + rng.normal(0, 1, (64, 64))
    image = np.repeat(hr[..., None].round().clip(0, 255).astype(np.uint8), 3, 2)
    lr = down("l0", 4, image) * 255
    steps = np.abs(np.diff(lr[:, :, 0], axis=1))
    assert (steps > 20).sum() == 16  # one edge a row
    assert steps[steps <= 20].max() < 0.7
    box = image.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert (np.abs(np.diff(box[:, :, 0], axis=1)) > 20).sum() == 32  # which spreads it over two


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_image_stays_flat(model, level):
    made = carcli.load(model, scale=4, device="cpu").down(np.full((13, 18, 3), level, np.uint8))
    assert made.shape == (4, 5, 3)
    assert (made == level).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TILED), st.integers(2, 4), st.integers(1, 90), st.integers(1, 90), st.sampled_from([2, 8, 13]))
def test_tiles_leave_no_seam(model, scale, height, width, tile):
    image = noise(height, width, seed=height * 100 + width)
    np.testing.assert_allclose(down(model, scale, image, tile), down(model, scale, image), atol=1e-6)


def test_l0_sees_the_whole_image(photo):
    network = build("l0", 4, {}).down
    assert network.halo is None
    small = tiling.run(network, photo, down=True, device=CPU, tile=16)
    assert np.array_equal(small, tiling.run(network, photo, down=True, device=CPU))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 3)])
def test_grey_stays_grey_and_is_what_its_rgb_becomes(model, size):
    pair = carcli.load(model, scale=3, device="cpu")
    grey = noise(*size, 1)
    small = pair.down(Picture(grey))
    assert small.pixels.shape[2] == 1
    assert np.abs(small.pixels.astype(int) - pair.down(np.repeat(grey, 3, 2)).astype(int)).max() <= 1


@pytest.mark.parametrize("model", MODELS)
def test_alpha_comes_along_and_up_is_bicubic(model, tmp_path, photo):
    alpha = noise(161, 221, 1)
    image = Image.fromarray(np.concatenate([photo, alpha], 2))
    small = carcli.load(model, scale=4, device="cpu").down(image)
    small.save(tmp_path / "small.png")
    restored = carcli.up(tmp_path / "small.png", device="cpu")
    assert (restored.size, restored.alpha.shape) == ((221, 161), (161, 221, 1))
    enlarged = carcli.load("bicubic", scale=4, device="cpu").up(np.asarray(small), size=(221, 161))
    assert np.array_equal(np.asarray(enlarged)[..., :3][alpha[..., 0] > 250], restored.pixels[alpha[..., 0] > 250])


@pytest.mark.parametrize("model", MODELS)
def test_any_size_is_the_next_whole_scale_resized(model, photo):
    small = carcli.down(Picture(photo), carcli.Target(size=(90, 66)), model=model)
    assert (small.size, small.tag.scale, small.tag.resize) == ((90, 66), 3, "dct")
    assert carcli.up(small).size == (221, 161)


@pytest.mark.parametrize("model", MODELS)
def test_they_hide_nothing(model):
    assert super_resolves(choose(model, 4))
    assert carcli.load(model, scale=2).loss(Encoding(JPEG, 50)) is None


def test_dpid_1_is_dpid():
    assert choose("dpid-1", 2) == choose("dpid", 2)


@pytest.mark.parametrize("model", TILED)
def test_gradients_flow_through_flat_areas_too(model):
    hr = torch.full((1, 3, 8, 8), 0.5)
    hr[..., 6:] = 0.9
    hr.requires_grad_()
    build(model, 2, {}).down(hr).square().sum().backward()
    assert torch.isfinite(hr.grad).all()
