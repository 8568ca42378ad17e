"""Training images are decoded as ``carcli down`` decodes them, held out by name, and cut into the same patches on every run."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from conftest import noise, write_photos
from PIL import ExifTags, Image

from carcli.errors import UsageError
from carcli.images import codec
from carcli.training import data

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos", 12, 40, 48)


def loaded(path) -> np.ndarray:
    """The one image of a folder's that is at ``path``, as training sees it."""
    photographs = data.load([path, path.parent], 8)
    assert not photographs.skipped
    (image,) = (image for image in photographs.train + photographs.held_out if image.shape[:2] != (16, 16))
    return image


@pytest.fixture
def others(tmp_path):
    return write_photos(tmp_path / "one", 2, 16, 16)


def test_sixteen_bit_grey_is_rounded_to_what_down_sees(others):
    levels = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    path = others / "grey16.png"
    Image.fromarray(levels).save(path)
    assert np.array_equal(loaded(path), np.repeat(codec.read(path).pixels, 3, axis=2))
    assert len(np.unique(loaded(path))) == 256  # not white wherever it is above 255


def test_an_oriented_jpeg_is_turned_to_what_down_sees(others):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = others / "turned.jpg"
    Image.fromarray(noise(24, 40)).save(path, exif=exif)
    assert loaded(path).shape == (40, 24, 3)
    assert np.array_equal(loaded(path), codec.read(path).pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_every_mode_gives_the_pixels_that_down_sees_without_alpha(others, mode):
    path = others / ("image.tif" if mode == "CMYK" else "image.png")
    Image.fromarray(noise(24, 32)).convert(mode).save(path)
    assert loaded(path).shape == (24, 32, 3)
    assert np.array_equal(loaded(path), np.broadcast_to(codec.read(path).pixels, (24, 32, 3)))


def test_what_down_takes_for_an_image_is_trained_on(others):
    Image.fromarray(noise(24, 32)).save(others / "image.pgm")
    assert [p.name for p in data.find_images([others])] == ["0.png", "1.png", "image.pgm"]


def test_a_file_that_down_refuses_is_left_out_with_its_reason(folder):
    (folder / "bad.jpg").write_bytes(b"junk")
    (folder / "empty.png").touch()
    frames = [Image.fromarray(noise(24, 32, seed=i)) for i in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    reasons = {path.name: reason for path, reason in data.load([folder], 16).skipped}
    assert reasons == {
        "bad.jpg": "not an image that Pillow can read",
        "empty.png": "the file is empty",
        "moving.gif": "has 3 frames; extract the one you want first",
    }


def test_two_images_are_needed(tmp_path):
    with pytest.raises(UsageError, match="at least two training images of 16 pixels or more, found 1"):
        data.load([write_photos(tmp_path / "photos", 1, 40, 48)], 16)


def test_a_batch_is_the_same_as_ever():
    """A run that an earlier version began goes on with the patches that it would have seen."""
    images = [noise(40, 48, seed=0), noise(33, 31, seed=1), noise(64, 29, seed=2)]
    sampler = data.PatchSampler(images, 20, 32, 7, CPU)
    digests = [hashlib.sha256(sampler(step).mul(255).round().byte().contiguous().numpy()).hexdigest() for step in (0, 5)]
    assert digests == [
        "a5d192fc27619fffa625e17f10eef9882c954b054f999e341f3533b38d21b894",
        "f6fdacd1598c2142d77ddd39627abf44934bc39535de11bdbdbdbe6435744481",
    ]


def test_a_tenth_is_held_out_and_batches_depend_on_the_step_alone(folder):
    photographs = data.load([folder], 16)
    assert (len(photographs.train), len(photographs.held_out)) == (11, 1)
    a, b = (data.PatchSampler(photographs.train, 16, 3, 0, torch.device("cpu")) for _ in range(2))
    a(0)
    assert torch.equal(a(5), b(5))
    assert not torch.equal(a(5), a(6))
    assert a(0).shape == (3, 3, 16, 16)
    assert 0 <= float(a(0).min()) <= float(a(0).max()) <= 1


def test_processes_share_a_batch(folder):
    sampler = data.PatchSampler(data.load([folder], 16).train, 16, 4, 0, torch.device("cpu"))
    whole = sampler(3)
    assert torch.equal(whole[0::2], sampler(3, rank=0, ranks=2))
    assert torch.equal(whole[1::2], sampler(3, rank=1, ranks=2))


def test_patches_are_pieces_of_the_images_in_all_eight_positions():
    image = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    pieces = {}
    for y in range(4):
        for x in range(6):
            crop = image[y : y + 4, x : x + 4]
            for turn in range(8):
                turned = np.rot90(crop, turn % 4)
                pieces[(turned if turn < 4 else turned.transpose(1, 0, 2)).tobytes()] = turn
    sampler = data.PatchSampler([image.copy()], 4, 16, 0, torch.device("cpu"))
    patches = [p.permute(1, 2, 0).mul(255).round().byte().contiguous().numpy() for step in range(20) for p in sampler(step)]
    assert {pieces[p.tobytes()] for p in patches} == set(range(8))
