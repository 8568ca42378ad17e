"""Resizing: by the cosine transform nothing is lost on the way up and back; the same bytes however it is done."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from carcli.ops import resize as module
from carcli.ops.kernels import KERNELS
from carcli.ops.resize import resize

SIDE = st.integers(1, 40)


@given(SIDE, SIDE, st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_enlarging_and_shrinking_by_the_cosine_transform_gives_the_same_back(width, height, wider, higher):
    image = noise(height, width)
    larger = resize(image, (width + wider, height + higher), "dct")
    assert larger.shape == (height + higher, width + wider, 3)
    assert larger.dtype == np.float32
    assert np.array_equal(resize(larger, (width, height), "dct", rounded=True), image)


def test_it_is_the_cosine_transform():
    fft = pytest.importorskip("scipy.fft")
    image = noise(11, 14).astype(np.float64) / 255
    for width, height in ((9, 20), (14, 7), (31, 11), (1, 1)):
        coefficients = np.zeros((height, width, 3))
        common = (slice(min(height, 11)), slice(min(width, 14)))
        coefficients[common] = fft.dctn(image, axes=(0, 1), norm="ortho")[common]
        expected = fft.idctn(coefficients, axes=(0, 1), norm="ortho") * np.sqrt(width * height / (11 * 14))
        assert np.abs(resize(image.astype(np.float32), (width, height), "dct") - expected).max() < 1e-5


@pytest.mark.parametrize(("kernel", "pillows"), [("bicubic", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS)])
def test_the_kernels_are_pillows_but_for_its_rounding_in_between(kernel, pillows):
    image = noise(31, 23) // 4 + 96  # it also clips in between
    for size in ((10, 13), (40, 35), (10, 50)):
        theirs = np.asarray(Image.fromarray(image).resize(size, pillows)).astype(int)
        assert np.abs(resize(image, size, kernel, rounded=True) - theirs).max() <= 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_bands_change_nothing(monkeypatch, kernel):
    image, bands = noise(33, 27, 4), []
    whole = resize(image, (45, 20), kernel)
    monkeypatch.setattr(module, "BAND", 50)
    assert np.array_equal(resize(image, (45, 20), kernel, before_band=lambda: bands.append(1)), whole)
    assert len(bands) > 4 * 20
    assert np.array_equal(resize(image.astype(np.float32) / np.float32(255), (45, 20), kernel), whole)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_colour_stays_that_colour(kernel):
    for size in ((1, 1), (3, 50), (64, 2)):
        assert (resize(np.full((7, 9, 3), 77, np.uint8), size, kernel, rounded=True) == 77).all()
