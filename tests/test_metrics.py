"""PSNR and SSIM: known values, and the published bicubic rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import noise

from carcli.bench.compare import Setup, compare, mean, measure
from carcli.bench.datasets import Images, find
from carcli.errors import UsageError
from carcli.images import metrics
from carcli.images.picture import Picture
from carcli.rescale.rescaler import load


def test_luma_of_black_white_and_the_primaries():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(metrics.luma(colours)[0], [16, 235, 81.481, 144.553, 40.966], atol=1e-3)


def test_psnr_of_a_known_error():
    a = np.zeros((8, 8, 3), np.uint8)
    assert metrics.psnr(a, a + 1) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(a, a) == math.inf
    assert metrics.psnr_y(a, a + 1, 2) == pytest.approx(20 * math.log10(255 / (219 / 255)), abs=1e-6)


def test_the_border_is_cut():
    a, b = noise(12, 12), noise(12, 12)
    b[:2] ^= 255
    assert metrics.psnr_y(a, b, 2) == math.inf
    assert metrics.psnr_y(a, b, 1) < 40


def test_ssim_against_the_definition_at_one_place():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 255, (2, 11, 11))
    d = np.arange(11) - 5
    w = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * 1.5**2))
    w /= w.sum()
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert metrics.ssim(x, y) == pytest.approx(expected, rel=1e-9)
    assert metrics.ssim(x, x) == pytest.approx(1)
    assert math.isnan(metrics.ssim(x[:5], y[:5]))


def test_a_measured_photograph_is_consistent(photo):
    bicubic = load("bicubic", 4)
    row, _ = measure(Picture(photo), Setup(bicubic, bicubic))
    assert row.lr_psnr_y == math.inf
    assert 20 < row.psnr_y < 50
    assert 0 < row.ssim_y < 1
    assert 1 < row.lr_bpp < 25


def test_the_mean_is_of_per_image_figures(photo):
    bicubic = load("bicubic", 2)
    rows = [measure(Picture(photo[:n, :n]), Setup(bicubic, bicubic))[0] for n in (40, 90)]
    assert mean(rows).psnr_y == pytest.approx((rows[0].psnr_y + rows[1].psnr_y) / 2)
    assert mean(rows).image is None


def test_a_dataset_is_a_folder_or_a_name(tmp_path, monkeypatch, photo):
    from PIL import Image

    folder = tmp_path / "data" / "datasets" / "mine"
    folder.mkdir(parents=True)
    Image.fromarray(photo).save(folder / "a.png")
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path))
    assert find("mine").files == find(str(folder)).files == (folder / "a.png",)
    with pytest.raises(UsageError, match="no dataset 'other'"):
        find("other")


# metrics.md's table: PSNR and SSIM of bicubic down and up on the benchmark images
BICUBIC = {(2, "set5"): (33.67, 0.930), (4, "set5"): (28.43, 0.811), (2, "bsd100"): (29.56, 0.843), (4, "bsd100"): (25.96, 0.668)}


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("scale", "name"),
    [pytest.param(*key, marks=pytest.mark.slow if key[1] == "bsd100" else ()) for key in sorted(BICUBIC)],
)
def test_bicubic_reproduces_the_published_rows(benchmarks, scale, name):
    files = tuple(sorted((benchmarks / name).glob("*.png")))
    bicubic = load("bicubic", scale)
    row = compare(Images(name, files), Setup(bicubic, bicubic))
    psnr, ssim = BICUBIC[scale, name]
    assert row.psnr_y == pytest.approx(psnr, abs=0.02)
    assert row.ssim_y == pytest.approx(ssim, abs=0.0005 + 0.0005)  # the table is rounded to three digits
