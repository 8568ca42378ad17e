"""The formats that are written: what each keeps, what is told of the rest, and that the tag comes back from all of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, noise
from PIL import Image, features
from test_cli import carcli as command
from test_metadata import GREY_PROFILE, SRGB, camera

import carcli
from carcli.batch import Batch, Down, Options, Up, run
from carcli.batch.journal import NAME
from carcli.errors import ImageError, UsageError
from carcli.images import codec, written, xmp
from carcli.images.codec import decode, to_bytes
from carcli.images.kept import kept, refuse_size
from carcli.images.picture import Picture
from carcli.images.written import AVIF, JPEG, PNG, WEBP, Encoding, encoding

HERE = [name for name in written.NAMES if written.FORMATS[name].here]
IPTC = b"\x1c\x02\x05\x00\x05Title"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="Z\xc3\xbcrich"/></rdf:RDF></x:xmpmeta>'
)
BICUBIC = carcli.load("bicubic", 2, device="cpu")
TAD = carcli.load("tad", 2, device="cpu")


def full(channels: int = 3, alpha: bool = False) -> Picture:
    """With everything that can travel along."""
    return Picture(
        noise(21, 33, channels),
        noise(21, 33, 1, seed=1) if alpha else None,
        icc=SRGB if channels == 3 else GREY_PROFILE,
        exif=b"Exif\0\0" + camera("<", 1),
        xmp=XMP,
        iptc=IPTC,
        dpi=(300, 300),
    )


# The record of each format


def test_options_name_formats_and_files_are_called_after_them():
    assert written.NAMES == ("png", "webp", "jpeg", "avif")
    for path, name in (("a.png", "png"), ("a.WEBP", "webp"), ("a.jpg", "jpeg"), ("b/a.jpeg", "jpeg"), ("a.avif", "avif")):
        assert written.named(Path(path)) == name
    with pytest.raises(UsageError, match=r"a\.bmp: carcli writes png, webp, jpeg, avif; name a \.png, \.webp, \.jpg or \.avif"):
        written.named(Path("a.bmp"))
    with pytest.raises(UsageError, match=r"a\.jpg: its name says jpeg, not webp"):
        written.named(Path("a.jpg"), "webp")


@pytest.mark.parametrize(
    ("name", "quality", "lr", "reached"),
    [("png", None, True, None), ("webp", None, True, None), ("webp", None, False, None), ("webp", 80, True, 80),
     ("jpeg", None, True, 90), ("jpeg", None, False, 95), ("jpeg", 1, True, 1), ("avif", None, True, 75),
     ("avif", 100, False, 100)],
)  # fmt: skip
def test_without_a_quality_nothing_is_lost_where_that_can_be(name, quality, lr, reached):
    if name not in HERE:
        pytest.skip(f"this Pillow writes no {name}")
    found = encoding(name, quality, lr=lr)
    assert (found.quality, found.lossy) == (reached, reached is not None)


@pytest.mark.parametrize(
    ("name", "quality"), [("png", 90), ("jpeg", 0), ("jpeg", 101), ("webp", True), ("jpeg", 90.0), ("bmp", None)]
)
def test_what_makes_no_sense_is_refused(name, quality):
    with pytest.raises(UsageError):
        encoding(name, quality)


def test_a_format_that_pillow_does_not_write_is_named(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UsageError, match="writes no avif; pip install --upgrade pillow"):
        encoding("avif")
    assert encoding("jpeg").format is JPEG


def test_an_lr_image_is_written_as_pairs_are_trained_for():
    """Colour halved at any quality, one pass, and nothing that depends on how many threads there are."""
    for quality in (50, 90, 95, 100):
        assert encoding("jpeg", quality).options == {
            "quality": quality, "subsampling": "4:2:0", "optimize": True, "progressive": False,
        }  # fmt: skip
    assert encoding("jpeg", 95, lr=False).options["subsampling"] == "4:4:4"
    assert encoding("jpeg", 94, lr=False).options["subsampling"] == "4:2:0"
    assert Encoding(AVIF, 75).options["max_threads"] == 1


def test_more_quality_takes_more_room():
    for form in (WEBP, JPEG, AVIF):
        sizes = [Encoding(form, quality).bytes_a_pixel for quality in range(1, 101)]
        assert sizes == sorted(sizes)
        assert sizes[-1] < Encoding(PNG).bytes_a_pixel


# There and back


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 5), (33, 21)])
def test_the_tag_and_the_size_come_back(name, channels, size):
    original = Picture(noise(size[1], size[0], channels))
    small = BICUBIC.down_picture(original)
    again = decode(to_bytes(small, encoding(name)))
    assert (again.tag, again.tag_error, again.notes) == (small.tag, None, ())
    assert again.pixels.shape == small.pixels.shape
    assert again.lossy == (name in ("jpeg", "avif"))
    restored = BICUBIC.up_picture(again)
    assert (restored.size, restored.pixels.shape[2]) == (size, channels)
    assert decode(to_bytes(restored, encoding(name, lr=False))).tag is None


@pytest.mark.parametrize("name", HERE)
def test_what_a_format_keeps_travels_through_it(name):
    small = BICUBIC.down_picture(full())
    again = decode(to_bytes(small, encoding(name)))
    assert (again.icc, again.xmp) == (SRGB, XMP)
    assert b"Nikon" in again.exif
    assert again.exif == small.exif
    assert again.iptc == (IPTC if name in ("png", "jpeg") else None)
    assert (again.dpi is not None) == (name in ("png", "jpeg"))
    restored = decode(to_bytes(BICUBIC.up_picture(again), encoding(name, lr=False)))
    assert restored.xmp == XMP
    assert xmp.NAMESPACE.encode() not in to_bytes(BICUBIC.up_picture(again), encoding(name, lr=False))


@pytest.mark.parametrize("pair", [BICUBIC, TAD], ids=lambda pair: pair.id)
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_webp_keeps_every_level_and_so_every_model(pair, alpha):
    original = replace(full(alpha=alpha), alpha=full(alpha=True).alpha if alpha else None)
    small = pair.down_picture(original)
    again = decode(to_bytes(small, encoding("webp")))
    assert np.array_equal(again.pixels, small.pixels)
    assert (small.alpha is None and again.alpha is None) or np.array_equal(again.alpha, small.alpha)
    assert np.array_equal(pair.up_picture(again).pixels, pair.up_picture(small).pixels)


def test_colours_hidden_in_grey_travel_as_webp():
    pair = carcli.load("tad", 1, device="cpu")
    small = pair.down_picture(Picture(noise(24, 24)))
    again = decode(to_bytes(small, encoding("webp")))
    assert np.array_equal(again.pixels, small.pixels)
    assert pair.up_picture(again).pixels.shape == (24, 24, 3)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_the_tag_is_found_whatever_the_file_is_called(tmp_path, name):
    if name not in HERE:
        pytest.skip(f"this Pillow writes no {name}")
    small = BICUBIC.down_picture(full())
    path = tmp_path / "lr.png"
    path.write_bytes(to_bytes(small, encoding(name)))
    assert carcli.read(path).tag == small.tag
    header = codec.peek(path)
    assert (header.tag, header.format) == (small.tag, written.FORMATS[name].pillow)
    assert carcli.up(path, device="cpu").size == (33, 21)


def test_the_same_bytes_every_time():
    picture = BICUBIC.down_picture(Picture(noise(300, 400)))
    for name in HERE:
        assert to_bytes(picture, encoding(name)) == to_bytes(picture, encoding(name))


# What a format cannot keep


def test_transparency_is_never_flattened():
    picture = full(alpha=True)
    with pytest.raises(ImageError, match="has transparency, which jpeg cannot keep; write it as png or webp"):
        to_bytes(picture, encoding("jpeg"))
    opaque = replace(picture, alpha=np.full_like(picture.alpha, 255))
    for name in ("webp", "jpeg", "avif"):
        shown, notes = kept(replace(opaque, iptc=None), Encoding(written.FORMATS[name], 90))
        assert shown.alpha is None
        assert notes == (f"its alpha hides nothing and was left out: {name} keeps no such",)
        if name in HERE:
            assert decode(to_bytes(opaque, encoding(name))).alpha is None
    assert decode(to_bytes(opaque)).alpha.min() == 255


def test_an_image_that_is_too_large_for_a_format_is_refused():
    for form, size in ((WEBP, (16_384, 1)), (JPEG, (1, 65_501)), (AVIF, (32_769, 1)), (AVIF, (20_000, 20_000))):
        with pytest.raises(ImageError, match=f"more than {form.name} holds"):
            refuse_size(size, form)
    refuse_size((16_383, 16_383), WEBP)
    tall = Picture(np.zeros((1, 16_383, 3), np.uint8))
    assert decode(to_bytes(tall, encoding("webp"))).size == (16_383, 1)


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"iptc": IPTC}, "webp", "IPTC data was left out: webp has no room"),
        ({"iptc": IPTC * 9000}, "jpeg", "IPTC data was left out: jpeg has no room"),
        ({"colour": ((b"cICP", b"\x0c\x0d\0\x01"),)}, "jpeg", "what it says of its colours was left out"),
        ({"exif": b"Exif\0\0" + camera("<", 1) + bytes(70_000)}, "jpeg", "its EXIF data is larger than jpeg holds"),
        ({"xmp": b"<a/>"}, "jpeg", "its XMP data leaves no room for the carcli tag in jpeg"),
        ({"xmp": XMP.replace(b"Z", b"Z" * 65_270)}, "jpeg", "its XMP data leaves no room"),
    ],
)
def test_what_is_left_out_is_told(tmp_path, change, name, said):
    picture = replace(BICUBIC.down_picture(Picture(noise(9, 9))), **change)
    (note,) = kept(picture, encoding(name))[1]
    assert said in note
    assert decode(to_bytes(picture, encoding(name))).tag == picture.tag
    with pytest.warns(UserWarning, match=note[:30]):
        picture.save(tmp_path / f"a{written.FORMATS[name].suffix}")


def test_a_grey_profile_in_a_format_without_grey_is_inside_one_for_colour():
    held, notes = kept(replace(full(1), iptc=None), encoding("webp"))
    assert (held.icc[16:20], held.pixels.shape[2], notes) == (b"RGB ", 3, ())
    assert full(1).icc in held.icc
    held, notes = kept(replace(full(1), iptc=None), encoding("jpeg"))
    assert (held.icc, held.pixels.shape[2], notes) == (full(1).icc, 1, ())


# Metadata that others edited, stripped or damaged


def test_a_tag_that_is_stripped_is_gone_and_one_that_is_kept_is_found():
    file = to_bytes(BICUBIC.down_picture(full()), encoding("webp"))
    out = io.BytesIO()
    with Image.open(io.BytesIO(file)) as image:
        image.save(out, "WEBP", lossless=True)
        assert decode(out.getvalue()).tag is None
        for kind, options in (("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})):
            out = io.BytesIO()
            image.save(out, kind, xmp=image.info["xmp"], **options)
            assert decode(out.getvalue()).tag == decode(file).tag
        out = io.BytesIO()
        image.crop((0, 0, 9, 9)).save(out, "WEBP", xmp=image.info["xmp"])
    assert "cropped or resized" in decode(out.getvalue()).tag_error


@pytest.mark.parametrize("name", ["webp", "jpeg", "avif"])
@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (xmp.with_properties(None, {"tag": "x" * 5000}), "longer than 4096"),
        (xmp.with_properties(None, {"tag": "{"}), "not JSON"),
        (xmp.with_properties(None, {"tag": "[]"}), "not a JSON object"),
        (xmp.with_properties(None, {"tag": "{}", "channels": "1"}), "no valid"),
        (xmp.with_properties(XMP, {"tag": "{}"})[:-20], "damaged or too large"),
        (b"<!DOCTYPE a>" + xmp.with_properties(None, {"tag": "{}"}), "damaged or too large"),
    ],
)
def test_a_damaged_tag_is_told_and_not_trusted(name, packet, error):
    if name not in HERE:
        pytest.skip(f"this Pillow writes no {name}")
    out = io.BytesIO()
    Image.fromarray(noise(8, 8)).save(out, written.FORMATS[name].pillow, xmp=packet)
    picture = decode(out.getvalue())
    assert picture.tag is None
    assert error in picture.tag_error
    assert picture.pixels.shape == (8, 8, 3)


# Pillow's images and the library


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".avif"])
def test_pillows_save_keeps_the_tag(tmp_path, suffix):
    if written.named(Path(suffix[1:] + suffix)) not in HERE:
        pytest.skip("this Pillow does not write it")
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    source = io.BytesIO()
    Image.fromarray(noise(20, 31)).convert("L").save(source, "JPEG", exif=exif, xmp=XMP)
    small = BICUBIC.down(Image.open(source))
    small.save(tmp_path / f"a{suffix}")
    again = carcli.read(tmp_path / f"a{suffix}")
    assert (again.tag.lr_size, again.xmp, again.pixels.shape) == ((16, 10), XMP, (10, 16, 1))
    assert b"somebody" in again.exif
    assert carcli.up(Image.open(tmp_path / f"a{suffix}"), device="cpu").size == (31, 20)


def test_what_needs_every_level_is_saved_with_loss_only_if_that_is_said(tmp_path):
    small = TAD.down(Picture(noise(20, 31)))
    with pytest.raises(ImageError, match=r"a\.jpg: .*tad-x2.*; write lossless png or lossless webp, or pass lossy=True"):
        small.save(tmp_path / "a.jpg")
    assert not (tmp_path / "a.jpg").exists()
    with pytest.raises(ImageError, match="lossy=True"):
        carcli.save(tmp_path / "a.webp", small, 90)
    small.save(tmp_path / "a.jpg", lossy=True)
    small.save(tmp_path / "a.webp")
    BICUBIC.down(Picture(noise(20, 31))).save(tmp_path / "b.jpg", 50)
    pillows = TAD.down(Image.fromarray(noise(20, 31)))
    with pytest.warns(UserWarning, match="saved with loss: .*tad-x2"):
        pillows.save(tmp_path / "c.webp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pillows.save(tmp_path / "c.webp", lossless=True)
    with pytest.raises(ImageError, match="lossy=True"):
        carcli.save(tmp_path / "d.jpg", pillows)


def test_what_was_saved_with_loss_is_told_when_it_is_restored(tmp_path):
    small = TAD.down(Picture(noise(20, 31)))
    small.save(tmp_path / "a.jpg", lossy=True)
    for kind, options in (("WEBP", {"quality": 80}), ("WEBP", {"lossless": True, "exact": True})):
        out = io.BytesIO()
        with Image.open(tmp_path / "a.jpg") as image:
            image.save(out, kind, xmp=image.info["xmp"], **options)
        assert decode(out.getvalue()).lossy == ("lossless" not in options)
    assert "was saved with loss: what tad-x2 hid" in TAD.up(carcli.read(tmp_path / "a.jpg")).notes[0]
    small.save(tmp_path / "a.webp")
    assert TAD.up(carcli.read(tmp_path / "a.webp")).notes == ()


def test_bytes_to_bytes():
    data = (PHOTOS / "cat.jpg").read_bytes()
    for name in HERE:
        small = BICUBIC.down_bytes(data, name)
        with Image.open(io.BytesIO(small)) as image:
            assert image.format == written.FORMATS[name].pillow
        assert decode(BICUBIC.up_bytes(small, name)).size == decode(data).size
    assert len(BICUBIC.down_bytes(data, "jpeg", 50)) < len(BICUBIC.down_bytes(data, "jpeg", 90))
    with pytest.raises(UsageError, match="pass lossy=True"):
        TAD.down_bytes(data, "jpeg")
    assert decode(TAD.down_bytes(data, "jpeg", lossy=True)).tag.checkpoint == TAD.id
    with pytest.raises(UsageError, match="refinement settles single levels"):
        BICUBIC.down_bytes(data, "jpeg", refinement=3)
    with pytest.raises(UsageError, match="unknown format 'gif'"):
        BICUBIC.up_bytes(data, "gif")


# Batches and the command line


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i, suffix in enumerate((".jpg", ".png", ".webp")):
        Image.fromarray(noise(16, 24, seed=i)).save(f"photos/{i}{suffix}")
    return Path("photos")


DOWN = ("down", "photos", "--model", "bicubic", "--scale", 2, "--device", "cpu")


@pytest.mark.parametrize("name", HERE)
def test_a_folder_goes_down_and_up_in_any_format(photos, name):
    suffix = written.FORMATS[name].suffix
    code, out, err = command(*DOWN, "--format", name, "--json")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert {record["target"] for record in records[:-1]} == {str(Path(f"lr/{i}{suffix}")) for i in range(3)}
    assert {(record["format"], record["quality"]) for record in records[:-1]} == {(name, encoding(name).quality)}
    code, out, err = command("up", "lr", "--format", name, "--device", "cpu")
    assert code == 0, err
    assert {carcli.read(path).size for path in Path("sr").glob(f"*{suffix}")} == {(24, 16)}
    code, out, _ = command("info", f"lr/0{suffix}")
    assert f"lr/0{suffix}: {written.FORMATS[name].pillow}, 12x8 RGB" in out
    assert "made by carcli with bicubic" in out


def test_an_output_files_name_means_its_format(photos):
    assert command(*DOWN[:1], "photos/0.jpg", *DOWN[2:], "-o", "small.webp")[0] == 0
    assert codec.peek(Path("small.webp")).format == "WEBP"
    assert command(*DOWN[:1], "photos/0.jpg", *DOWN[2:], "-o", "small.jpeg", "--quality", 50)[0] == 0
    assert command("up", "small.webp", "-o", "back.jpg", "--device", "cpu")[0] == 0
    assert codec.peek(Path("back.jpg")).format == "JPEG"
    code, _, err = command("up", "small.webp", "-o", "back.jpg", "--format", "webp")
    assert (code, "its name says jpeg, not webp" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "gif"], "'gif' is not one of 'png', 'webp', 'jpeg', 'avif'"),
        (["--quality", "90"], "png is lossless and has no quality"),
        (["--format", "webp", "--png-level", "1"], "--png-level does nothing with webp"),
        (["--format", "jpeg", "--refine", "2"], "refinement settles single levels, which jpeg 90 changes"),
        (["--lossy"], "--lossy does nothing with lossless png"),
        (["--format", "webp", "--lossy"], "--lossy does nothing with lossless webp"),
    ],
)
def test_options_that_contradict_each_other_are_refused(photos, options, said):
    code, _, err = command(*DOWN, *options)
    assert code == 2, err
    assert said in err
    assert not Path("lr").exists()


def test_an_image_with_alpha_fails_alone_and_before_it_is_computed(photos):
    Image.fromarray(noise(16, 24, 4)).save("photos/alpha.png")
    results = list(run(Down("bicubic", 2), ["photos"], "lr", Options(format="jpeg", devices=("cpu",))))
    assert [r.status for r in results] == ["done", "done", "done", "failed"]
    assert results[3].reason == "has transparency, which jpeg cannot keep; write it as png or webp"
    assert not Path("lr/alpha.jpg").exists()


def test_notes_say_what_a_file_does_not_keep(photos):
    Path("photos/0.jpg").write_bytes(to_bytes(replace(full(), icc=None, exif=None, xmp=None), encoding("jpeg", lr=False)))
    results = list(run(Down("bicubic", 2), ["photos/0.jpg"], "lr", Options(format="webp", devices=("cpu",))))
    assert results[0].notes == ("its IPTC data was left out: webp has no room for it",)


def test_another_format_is_another_setting(photos):
    options = Options(format="jpeg", devices=("cpu",))
    list(run(Down("bicubic", 2), ["photos"], "lr", options))
    again = list(run(Down("bicubic", 2), ["photos"], "lr", replace(options, quality=50)))
    assert {r.existing for r in again} == {"settings"}
    again = list(run(Down("bicubic", 2), ["photos"], "lr", replace(options, quality=90)))
    assert {r.existing for r in again} == {"same"}
    list(run(Down("bicubic", 2), ["photos"], "png", Options(devices=("cpu",))))
    lines = [json.loads(line) for line in Path("png", NAME).read_text().splitlines()]
    assert {line["settings"] for line in lines} == {"bicubic  x2 fp32"}  # as of old


def test_names_that_would_clash_keep_their_suffix(photos):
    Image.fromarray(noise(16, 24)).save("photos/0.png")
    jobs = Batch(Down("bicubic", 2), ["photos"], "lr", Options(format="jpeg", devices=("cpu",))).jobs
    assert [job.target.name for job in jobs] == ["0.jpg.jpg", "0.png.jpg", "1.jpg", "2.jpg"]
    jobs = Batch(Down("bicubic", 2), ["photos"], "photos", Options(format="jpeg", devices=("cpu",))).jobs
    assert [job.obstacle for job in jobs] == [None] * 4  # 0.jpg.jpg and so on
    jobs = Batch(Down("bicubic", 2), ["photos/0.jpg"], "photos", Options(format="jpeg", devices=("cpu",))).jobs
    assert [job.obstacle for job in jobs] == ["would replace itself; name another output folder with -o"]


def test_an_estimate_knows_the_format(photos):
    bytes_of = {
        name: Batch(Down("bicubic", 2), ["photos"], "lr", Options(format=name, devices=("cpu",))).estimate().output_bytes
        for name in HERE
    }
    assert bytes_of["jpeg"] < bytes_of["webp"] < bytes_of["png"]


def test_the_same_bytes_whatever_the_worker_count(photos):
    for name in HERE:
        for workers in (1, 4):
            list(run(Down("bicubic", 2), ["photos"], f"{name}{workers}", Options(format=name, workers=workers, devices=("cpu",))))
        files = sorted(path.name for path in Path(f"{name}1").glob("[0-9]*"))
        assert len(files) == 3
        assert all(Path(f"{name}1", f).read_bytes() == Path(f"{name}4", f).read_bytes() for f in files)


@pytest.mark.skipif("avif" not in HERE, reason="this Pillow writes no avif")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen here")
def test_avif_is_the_same_on_one_processor_and_on_many(tmp_path):
    code = (
        "import sys, numpy as np; from carcli.images.codec import to_bytes; from carcli.images.picture import Picture;"
        "from carcli.images.written import encoding; rng = np.random.default_rng(0);"
        "p = np.kron(rng.integers(0, 256, (60, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8));"
        "sys.stdout.buffer.write(to_bytes(Picture(p), encoding('avif')))"
    )
    whole = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    chosen = min(os.sched_getaffinity(0))
    pinned = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{chosen}}}); {code}"], capture_output=True, check=True
    ).stdout
    assert whole == pinned


def test_up_restores_each_file_of_a_folder_of_many_formats(photos):
    Path("lr").mkdir()
    for name in HERE:
        small = BICUBIC.down_picture(Picture(noise(20, 31)))
        Path("lr", f"{name}{written.FORMATS[name].suffix}").write_bytes(to_bytes(small, encoding(name)))
    results = list(run(Up(), ["lr"], "sr", Options(devices=("cpu",))))
    assert {(r.status, r.output_size, r.format) for r in results} == {("done", (31, 20), "png")}
