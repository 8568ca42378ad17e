"""Tag × request: what restores an image is decided once, and what is estimated is what is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import noise

from carcli.batch import Batch, Down, Options, Request, Up
from carcli.batch.workers import Downscaler
from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images import codec
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.images.written import Encoding
from carcli.models.registry import build
from carcli.rescale.rescaler import load
from carcli.rescale.resolve import Resolution, Untagged, resolve
from carcli.weights import checkpoint, manifest
from carcli.weights.choose import choose
from carcli.weights.description import Description

TAG = Tag("tad-x2", "", 2, 24, 16)


@pytest.mark.parametrize(
    ("tag", "request_", "expected"),
    [
        (TAG, Request(), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("tad"), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("tad-x2", 2), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("best"), Resolution("tad-x2", 2, "tag")),
        (TAG, Request(ignore_tag=True), Resolution("ordinary", 4, "tag ignored")),
        (TAG, Request(scale=16, ignore_tag=True), Resolution("ordinary", 16, "tag ignored")),
        (TAG, Request("bicubic", 3, ignore_tag=True), Resolution("bicubic", 3, "tag ignored")),
        (None, Request(), Resolution("ordinary", 4, "no tag")),
        (None, Request(scale=2), Resolution("ordinary", 2, "no tag")),
        (None, Request(scale=8), Resolution("ordinary", 8, "no tag")),
        (None, Request("edsr", 2), Resolution("ordinary", 2, "no tag")),
        (None, Request("best"), Resolution("ordinary", 4, "no tag")),
        (None, Request("best", 8), Resolution("ordinary", 8, "no tag")),
        (TAG, Request("best", ignore_tag=True), Resolution("ordinary", 4, "tag ignored")),
        (None, Request("tad"), Resolution("ordinary", 4, "no tag")),
        (None, Request("tad", 2), Resolution("ordinary", 2, "no tag")),
        (None, Request("tad", 1), Resolution("tad", 1, "no tag", hides=True)),  # its colours are hidden in a grey image
        (None, Request("tad-x2"), Resolution("tad-x2", 2, "no tag", hides=True)),
        (None, Request("tad-x2", 4), Resolution("tad-x2", 4, "no tag", hides=True)),
        (None, Request("tad-x2+tad-x4"), Resolution("tad-x2+tad-x4", 8, "no tag", hides=True)),
        (None, Request("edsr-base-x2"), Resolution("edsr-base-x2", 2, "no tag")),
        (None, Request("edsr-x4-v2"), Resolution("edsr-x4-v2", 4, "no tag", hides=True)),
        (None, Request("lanczos"), Resolution("lanczos", 4, "no tag")),
        (None, Request("bicubic", 3), Resolution("bicubic", 3, "no tag")),
    ],
)
def test_what_restores_an_image(tag, request_, expected):
    assert resolve(tag, request_) == expected


@pytest.mark.parametrize(
    ("tag", "request_", "message"),
    [
        (TAG, Request(scale=4), "its tag says scale 2, not 4; leave --scale out, or pass --ignore-tag"),
        (TAG, Request("edsr"), "was made with tad-x2, not edsr; leave --model out, or pass --ignore-tag"),
        (Tag("later-x2", "", 2, 24, 16), Request(), "later-x2, which this carcli does not have; pass its .safetensors file"),
    ],
)
def test_what_contradicts_itself_is_refused_with_a_way_on(tag, request_, message):
    with pytest.raises(ImageError, match=message):
        resolve(tag, request_)


def test_a_tag_that_cannot_be_used_counts_only_where_tags_do():
    with pytest.raises(ImageError, match="is not JSON"):
        resolve(None, Request(), "its carcli tag is not JSON")
    assert resolve(None, Request(ignore_tag=True), "its carcli tag is not JSON").model == "ordinary"


def test_an_unknown_model_without_a_scale_is_an_error():
    with pytest.raises(WeightsError, match="unknown model"):
        resolve(None, Request("nonsense"))


@pytest.mark.parametrize("model", [None, "best", "edsr", "tad"])
def test_a_scale_that_nothing_reaches_is_an_error_that_says_which_there_are(model):
    with pytest.raises(WeightsError, match="has no checkpoint at scale 3; it has 2, 4 and their products"):
        resolve(None, Request(model, 3))


def measured(entry: manifest.Entry, psnr_y: float, **changes) -> manifest.Entry:
    """A checkpoint of the manifest that makes so many dB of thumbnails of which Lanczos makes 26."""
    figures = manifest.OrdinaryFigures(dataset="set14", thumbnails="lanczos", psnr_y=psnr_y, lanczos_psnr_y=26.0, command="")
    return entry.model_copy(update={"ordinary": (figures,), **changes})


def test_the_super_resolver_is_the_one_that_was_measured_to_be_the_best(monkeypatch):
    first = manifest.entries()[0]
    every = (*manifest.entries(), *(measured(first, psnr, id=f"sr-{psnr:.0f}") for psnr in (27, 29, 25)))
    monkeypatch.setattr(manifest, "entries", lambda: every)
    assert choose("ordinary", 4).description.id == "sr-29@1"
    for request in (Request(), Request("best"), Request("edsr"), Request("tad"), Request(scale=4, ignore_tag=True)):
        assert resolve(None, request).model == "ordinary"
    assert resolve(Tag("edsr-x4", "", 4, 24, 16), Request("edsr")).model == "edsr-x4"
    assert resolve(None, Request("sr-27")).hides is False
    assert resolve(None, Request("sr-25")).hides is True


def test_a_super_resolver_that_is_not_here_is_passed_over(monkeypatch):
    every = (measured(manifest.entries()[0], 40.0, id="far", file="far.safetensors"), *manifest.entries())
    monkeypatch.setattr(manifest, "entries", lambda: every)
    assert choose("ordinary", 4).description.id == "edsr-base-x4@0.75"


@pytest.mark.parametrize(
    ("model", "scale", "identity"),
    [
        ("ordinary", None, "edsr-base-x4@0.75"),
        ("ordinary", 2, "edsr-base-x2@0.75"),
        ("ordinary", 8, "edsr-base-x2@0.75+edsr-base-x4@0.75"),
        ("edsr-base-x2@0.5", None, "edsr-base-x2@0.5"),
        ("edsr-base-x2@0.5", 4, "edsr-base-x2@0.5"),
        ("edsr-base-x2@1+edsr-base-x4@0.5", 8, "edsr-base-x2@1+edsr-base-x4@0.5"),
    ],
)
def test_an_upscaler_for_ordinary_images_says_how_strong_it_is(model, scale, identity):
    choice = choose(model, scale)
    assert choice.description.id == identity
    assert choice.only_up
    assert scale in (None, choice.scale)


@pytest.mark.parametrize("strength", ["", "0", "-1", "1.5", "nan", "much"])
def test_a_strength_that_makes_no_sense_is_an_error(strength):
    with pytest.raises(WeightsError, match="a strength is a number above 0, and 1 at most"):
        choose(f"edsr-base-x4@{strength}", None)


def test_ordinary_images_are_restored_part_of_the_way_from_bicubic():
    lr = noise(12, 16)
    bicubic, whole, part = (load(name, 2, "cpu").up(lr).astype(int) for name in ("bicubic", "edsr-base-x2", "ordinary"))
    inside = (whole > 0) & (whole < 255) & (bicubic > 0) & (bicubic < 255)
    assert np.abs(part - (bicubic + 0.75 * (whole - bicubic)))[inside].max() <= 1
    assert np.array_equal(load("edsr-base-x2@1", 2, "cpu").up(lr), whole)


def test_what_only_enlarges_shrinks_nothing():
    with pytest.raises(UsageError, match=r"edsr-base-x2@0\.75 only enlarges images; shrink them with another model"):
        load("ordinary", 2, "cpu").down(noise(12, 16))
    with pytest.raises(UsageError, match="only enlarges images"):
        Down("ordinary").load("cpu")


def test_a_file_that_hides_nothing_is_for_ordinary_images_too(tmp_path):
    for net, hides in (("bicubic", False), ("base", True)):
        arguments = {"net": net, "features": 16, "blocks": 1} if net == "base" else {"net": net}
        up = {"features": 16, "blocks": 1, "tail": "direct"}
        description = Description(id="own", family="edsr", scale=2, down=arguments, up=up)
        checkpoint.write(tmp_path / "own.safetensors", description, *build("edsr", 2, {"down": arguments, "up": up}))
        own = str(tmp_path / "own.safetensors")
        assert resolve(None, Request(own)) == Resolution(own, 2, "no tag", hides=hides)
        assert resolve(TAG, Request(own)) == Resolution(own, 2, "tag")


def test_without_any_checkpoint_there_is_no_model(monkeypatch):
    monkeypatch.setattr(manifest, "entries", lambda: ())
    with pytest.raises(WeightsError, match="unknown model 'edsr'"):
        resolve(None, Request())


@pytest.mark.parametrize(
    ("untagged", "images", "text"),
    [
        (Untagged("m"), 0, "has no carcli tag: restored with m, as super-resolution of an ordinary image"),
        (Untagged("m"), 1, "1 image has no carcli tag: restored with m, as super-resolution of an ordinary image"),
        (Untagged("m"), 3, "3 images have no carcli tag: restored with m, as super-resolution of ordinary images"),
        (Untagged("m", hides=True), 3, "3 images have no carcli tag: restored with m, which is for what its own down made"),
    ],
)
def test_what_is_said_of_images_without_a_tag(untagged, images, text):
    assert untagged.told(images).startswith(text)


@pytest.fixture
def lr(tmp_path) -> Path:
    """A picture of 32x24 pixels made at scale 2, 16x12."""
    path = tmp_path / "lr.png"
    with path.open("wb") as file:
        codec.encode(Downscaler(load("bicubic", 2, "cpu"))(Picture(noise(24, 32))).picture, file)
    return path


@pytest.mark.parametrize(
    ("request_", "scale"),
    [
        (Request(), 2),
        (Request(scale=16, ignore_tag=True), 16),
        (Request(ignore_tag=True), 4),
        (Request("tad-x2", ignore_tag=True), 2),
        (Request(scale=4), 0),  # refused: nothing will be written
    ],
)
def test_what_is_estimated_is_what_is_done(lr, tmp_path, request_, scale):
    batch = Batch(Up(request_), [lr], tmp_path / "sr", Options(devices=("cpu",)))
    assert batch.workers[0].area(codec.peek(lr)) == scale**2
    assert batch.estimate().output_bytes == round(Encoding().bytes_a_pixel * 16 * 12 * scale**2)
