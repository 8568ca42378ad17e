"""The blur that likeness is seen through, and the guidance that is measured with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import TINY_TAD
from scipy.ndimage import gaussian_filter
from torch import nn

from carcli.images import metrics
from carcli.models.registry import build
from carcli.ops.blur import gaussian_blur
from carcli.training import recipe
from carcli.training.objective import Objective, thumbnail


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (24, 17)])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_it_is_scipys_gaussian(height, width, sigma):
    image = torch.rand(2, 3, height, width, dtype=torch.float64)
    expected = gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=math.ceil(3 * sigma))
    assert np.allclose(gaussian_blur(image, sigma).numpy(), expected, atol=1e-12)


def test_the_finest_noise_is_hardly_seen_and_a_shade_is():
    reference = np.full((64, 64, 3), 100, np.uint8)
    checkers, shade = reference.copy(), reference.copy()
    checkers[(np.indices((64, 64)).sum(0) % 2) == 1] += 8
    checkers[(np.indices((64, 64)).sum(0) % 2) == 0] -= 8
    shade += 8
    assert metrics.psnr_rgb(reference, checkers, 0) == pytest.approx(metrics.psnr_rgb(reference, shade, 0))
    assert metrics.psnr_seen(reference, checkers) > 60
    assert metrics.psnr_seen(reference, shade) == pytest.approx(metrics.psnr_rgb(reference, shade, 0))


def test_the_worst_block_is_that_of_the_one_spot():
    reference = np.full((70, 90, 3), 100, np.uint8)
    spotted = reference.copy()
    spotted[40:50, 70:80] += 50  # in the block at (32, 64), which is 32x26
    worst = metrics.psnr_seen_worst(reference, spotted)
    assert worst < metrics.psnr_seen(reference, spotted)
    blurred = gaussian_filter(spotted[..., 0].astype(float) - 100, 1.0, mode="nearest", radius=3)
    assert worst == pytest.approx(10 * math.log10(255**2 / np.mean(blurred[32:64, 64:90] ** 2)))
    assert metrics.psnr_seen_worst(reference, reference) == math.inf


def loss_of(keys: str) -> float:
    torch.manual_seed(0)
    made = recipe.parse(TINY_TAD.replace("lr_guidance = 0.05", keys), "r")
    pair = build(made.model.family, made.model.scale, {"down": made.model.down, "up": made.model.up})
    nn.init.normal_(pair.down.tail.weight, std=0.05)
    hr = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    difference = pair.down(hr) - thumbnail(hr, 2, 3)
    loss_of.difference = difference.detach()
    return float(Objective(pair, made)(hr).loss.detach())


def test_guidance_costs_what_its_keys_say():
    plain = loss_of("out_of_range = 0.0")
    difference = loss_of.difference
    seen = loss_of("out_of_range = 0.0\nseen_guidance = 0.5\nseen_sigma = 2.0")
    assert seen - plain == pytest.approx(0.5 * float(gaussian_blur(difference, 2.0).abs().mean()), rel=1e-3)
    squared = loss_of('out_of_range = 0.0\nlr_guidance = 0.3\nguidance = "l2"')
    assert squared - plain == pytest.approx(0.3 * 255 * float(difference.square().mean()), rel=1e-3)
