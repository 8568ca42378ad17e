"""Any size: what a target means for an original, how it is reached, and that ``up`` brings the original's size back."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from test_cli import carcli as program
from test_round_trip import make

import carcli
from carcli.batch import Batch, Down, Options, Target, run
from carcli.batch.journal import NAME
from carcli.errors import Abandoned, ImageError, UsageError, WeightsError
from carcli.images import codec, formats
from carcli.images.metrics import psnr
from carcli.images.picture import Picture
from carcli.rescale import pictures
from carcli.rescale.refinement import Refinement
from carcli.rescale.sizes import plan
from carcli.weights.choose import scales_of

SIDE = st.integers(1, 1 << 20)
TAD = scales_of("tad")


# What is asked for.


@given(SIDE, SIDE, st.fractions(Fraction(1001, 1000), 128, max_denominator=1000))
def test_a_scale_rounds_sides_up(width, height, factor):
    scale = float(factor)
    w, h = Target(scale=scale).lr_size(width, height)
    exact = Fraction(str(scale))
    assert 0 <= w * exact - width < exact
    assert 0 <= h * exact - height < exact


@pytest.mark.parametrize(("width", "scale", "expected"), [(11, 1.1, 10), (5, 2.5, 2), (6, 2.5, 3), (512, 1.5, 342), (1, 99.5, 1)])
def test_a_scale_is_the_decimal_number_that_was_typed(width, scale, expected):
    assert Target(scale=scale).lr_size(width, width) == (expected, expected)


@given(SIDE, SIDE, SIDE, SIDE)
def test_fit_is_the_largest_of_the_shape_within_a_box(width, height, most_wide, most_high):
    w, h = Target(fit=(most_wide, most_high)).lr_size(width, height)
    assert 1 <= w <= min(most_wide, width)
    assert 1 <= h <= min(most_high, height)
    assert w == min(most_wide, width) or h == min(most_high, height)
    if (w, h) != (width, height):
        assert abs(h - Fraction(height * w, width)) <= max(Fraction(height, width), 1) / 2 or h == 1 or w == 1


@given(SIDE, SIDE, SIDE)
def test_one_side_leaves_the_other_to_the_shape(width, height, side):
    w, h = Target(width=side).lr_size(width, height)
    assert (w, h) == (width, height) if side >= width else w == side
    assert h == 1 or abs(h - Fraction(height * w, width)) <= Fraction(1, 2)
    assert Target(height=side).lr_size(height, width) == (h, w)


@given(SIDE, SIDE, st.integers(1, 1 << 40))
def test_max_pixels_is_kept_and_used(width, height, pixels):
    w, h = Target(max_pixels=pixels).lr_size(width, height)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert w * h <= pixels
    assert (w, h) == (width, height) or (w + 1) * (h + 1) > pixels or 1 in (w, h)


@given(SIDE, SIDE, st.integers(1, 1 << 19), st.sampled_from(["width", "height", "max_pixels", "fit"]))
def test_a_larger_target_is_never_a_smaller_image(width, height, value, name):
    def at(value: int) -> tuple[int, int]:
        return Target(**{name: (value, value) if name == "fit" else value}).lr_size(width, height)

    smaller, larger = at(value), at(value + 1)
    assert smaller[0] <= larger[0]
    assert smaller[1] <= larger[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"width": 3, "height": 4}, {"scale": 1}, {"scale": 0.5}, {"scale": 128.5}, {"scale": math.nan}, {"scale": "2"},
        {"scale": True}, {"width": 0}, {"width": 2.5}, {"height": -1}, {"max_pixels": True}, {"size": 5}, {"size": (0, 5)},
        {"fit": (5,)}, {"fit": "5x5"},
    ],
)  # fmt: skip
def test_a_target_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        Target(**wrong)


def test_a_target_says_what_it_is():
    targets = Target(scale=2.5), Target(scale=2.0), Target(size=[64, 48]), Target(fit=(9, 9)), Target(max_pixels=1_234_567)
    assert [str(target) for target in targets] == ["scale 2.5", "scale 2", "size 64x48", "fit 9x9", "max_pixels 1234567"]


# How it is reached.


@pytest.mark.parametrize(
    ("model", "target", "size", "expected"),
    [
        ("tad", Target(scale=2), (99, 50), ("tad", 2, None)),
        ("tad", Target(scale=8.0), (99, 50), ("tad", 8, None)),  # a chain, as ever
        ("tad", Target(scale=1.1), (110, 55), ("tad", 2, (100, 50))),
        ("tad", Target(scale=2.2), (110, 55), ("tad", 2, (50, 25))),
        ("tad", Target(scale=2.5), (100, 50), ("tad", 4, (40, 20))),
        ("tad", Target(scale=3), (100, 50), ("tad", 4, (34, 17))),
        ("tad", Target(scale=6), (100, 50), ("tad", 4, (17, 9))),
        ("tad-x2", Target(scale=3), (100, 50), ("tad-x2", 2, (34, 17))),
        ("tad-x2+tad-x4", Target(scale=3), (100, 50), ("tad-x2+tad-x4", 8, (34, 17))),
        ("best", Target(scale=3), (100, 50), ("best", 4, (34, 17))),
        ("tad", Target(width=25), (99, 50), ("tad", 4, None)),  # what a network makes by itself
        ("tad", Target(width=25), (99, 55), ("tad", 4, None)),
        ("tad", Target(size=(100, 1)), (100, 16), ("tad", 4, (100, 1))),
        ("bicubic", Target(scale=3), (100, 50), ("bicubic", 3, None)),
        ("bicubic", Target(scale=2.5), (100, 50), ("bicubic", 1, (40, 20))),
        ("lanczos", Target(fit=(20, 20)), (100, 50), ("lanczos", 5, None)),
        ("lanczos", Target(fit=(1, 1)), (1000, 1000), ("lanczos", 1, (1, 1))),
        ("tad", Target(fit=(640, 480)), (100, 50), ("bicubic", 1, None)),
        ("tad", Target(max_pixels=5000), (100, 50), ("bicubic", 1, None)),
        ("tad", Target(size=(100, 50)), (100, 50), ("bicubic", 1, None)),
    ],
)  # fmt: skip
def test_which_networks_reach_a_size(model, target, size, expected):
    how = plan(model, scales_of(model), target, *size)
    assert (how.model, how.scale, how.size) == expected


def test_nothing_is_enlarged():
    with pytest.raises(ImageError, match="is 100x50, smaller than 90x60; --fit leaves such an image as it is"):
        plan("tad", TAD, Target(size=(90, 60)), 100, 50)
    (note,) = plan("tad", TAD, Target(width=200), 100, 50).notes
    assert note == "is 100x50, which is small enough: kept as it is"


@pytest.mark.parametrize(
    ("size", "told"), [((50, 25), False), ((50, 26), False), ((50, 28), True), ((5, 4), False), ((90, 10), True)]
)
def test_another_shape_is_told(size, told):
    assert bool(plan("tad", TAD, Target(size=size), 100, 50).notes) == told


@given(st.integers(1, 1 << 15), st.integers(1, 1 << 15), st.data())
def test_what_is_held_in_between_stays_near_the_original(width, height, data):
    size = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    how = plan("tad", TAD, Target(size=size), width, height)
    if how.size is not None:
        assert size[0] * size[1] * how.scale**2 <= 4 * width * height


def test_what_only_keeps_the_size_has_no_other():
    with pytest.raises(WeightsError, match="keeps the size, and has no checkpoint at scale 3"):
        carcli.load("tad-grey", scale=3)


# The library.


@pytest.mark.parametrize("model", ["tad", "bicubic", "lanczos"])
@pytest.mark.filterwarnings("ignore:16 bits")
@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "L16", "RGB16"])
def test_every_kind_comes_back(model, kind):
    for width, height, target in ((45, 33, Target(fit=(30, 30))), (1, 1, Target(size=(1, 1))), (7, 100, Target(max_pixels=90))):
        data, mode = make(kind, width, height)
        small = carcli.down(data, target, model, device="cpu")
        assert small.size == target.lr_size(width, height)
        written = codec.to_bytes(small)
        back = carcli.up(written, device="cpu")
        assert back.size == (width, height)
        assert codec.image_of(back).mode == mode
        assert (back.icc, back.exif) == (small.icc, small.exif)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_any_size_of_any_original_comes_back(width, height, data):
    size = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    pixels = noise(height, width, data.draw(st.sampled_from([1, 3])))
    picture = Picture(pixels, alpha=noise(height, width, 1) if data.draw(st.booleans()) else None)
    small = carcli.down(picture, Target(size=size), data.draw(st.sampled_from(["tad", "bicubic", "lanczos"])), device="cpu")
    small.check()
    assert small.size == size == small.tag.lr_size
    back = carcli.up(codec.to_bytes(small), device="cpu")
    back.check()
    assert back.size == (width, height)
    assert back.pixels.shape == pixels.shape
    assert (back.alpha is None) == (picture.alpha is None)
    if size == (width, height):
        seen = True if small.alpha is None else small.alpha > 0  # beneath what is transparent there is nothing to keep
        assert np.array_equal(back.pixels * seen, small.pixels * seen)


@pytest.mark.parametrize("scale", [1.5, 2.5, 3, 5])
def test_networks_are_well_ahead_of_bicubic(photo, scale):
    psnrs = []
    for model in ("tad", "bicubic"):
        pair = carcli.load(model, scale, "cpu")
        small = pair.down(photo)
        assert small.shape[:2] == tuple(math.ceil(n / scale) for n in photo.shape[:2])
        psnrs.append(psnr(photo, pair.up(small, size=(221, 161))))
    assert psnrs[0] > psnrs[1] + 1.5, psnrs


def test_a_fraction_is_a_scale_like_another(photo, tmp_path):
    pair = carcli.load("tad", 2.5, "cpu")
    assert repr(pair) == "Rescaler('tad-x4', scale=2.5, device='cpu', precision='fp32')"
    assert (pair.scale, pair.factor, pair.target) == (4, 2.5, Target(scale=2.5))
    small = pair.down(Image.fromarray(photo))
    small.save(tmp_path / "small.png")
    assert small.size == (89, 65)
    for back in (carcli.up(tmp_path / "small.png"), pair.up(tmp_path / "small.png"), carcli.load("tad-x4").up(small)):
        assert back.size == (221, 161)
    array = np.asarray(small)
    assert np.array_equal(pair.up(array, size=(221, 161)), np.asarray(pair.up(small)))
    with pytest.raises(UsageError, match=r"size 223x161 \(width x height\) has an LR image of 90x65, not 89x65"):
        pair.up(array, size=(223, 161))
    shares: list[float] = []
    small = pair.down(Image.fromarray(photo[:50, :60]), progress=shares.append, tile=16)
    pair.up(small, progress=shares.append, tile=16)
    assert shares.count(1.0) >= 2
    assert len(shares) > 6


def test_a_whole_scale_is_as_it_was(photo):
    for model, scale in (("tad", 2), ("bicubic", 3)):
        plain = codec.to_bytes(carcli.load(model, scale, "cpu").down(Picture(photo)))
        assert codec.to_bytes(carcli.load(model, float(scale), "cpu").down(Picture(photo))) == plain
        assert codec.to_bytes(carcli.down(Picture(photo), Target(scale=scale), model, "cpu")) == plain
        assert codec.decode(plain).tag.version == 1


def test_a_pair_makes_a_size_with_its_own_networks(photo):
    pair = carcli.load("tad", 2, "cpu")
    small = pair.down(Image.fromarray(photo), size=(70, 70))
    assert small.size == (70, 70)
    assert pair.up(small).size == (221, 161)
    assert codec.to_bytes(pair.down(Picture(photo), size=(111, 81))) == codec.to_bytes(pair.down(Picture(photo)))
    with pytest.raises(ImageError, match="smaller than 300x10"):
        pair.down(photo, size=(300, 10))
    with pytest.raises(UsageError, match="refinement takes the scale of the networks, 2"):
        pair.down(photo, size=(70, 70), refinement=2)


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_and_threads_change_nothing(photo, set_threads, threads):
    pair = carcli.load("tad", 2.5, "cpu")
    whole = pair.down(Image.fromarray(photo))
    back = np.asarray(pair.up(whole))
    set_threads(threads)
    assert np.abs(np.asarray(pair.down(photo, tile=16)).astype(int) - np.asarray(whole)).max() <= 1
    assert np.array_equal(pair.down(photo), np.asarray(whole))
    assert np.array_equal(np.asarray(pair.up(whole)), back)


def test_what_is_transparent_does_not_bleed(photo):
    alpha = np.zeros((161, 221, 1), np.uint8)
    alpha[:, :100] = 255
    red = np.where(alpha > 0, photo, np.uint8([255, 0, 0]))
    green = np.where(alpha > 0, photo, np.uint8([0, 255, 0]))
    first, second = (carcli.down(Picture(p, alpha), Target(scale=2.5), "tad", "cpu") for p in (red, green))
    assert np.array_equal(first.pixels, second.pixels)
    back = carcli.up(first)
    assert np.array_equal(back.alpha[:, :90], alpha[:, :90])
    assert not back.alpha[:, 110:].any()


def test_what_would_be_too_large_in_between_is_refused_before_it_is_made(monkeypatch, photo):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 40_000)
    pair = carcli.load("tad", 1.5, "cpu")
    with pytest.raises(ImageError, match="would be resized to 296x216, more than"):
        pair.down(photo)
    small = carcli.load("bicubic", 2.5, "cpu").down(Picture(photo))
    tall = replace(small, tag=replace(small.tag, height=200))
    with pytest.raises(ImageError, match="would become 221x200, more than"):
        carcli.load("bicubic", 1, "cpu").up(tall)
    assert formats.MAX_PIXELS > 40_000


def test_it_is_given_up_between_bands(photo):
    calls = iter([False] * 2)
    pair = carcli.load("bicubic", 2.5, "cpu")
    with pytest.raises(Abandoned):
        pair.down(photo, cancel=lambda: next(calls, True))


# Batches and the command line.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name, width, height in (("wide", 60, 20), ("high", 16, 48), ("small", 12, 9), ("same", 24, 24)):
        Image.fromarray(noise(height, width)).save(f"in/{name}.png")
    turned = Image.fromarray(noise(20, 60))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # upright it is 20 wide and 60 high
    turned.save("in/turned.jpg", exif=exif, quality=95)
    return tmp_path


def sizes(where: str) -> dict[str, tuple[int, int]]:
    return {path.stem: pixels_of(path).shape[1::-1] for path in sorted(Path(where).glob("*.png"))}


def pixels_of(path: str | Path) -> np.ndarray:
    return codec.read(Path(path)).pixels


UPRIGHT = {"wide": (60, 20), "high": (16, 48), "small": (12, 9), "same": (24, 24), "turned": (20, 60)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--fit", "24x24"], {"wide": (24, 8), "high": (8, 24), "small": (12, 9), "same": (24, 24), "turned": (8, 24)}),
        (["--width", "15"], {"wide": (15, 5), "high": (15, 45), "small": (12, 9), "same": (15, 15), "turned": (15, 45)}),
        (["--height", "20"], {"wide": (60, 20), "high": (7, 20), "small": (12, 9), "same": (20, 20), "turned": (7, 20)}),
        (["--max-pixels", "300"], {"wide": (30, 10), "high": (10, 30), "small": (12, 9), "same": (17, 17), "turned": (10, 30)}),
        (["--size", "12X9"], dict.fromkeys(UPRIGHT, (12, 9))),
        (["--scale", "1.5"], {"wide": (40, 14), "high": (11, 32), "small": (8, 6), "same": (16, 16), "turned": (14, 40)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", ["tad", "bicubic"])
def test_a_folder_of_many_sizes(folder, model, options, expected):
    code, _, err = program("down", "in", "--model", model, "--device", "cpu", *options)
    assert code == 0, err
    assert sizes("lr") == expected
    kept = [name for name, size in expected.items() if size == UPRIGHT[name]]
    assert err.count("small enough: kept as it is") == len(kept)
    code, _, err = program("up", "lr", "--device", "cpu")
    assert code == 0, err
    assert sizes("sr") == UPRIGHT
    for name in kept:
        assert np.array_equal(pixels_of(f"sr/{name}.png"), pixels_of(f"in/{name}.png"))


def test_an_image_too_small_for_a_size_is_an_error_of_its_own(folder):
    code, out, _ = program("down", "in", "--model", "bicubic", "--size", "20x20", "--json")
    assert code == 1
    records = {Path(r["source"]).stem: r for line in out.splitlines() if (r := json.loads(line))["event"] == "image"}
    assert [name for name, r in records.items() if r["status"] == "failed"] == ["high", "small"]
    assert "is 12x9, smaller than 20x20" in records["small"]["reason"]
    assert "distorts" in records["wide"]["notes"][0]
    assert (records["wide"]["output_width"], records["wide"]["output_height"], records["wide"]["model"]) == (20, 20, "bicubic")


def test_a_dry_run_counts_the_pixels_of_a_target(folder):
    code, out, _ = program("down", "in", "--model", "tad", "--max-pixels", "300", "--dry-run", "--json")
    assert code == 0
    record = json.loads(out.splitlines()[-1])
    assert record["event"] == "estimate"
    assert record["output_bytes"] == pytest.approx(2.2 * (300 + 300 + 108 + 289 + 300), rel=0.01)
    assert not Path("lr").exists()
    batch = Batch(Down(model="tad", target=Target(fit=(24, 24))), ["in"], "lr")
    header = codec.peek(Path("in/wide.png"))
    assert batch.workers[0].area(header) == 24 * 8 / (60 * 20)
    assert batch.workers[0].held(header) == pytest.approx(1.5 * 24 * 8 * 16 / (60 * 20))


def test_the_journal_tells_one_target_from_another(folder):
    down = ("down", "in/wide.png", "in/high.png", "--model", "bicubic")
    program(*down, "--fit", "10x10")
    settings = json.loads(Path("lr", NAME).read_text().splitlines()[0])["settings"]
    assert settings == "bicubic to fit 10x10 fp32"
    assert "made from the same images with the same settings" in program(*down, "--fit", "10x10")[2]
    assert "made with other settings" in program(*down, "--fit", "11x10")[2]
    program(*down, "--scale", "2.0", "-o", "whole")
    assert "x2 fp32" in Path("whole", NAME).read_text()
    assert "same settings" in program(*down, "--scale", "2", "-o", "whole")[2]


def test_settings_name_every_checkpoint_that_may_be_used(folder):
    (worker, *_) = Batch(Down(model="tad", target=Target(width=9)), ["in"], "lr").workers
    assert [part.split()[0] for part in worker.settings.partition(" to ")[0].split(", ")] == ["tad-x2", "tad-x4"]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_batch_gives_the_bytes_that_the_library_gives(folder, workers):
    target = Target(fit=(24, 24))
    results = list(run(Down(model="tad", target=target), ["in"], "lr", Options(workers=workers)))
    assert {result.model for result in results} == {"tad-x2", "tad-x4", "bicubic"} or len(results) == 5
    for result in results:
        file = io.BytesIO()
        codec.encode(carcli.down(result.source, target, "tad"), file)
        assert result.target.read_bytes() == file.getvalue()


@pytest.mark.parametrize(
    "task",
    [
        {"scale": 2, "target": Target(width=9)}, {"to_grey": True, "target": Target(width=9)},
    ],
)  # fmt: skip
def test_a_task_has_one_size(task):
    with pytest.raises(UsageError, match="leave the scale and grey out"):
        Down(**task)
    with pytest.raises(UsageError, match="refinement takes a scale that tad has"):
        Down(model="tad", target=Target(width=9), refinement=Refinement(3)).load("cpu")


def test_info_says_what_is_what(folder):
    program("down", "in/wide.png", "in/small.png", "--model", "tad", "--fit", "25x25")
    _, out, _ = program("info", "lr/wide.png", "lr/small.png")
    assert "lr/wide.png: PNG, 25x8" in out
    assert "scale 2 after a resize (dct): 2.40 and 2.50 times smaller" in out or "scale 4 after a resize (dct)" in out
    assert "original 60x20" in out
    _, out, _ = program("info", "lr/wide.png", "lr/small.png", "--json")
    wide, small = (json.loads(line)["tag"] for line in out.splitlines())
    assert (wide["version"], wide["lr_width"], wide["lr_height"], wide["resize"]) == (2, 25, 8, "dct")
    assert (small["version"], small["checkpoint"], small["scale"], "resize" in small) == (1, "bicubic", 1, False)


def test_an_lr_image_that_was_cropped_is_noticed(folder):
    small = carcli.down("in/wide.png", Target(width=25), "bicubic")
    assert small.size == (25, 8)
    cropped = codec.decode(codec.to_bytes(replace(small.cropped(20, 8), tag=small.tag)))
    assert "should be 25x8, but it is 20x8: it was cropped or resized" in cropped.tag_error
