"""Files of every odd kind, down to a PNG and up again: size, mode, alpha, profile and EXIF come back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import noise
from PIL import ExifTags, Image
from test_images import SRGB, png_16

from carcli.batch.pipeline import Pipeline
from carcli.batch.plan import plan
from carcli.batch.workers import Downscaler, Upscaler
from carcli.images import codec
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request

_rescalers: dict[tuple[str, int | None], Rescaler] = {}


def rescaler(model: str, scale: int | None) -> Rescaler:
    key = model, scale
    if key not in _rescalers:
        _rescalers[key] = load(model, scale, "cpu")
    return _rescalers[key]


def make(kind: str, width: int, height: int) -> tuple[bytes, str]:
    """A file of a kind and size, and the mode that its restored PNG should have."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    options = {"icc_profile": SRGB, "exif": exif} if not kind.startswith("L") else {"exif": exif}
    file = io.BytesIO()
    rgb = Image.fromarray(noise(height, width))
    if kind == "RGB16":
        return png_16(np.random.default_rng(0).integers(0, 65536, (height, width, 3), dtype=np.uint16)), "RGB"
    if kind == "L16":
        Image.fromarray(np.random.default_rng(0).integers(0, 65536, (height, width), dtype=np.uint16)).save(file, "PNG")
        return file.getvalue(), "L"
    if kind == "P":
        rgb.quantize(8).save(file, "PNG", transparency=0, **options)
        return file.getvalue(), "RGBA"
    if kind == "CMYK":
        rgb.convert("CMYK").save(file, "JPEG", quality=95)
        return file.getvalue(), "RGB"
    if kind == "JPEG":
        rgb.save(file, "JPEG", quality=95, **options)
        return file.getvalue(), "RGB"
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[kind]
    pixels = noise(height, width, channels)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "PNG", **options)
    return file.getvalue(), kind


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 1000), (45, 33)])
@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "JPEG", "L16", "RGB16"])
@pytest.mark.parametrize(("model", "scale"), [("edsr", 4), ("edsr", 2), ("bicubic", 3)])
def test_every_kind_comes_back(tmp_path, model, scale, kind, size):
    data, mode = make(kind, *size)
    source = tmp_path / "photo.img"
    source.write_bytes(data)
    original = codec.decode(data)

    (small,) = Pipeline([Downscaler(rescaler(model, scale))]).run(plan([source], tmp_path / "lr"))
    assert small.status == "done", small.reason
    (back,) = Pipeline([Upscaler(Request(), rescaler)]).run(plan([small.target], tmp_path / "sr"))
    assert back.status == "done", back.reason

    with Image.open(small.target) as lr, Image.open(back.target) as sr:
        assert lr.size == tuple(-(-n // scale) for n in size)
        assert sr.size == size
        assert sr.mode == mode
        assert {lr.mode, sr.mode} in ({mode}, {"L", "RGB"}, {"LA", "RGBA"})  # of grey in colour: tests/test_grey_photographs.py
        assert lr.info.get("icc_profile") == sr.info.get("icc_profile") == original.icc
        assert lr.getexif().get(ExifTags.Base.Artist) == sr.getexif().get(ExifTags.Base.Artist)
        if kind in ("RGB", "RGBA", "P", "JPEG"):
            assert sr.info["icc_profile"] == SRGB
        if kind in ("RGB", "RGBA", "L", "LA", "P", "JPEG"):
            assert sr.getexif()[ExifTags.Base.Artist] == "somebody"
        assert "carcli" not in sr.info
    assert bool(small.notes) == (kind in ("L16", "RGB16"))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 300), (45, 33)])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_authors_architecture_takes_any_size_too(scale, size):
    import torch
    from conftest import seeded

    from carcli.models.registry import build
    from carcli.weights.choose import Choice
    from carcli.weights.description import Description

    description = Description("paper", "edsr", scale)
    architecture = {"down": {"features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 1}}
    pair = build("edsr", scale, architecture)
    for net in pair:
        seeded(net)
    paper = Rescaler(Choice(description, None, ""), pair, torch.device("cpu"))
    width, height = size
    pixels = noise(height, width)
    small = paper.down(pixels)
    assert small.shape == (-(-height // scale), -(-width // scale), 3)
    assert paper.up(small, size=size).shape == pixels.shape
