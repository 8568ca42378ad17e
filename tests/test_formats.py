"""Which files are taken for images, which are opened, and what is said of the others."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from conftest import noise
from PIL import Image

from carcli.batch.plan import plan
from carcli.bench.datasets import find
from carcli.errors import ImageError
from carcli.images import formats
from carcli.images.codec import decode
from carcli.training.data import load


def test_what_is_opened_runs_no_other_program():
    """Of Pillow's formats EPS is handed to Ghostscript; others are not what a photograph comes in."""
    assert {"PNG", "JPEG", "TIFF", "WEBP"} <= set(formats.opened())
    assert not {"EPS", "PDF", "FITS", "WMF", "HDF5", "GRIB", "BUFR", "IMT", "PSD", "PCD"} & set(formats.opened())


def test_every_suffix_is_either_read_or_has_advice():
    for suffix in formats.SUFFIXES:
        assert formats.advice(suffix) is None
    for suffix in (".nef", ".psd", ".svg"):
        assert formats.advice(suffix)
    for suffix in (".txt", "", ".json", ".mp4"):
        assert formats.advice(suffix) is None


@pytest.mark.parametrize("extra", formats.EXTRAS, ids=lambda extra: extra.name)
def test_an_extra_that_is_not_here_is_named(monkeypatch, extra):
    monkeypatch.setattr(formats, "SUFFIXES", formats.SUFFIXES.difference(extra.suffixes))
    for suffix in extra.suffixes:
        assert formats.advice(suffix) == f"pip install 'carcli[{extra.name}]'"


def test_images_that_are_left_out_of_a_folder_are_counted(tmp_path):
    for name in ("a.NEF", "b.nef", "c.psd", "d.txt", ".hidden.nef"):
        (tmp_path / name).write_bytes(b"x")
    Image.fromarray(noise(4, 4)).save(tmp_path / "e.png")
    left_out: Counter[str] = Counter()
    jobs = plan([tmp_path], tmp_path / "lr", left_out=left_out)
    assert [job.source.name for job in jobs] == ["e.png"]
    assert left_out == {".nef": 2, ".psd": 1}


@pytest.mark.parametrize(("module", "kind"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_what_an_extra_reads_goes_through_the_same_policy(module, kind):
    pytest.importorskip(module)
    formats.opened()
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    exif[0x0112] = 6
    file = io.BytesIO()
    pixels = np.broadcast_to(np.linspace(20, 230, 48).astype(np.uint8)[None, :, None], (32, 48, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, exif=exif.tobytes(), quality=95)
    picture = decode(file.getvalue())
    assert picture.size == (32, 48)
    assert np.abs(picture.pixels.astype(int) - np.rot90(pixels, 3)).max() < 12
    kept = Image.Exif()
    kept.load(picture.exif)
    assert (kept[0x013B], kept[0x0112]) == ("somebody", 1)


def test_a_file_of_a_kind_that_is_not_read_says_how_to_go_on(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "raw.tif")
    (tmp_path / "raw.tif").rename(tmp_path / "raw.nef")  # cameras' files are TIFF files that hold a preview
    (tmp_path / "a.psd").write_bytes(b"8BPS")
    with pytest.raises(ImageError, match=r"of a kind that is not read here; develop them to TIFF or JPEG first"):
        decode(tmp_path / "raw.nef")
    with pytest.raises(ImageError, match=r"of a kind that is not read here; convert them to PNG first"):
        decode(tmp_path / "a.psd")


def test_a_jpeg_that_is_called_something_else_is_read(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.psd")
    assert decode(tmp_path / "a.psd").size == (8, 8)


def test_a_benchmark_and_training_leave_nothing_out_in_silence(tmp_path):
    for i in range(2):
        Image.fromarray(noise(64, 64, seed=i)).save(tmp_path / f"{i}.png")
    (tmp_path / "a.nef").write_bytes(b"x")
    assert find(str(tmp_path)).left_out == (".nef",)
    photographs = load([tmp_path], 32)
    assert [(path.name, "not read here" in reason) for path, reason in photographs.skipped] == [("a.nef", True)]
