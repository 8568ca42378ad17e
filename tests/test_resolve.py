"""Tag × request: what restores an image is decided once, and what is estimated is what is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import noise

from carcli.batch import Batch, Options, Request, Up
from carcli.batch.tasks import Downscaler
from carcli.errors import ImageError, WeightsError
from carcli.images import codec
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.images.written import Encoding
from carcli.rescale.rescaler import load
from carcli.rescale.resolve import Resolution, resolve
from carcli.weights import manifest

TAG = Tag("tad-x2", "", 2, 24, 16)


@pytest.mark.parametrize(
    ("tag", "request_", "expected"),
    [
        (TAG, Request(), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("tad"), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("tad-x2", 2), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("best"), Resolution("tad-x2", 2, "tag")),
        (TAG, Request("own.safetensors"), Resolution("own.safetensors", 2, "tag")),
        (TAG, Request(ignore_tag=True), Resolution("edsr-base-x4", 4, "tag ignored")),
        (TAG, Request(scale=16, ignore_tag=True), Resolution("edsr-base-x4+edsr-base-x4", 16, "tag ignored")),
        (TAG, Request("bicubic", 3, ignore_tag=True), Resolution("bicubic", 3, "tag ignored")),
        (None, Request(), Resolution("edsr-base-x4", 4, "no tag")),
        (None, Request(scale=2), Resolution("edsr-base-x2", 2, "no tag")),
        (None, Request(scale=8), Resolution("edsr-base-x2+edsr-base-x4", 8, "no tag")),
        (None, Request(scale=3), Resolution("edsr", 3, "no tag")),
        (None, Request("edsr", 2), Resolution("edsr-base-x2", 2, "no tag")),
        (None, Request("tad-x2"), Resolution("tad-x2", 2, "no tag")),
        (None, Request("tad"), Resolution("tad", 4, "no tag")),
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
    assert resolve(None, Request(ignore_tag=True), "its carcli tag is not JSON").model == "edsr-base-x4"


def test_an_unknown_model_without_a_scale_is_an_error():
    with pytest.raises(WeightsError, match="unknown model"):
        resolve(None, Request("nonsense"))


def test_ordinary_images_are_restored_for_what_they_are_whatever_the_family_becomes(monkeypatch):
    """A pair that comes before them in the manifest is the family's default, but hides detail: it is no super-resolver."""
    first = manifest.entries()[0]
    hiding = [first.model_copy(update={"id": f"edsr-x{scale}", "scale": scale}) for scale in (2, 4)]
    every = (*hiding, *manifest.entries())
    monkeypatch.setattr(manifest, "entries", lambda: every)
    for request in (Request(), Request("edsr"), Request(scale=4, ignore_tag=True)):
        assert resolve(None, request).model == "edsr-base-x4"
    assert resolve(Tag("edsr-x4", "", 4, 24, 16), Request("edsr")).model == "edsr-x4"


def test_without_a_checkpoint_for_ordinary_images_the_family_is_taken(monkeypatch):
    monkeypatch.setattr(manifest, "entries", lambda: ())
    assert resolve(None, Request()).model == "edsr"


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
