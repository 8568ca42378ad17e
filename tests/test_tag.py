"""The PNG tag: its round trip, and what strangers may put there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcli.errors import ImageError
from carcli.images.tag import MAX_SIDE, VERSION, Tag, natural_size, parse
from carcli.ops.kernels import KERNELS

GOOD = Tag("edsr-base-x4", "a" * 64, 4, 301, 22)
SIZED = Tag("edsr-base-x4", "a" * 64, 4, 301, 22, lr_width=120, lr_height=9, resize="dct")


@given(st.integers(1, MAX_SIDE), st.integers(1, MAX_SIDE), st.integers(1, 128), st.sampled_from([None, "fast 30"]))
def test_round_trip(width, height, scale, refinement):
    tag = Tag("edsr-base-x4", "0123456789abcdef" * 4, scale, width, height, refinement)
    assert parse(tag.to_json(), tag.lr_size) == tag
    assert all(0 <= p < scale for p in tag.padding)
    assert tag.lr_size == ((width + tag.padding[0]) // scale, (height + tag.padding[1]) // scale)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0), ("width", -5), ("width", 1 << 40), ("width", "301"), ("width", 301.0), ("width", True), ("width", None),
        ("height", 0), ("scale", 0), ("scale", 1000), ("checkpoint", "../../etc/passwd"), ("checkpoint", ""),
        ("checkpoint", "x" * 65), ("digest", "xyz"), ("digest", None), ("version", 0), ("refinement", 5),
        ("refinement", "x" * 300),
    ],
)  # fmt: skip
def test_a_lying_field_is_refused(field, value):
    fields = json.loads(GOOD.to_json())
    fields[field] = value
    with pytest.raises(ImageError, match="ignore its tag"):
        parse(json.dumps(fields), GOOD.lr_size)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1e999", "[" * 4000, "x" * 5000])
def test_what_is_no_tag_is_refused(text):
    with pytest.raises(ImageError, match="ignore its tag"):
        parse(text, GOOD.lr_size)


@pytest.mark.parametrize("size", [(75, 6), (76, 7), (1, 1)])
def test_a_cropped_or_resized_image_is_noticed(size):
    with pytest.raises(ImageError, match="cropped or resized"):
        parse(GOOD.to_json(), size)


def test_a_later_version_asks_for_an_update():
    fields = json.loads(GOOD.to_json()) | {"version": VERSION + 1}
    with pytest.raises(ImageError, match="update carcli"):
        parse(json.dumps(fields), GOOD.lr_size)


def test_what_the_scale_says_is_written_as_it_always_was():
    assert GOOD.to_json() == (
        f'{{"checkpoint":"edsr-base-x4","digest":"{"a" * 64}","grey":false,"height":22,"padding":[3,2],"refinement":null,'
        '"scale":4,"version":1,"width":301}'
    )


@given(
    st.integers(1, MAX_SIDE), st.integers(1, MAX_SIDE), st.integers(1, 128), st.sampled_from(KERNELS), st.data(),
)  # fmt: skip
def test_another_size_than_the_scales_is_kept(width, height, scale, kernel, data):
    lr_size = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    tag = Tag("tad-x2", "", scale, width, height, lr_width=lr_size[0], lr_height=lr_size[1], resize=kernel)
    assert (tag.version, tag.lr_size, tag.padding) == (2, lr_size, (0, 0))
    assert parse(tag.to_json(), lr_size) == tag
    with pytest.raises(ImageError, match="cropped or resized"):
        parse(tag.to_json(), (lr_size[0] + 1, lr_size[1]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr_width", 0), ("lr_width", 302), ("lr_width", None), ("lr_width", "120"), ("lr_height", True), ("lr_height", 23),
        ("resize", None), ("resize", "nearest"), ("resize", ""), ("resize", ["dct"]), ("width", 119),
    ],
)  # fmt: skip
def test_a_size_that_lies_is_refused(field, value):
    fields = json.loads(SIZED.to_json()) | {field: value}
    with pytest.raises(ImageError, match="ignore its tag"):
        parse(json.dumps(fields), SIZED.lr_size)


def test_the_first_version_has_no_size_of_its_own():
    fields = json.loads(SIZED.to_json()) | {"version": 1}
    with pytest.raises(ImageError, match="cropped or resized"):
        parse(json.dumps(fields), SIZED.lr_size)
    assert parse(json.dumps(fields), natural_size(301, 22, 4)) == GOOD


def test_unknown_fields_are_for_later_versions():
    assert parse(json.dumps(json.loads(GOOD.to_json()) | {"new": 1}), GOOD.lr_size) == GOOD


@given(st.text(max_size=60))
def test_no_text_can_do_more_than_be_refused(text):
    with pytest.raises(ImageError):
        parse(text, GOOD.lr_size)
