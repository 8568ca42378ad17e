"""Transparency: what is hidden never shows, and levels that stand for it are kept."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pngs import png

import carcli
from carcli.images.alpha import OPAQUE, filled
from carcli.images.codec import decode, to_bytes
from carcli.images.picture import Picture

PAIRS = [
    ("bicubic", 4),
    ("lanczos", 3),
    ("edsr", 4),
    ("edsr", 2),
    ("edsr-base-x4", 4),
    ("tad", 2),
    ("tad", 4),
    ("tad-paper-x2", 2),
]


def logo(hidden: tuple[int, int, int]) -> Picture:
    """White letters with soft edges on transparency, beneath which is another colour."""
    alpha = Image.new("L", (90, 70), 0)
    draw = ImageDraw.Draw(alpha)
    draw.ellipse((5, 5, 40, 60), fill=255)
    draw.line((50, 5, 80, 60), fill=255, width=3)
    draw.rectangle((60, 8, 80, 20), fill=128)
    soft = np.asarray(alpha.resize((180, 140)).resize((90, 70), Image.Resampling.BOX))[..., None]
    pixels = np.where(soft > 0, 255, np.asarray(hidden)).astype(np.uint8)
    return Picture(pixels, soft)


def on_white(picture: Picture) -> np.ndarray:
    share = picture.alpha / np.float32(255)
    return picture.pixels * share + 255 * (1 - share)


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 0)])
@pytest.mark.parametrize(("model", "scale"), PAIRS)
def test_a_white_logo_stays_white(model, scale, hidden):
    pair = carcli.load(model, scale, device="cpu")
    small = pair.down(logo(hidden))
    assert on_white(small).min() >= 250
    again = decode(to_bytes(small))
    assert np.array_equal(again.alpha, small.alpha)
    restored = carcli.up(again, device="cpu")
    assert restored.size == (90, 70)
    assert on_white(restored).min() >= 250
    assert np.abs(restored.alpha.astype(int) - logo(hidden).alpha).mean() < 16


@pytest.mark.slow
@pytest.mark.parametrize(("model", "scale"), [("tad", 4), ("edsr", 2)])
@pytest.mark.parametrize("method", ["fast", "hcd"])
def test_a_white_logo_stays_white_when_it_is_refined(model, scale, method):
    pair = carcli.load(model, scale, device="cpu")
    small = pair.down(logo((0, 0, 0)), refinement=carcli.Refinement(4, method))
    assert on_white(small).min() >= 250
    assert on_white(pair.up(small)).min() >= 250


def test_colours_that_somebody_blackened_beneath_transparency_do_not_show():
    """As optimisers of PNGs do."""
    pair = carcli.load("tad", 4, device="cpu")
    small = pair.down(logo((0, 0, 0)))
    pixels = np.where(small.alpha > 0, small.pixels, 0).astype(np.uint8)
    assert on_white(pair.up(Picture(pixels, small.alpha, tag=small.tag))).min() >= 250


def test_opaque_pixels_are_what_they_would_be_without_an_alpha_plane():
    pair = carcli.load("tad", 4, device="cpu")
    pixels = noise(40, 44)
    with_plane = pair.down(Picture(pixels, np.full((40, 44, 1), 255, np.uint8)))
    assert np.array_equal(with_plane.pixels, pair.down(Picture(pixels)).pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_only_what_is_hardly_seen_changes_and_nothing_new_is_invented(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    alpha = rng.choice(np.array([0, 0, 0, 1, 20, OPAQUE, 255], np.uint8), (height, width, 1))
    result = filled(pixels, alpha)
    seen = alpha[..., 0] >= OPAQUE
    assert np.array_equal(result[seen], pixels[seen])
    visible = pixels[alpha[..., 0] > 0]
    if len(visible):
        assert (result >= visible.min(0)).all()
        assert (result <= visible.max(0)).all()
    else:
        assert not result.any()


def test_an_image_without_transparency_is_not_touched():
    pixels = noise(5, 6)
    assert filled(pixels, None) is pixels
    assert filled(pixels, np.full((5, 6, 1), OPAQUE, np.uint8)) is pixels


@pytest.mark.parametrize(("mode", "level"), [("1", 0), ("1", 1), ("L", 0), ("L", 77), ("L", 255)])
def test_a_transparent_grey_level_is_kept(mode, level, tmp_path):
    grey = Image.fromarray(np.array([[0, 77, 255], [255, 0, 77]], np.uint8).repeat(8, 0).repeat(8, 1))
    image = grey.convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=level)
    picture = decode(file.getvalue())
    transparent = np.asarray(image).astype(int) * 1 == (level if mode == "L" else bool(level))
    assert picture.pixels.shape == (16, 24, 1)
    assert np.array_equal(picture.alpha[..., 0], np.where(transparent, 0, 255))
    assert carcli.load("bicubic", 2, device="cpu").down(picture).alpha is not None
    assert decode(to_bytes(picture)).alpha is not None
    from_pillow = carcli.load("bicubic", 2, device="cpu").down(Image.open(io.BytesIO(file.getvalue())))
    assert from_pillow.mode == "LA"


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_level_of_few_bits_is_counted_in_them(depth):
    levels = np.arange(1 << depth).reshape(1, -1).repeat(4, 0)
    bits = "".join(format(v, f"0{depth}b") for v in levels[0])
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    data = png((b"\0" + row) * 4, 1 << depth, 4, depth, 0, b"\0\1")
    picture = decode(data)
    assert picture.pixels[0, :, 0].tolist() == [round(v * 255 / ((1 << depth) - 1)) for v in range(1 << depth)]
    assert picture.alpha[0, :, 0].tolist() == [255, 0] + [255] * ((1 << depth) - 2)


def test_a_transparent_colour_is_kept():
    pixels = noise(8, 8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", transparency=tuple(int(v) for v in pixels[3, 3]))
    picture = decode(file.getvalue())
    assert np.array_equal(picture.alpha[..., 0] == 0, (pixels == pixels[3, 3]).all(2))
