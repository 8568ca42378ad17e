"""Where options meet: every kind of image at every kind of size in every format, down and up."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import ExifTags, Image
from test_cli import carcli as program
from test_grey_photographs import grey_profile
from test_images import SRGB, saved
from test_round_trip import make

import carcli
from carcli.batch import Batch, Down, Options, Target, Up, run
from carcli.bench.compare import Setup, measure
from carcli.bench.rate import Original, Rates
from carcli.bench.thumbnails import Thumbnails
from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images import codec, metadata, xmp
from carcli.images.carried import CarcliImage
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.images.written import encoding
from carcli.rescale.rescaler import load
from carcli.rescale.resolve import Request, Resolution, resolve
from carcli.weights.choose import choose, scales_of

WIDTH, HEIGHT = 45, 33
GREY_PROFILE = grey_profile()
NAMESPACE = xmp.NAMESPACE.encode()
KINDS = ("L", "LA", "RGB", "RGBA", "P", "CMYK", "JPEG", "L16", "RGB16", "1", "rotated")
TRANSPARENT = ("LA", "RGBA", "P")
LOSSLESS = [("png", None), ("webp", None)]
LOSSY = [("webp", 80), ("jpeg", None), ("avif", 60)]
TARGETS = [
    {"scale": 2},
    {"scale": 2.5},
    {"target": Target(fit=(20, 20))},
    {"target": Target(size=(13, 9))},
    {"target": Target(max_pixels=200)},
    {"target": Target(fit=(999, 999))},
]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def file_of(kind: str) -> tuple[bytes, str]:
    """A file of a kind, and the mode of what comes back."""
    if kind == "1":
        return saved(Image.fromarray(noise(HEIGHT, WIDTH, 1)[..., 0]).convert("1")), "L"
    if kind != "rotated":
        return make(kind, WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, "somebody"
    return saved(Image.fromarray(noise(WIDTH, HEIGHT)), "JPEG", quality=95, exif=exif, icc_profile=SRGB), "RGB"


FILES = {kind: file_of(kind) for kind in KINDS}


def of(sizes: dict[str, object]) -> str:
    return str(next(iter(sizes.values())))


def travels(task: Down, form: str, quality: int | None) -> None:
    """Every kind goes down and comes back: its size, its mode, profile and EXIF; nothing but what was asked for is in the way."""
    paths = [Path(f"{kind}.img") for kind in KINDS]
    for path in paths:
        path.write_bytes(FILES[path.stem][0])
    lost = {Path(f"{kind}.img") for kind in TRANSPARENT if form == "jpeg"}
    down = list(run(task, paths, "lr", Options(format=form, quality=quality)))
    assert {result.source for result in down if result.status == "failed"} == lost
    assert all("transparency" in str(result.reason) for result in down if result.status == "failed")
    up = list(run(Up(), ["lr"], "sr"))
    assert [result.reason for result in up if result.status != "done"] == []
    for kind in KINDS:
        if form == "jpeg" and kind in TRANSPARENT:
            continue
        data, mode = FILES[kind]
        with Image.open(f"sr/{kind}.png") as back:
            assert (kind, back.size, back.mode) == (kind, (WIDTH, HEIGHT), mode)
            assert back.info.get("icc_profile") == codec.decode(data).icc
            assert (back.getexif().get(ExifTags.Base.Artist) == "somebody") == (kind not in ("CMYK", "L16", "RGB16", "1"))
            assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1
            assert "carcli" not in back.info


@pytest.mark.parametrize(("form", "quality"), [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("sizes", TARGETS, ids=of)
def test_every_kind_of_image_comes_back_from_every_size_and_format(sizes, form, quality):
    travels(Down("bicubic", **sizes), form, quality)


@pytest.mark.parametrize(
    ("sizes", "form", "quality"),
    [
        ({"scale": 2.5}, "webp", None),
        ({"target": Target(size=(13, 9))}, "png", None),
        ({"target": Target(fit=(20, 20)), "keep_grey": True}, "webp", None),
        ({"scale": 2, "lossy": True}, "jpeg", 90),
        ({"target": Target(max_pixels=200), "lossy": True}, "avif", 60),
    ],
)
def test_so_it_does_from_pairs_that_hide_something(sizes, form, quality):
    travels(Down("tad", **sizes), form, quality)


@pytest.mark.parametrize("form", ["png", "webp", "jpeg", "avif"])
def test_photographs_come_back_in_every_format(form):
    paths = [Path(f"{kind}.img") for kind in KINDS]
    for path in paths:
        path.write_bytes(FILES[path.stem][0])
    assert all(result.status == "done" for result in run(Down("bicubic", scale=2.5), paths, "lr"))
    for result in run(Up(), ["lr"], "sr", Options(format=form)):
        kind = result.source.stem
        if form == "jpeg" and kind in TRANSPARENT:
            assert "has transparency, which jpeg cannot keep" in result.reason
        else:
            assert (result.status, result.output_size) == ("done", (WIDTH, HEIGHT))


@pytest.mark.parametrize(
    "sizes",
    [
        {"scale": 1.0001},
        {"scale": 99.5},
        {"scale": 128},
        {"target": Target(max_pixels=1)},
        {"target": Target(width=1)},
        {"target": Target(size=(1, 1))},
        {"target": Target(fit=(10**10, 1))},
        {"target": Target(height=10**30)},
    ],
    ids=of,
)
@pytest.mark.parametrize("model", ["bicubic", "tad"])
def test_the_smallest_images_and_the_oddest_sizes(model, sizes):
    wanted = [(1, 1), (1, 37), (2, 3), (37, 1)]
    for width, height in wanted:
        Image.fromarray(noise(height, width, 4)).save(f"{width:02}x{height:02}.png")
    small = list(run(Down(model, **sizes), ["."], "lr", Options(format="webp")))
    assert [result.reason for result in small] == [None] * len(wanted)
    assert [result.output_size for result in run(Up(), ["lr"], "sr")] == wanted


# The same bytes


@pytest.mark.parametrize(
    ("sizes", "form"),
    [({"target": Target(fit=(30, 30))}, "webp"), ({"scale": 2.5, "lossy": True}, "jpeg")],
)
def test_the_same_bytes_whatever_the_workers_and_the_tile(sizes, form):
    Path("in").mkdir()
    for i, channels in enumerate((3, 1, 4, 3)):
        pixels = noise(50 + i, 70, channels, seed=i)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(f"in/{i}.png")
    seen = set()
    for workers, tile in ((1, None), (4, None), (2, 16)):
        folder = f"{workers}-{tile}"
        list(run(Down("tad", tile=tile, **sizes), ["in"], f"lr-{folder}", Options(format=form, workers=workers)))
        list(run(Up(tile=tile), [f"lr-{folder}"], f"sr-{folder}", Options(format=form, workers=workers)))
        made = [*sorted(Path(f"lr-{folder}").glob("[!.]*")), *sorted(Path(f"sr-{folder}").glob("[!.]*"))]
        assert len(made) == (6 if form == "jpeg" else 8)
        seen.add(tuple(path.read_bytes() for path in made))
    assert len(seen) == 1


# A grey profile goes wherever the photograph goes


@pytest.mark.parametrize("keep_grey", [False, True])
@pytest.mark.parametrize(("form", "lossy"), [("png", False), ("webp", False), ("jpeg", True), ("avif", True)])
def test_a_grey_profile_comes_back_from_every_format(form, lossy, keep_grey):
    Image.fromarray(noise(HEIGHT, WIDTH, 1)[..., 0]).save("grey.png", icc_profile=GREY_PROFILE)
    task = Down("tad", target=Target(fit=(20, 20)), keep_grey=keep_grey, lossy=lossy)
    (small,) = run(task, ["grey.png"], "lr", Options(format=form))
    (back,) = run(Up(), [small.target], "back.png")
    assert small.notes == ()
    assert ["was saved with loss" in note for note in back.notes] == [True] * lossy
    with Image.open("back.png") as image:
        assert (image.mode, image.info["icc_profile"]) == ("L", GREY_PROFILE)


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_a_grey_photograph_in_a_format_without_grey_means_what_it_meant(form):
    grey = Picture(noise(HEIGHT, WIDTH, 1), icc=GREY_PROFILE)
    for data in (codec.to_bytes(grey, encoding(form)), saved(CarcliImage.of(grey), form.upper(), lossless=True)):
        picture = codec.decode(data)
        assert (picture.pixels.shape[2], picture.notes) == (3, ())
        assert picture.icc[16:20] == b"RGB "
        assert GREY_PROFILE in picture.icc


def test_a_grey_lr_image_that_pillow_saves_as_webp_brings_its_profile_back():
    buffer = io.BytesIO()
    original = Image.open(io.BytesIO(saved(Image.fromarray(noise(HEIGHT, WIDTH, 1)[..., 0]), icc_profile=GREY_PROFILE)))
    load("tad", 2, "cpu").down(original, keep_grey=True).save(buffer, "WEBP", lossless=True)
    back = carcli.up(buffer.getvalue(), "cpu")
    assert (back.pixels.shape, back.icc) == ((HEIGHT, WIDTH, 1), GREY_PROFILE)


@pytest.mark.parametrize("model", ["bicubic+bicubic", "lanczos+lanczos", "tad-x2+tad-x2", "best+best"])
@pytest.mark.parametrize("sizes", [{}, {"scale": 2.5}, {"target": Target(fit=(9, 9))}], ids=str)
def test_chains_come_back_too(model, sizes):
    Image.fromarray(noise(33, 45, 2)).save("in.png")
    (small,) = run(Down(model, **sizes), ["in.png"], "lr.webp")
    (back,) = run(Up(), ["lr.webp"], "back.png")
    assert (small.reason, back.reason, back.output_size) == (None, None, (45, 33))


# Tags of strangers


def hostile(path: str, tag: Tag) -> None:
    codec.write(path, Picture(noise(8, 8), tag=tag))


def test_a_tag_that_says_an_absurd_size_stops_nobody_else():
    Path("lr").mkdir()
    hostile("lr/a.png", Tag("bicubic", "", 1, 1 << 20, 1 << 20, lr_width=8, lr_height=8, resize="bicubic"))
    hostile("lr/b.png", Tag("bicubic", "", 128, 1 << 20, 1 << 20, lr_width=8, lr_height=8, resize="dct"))
    hostile("lr/c.png", Tag("bicubic", "", 2, 16, 16))
    estimate = Batch(Up(), ["lr"], "sr").estimate()
    assert estimate.output_bytes < 10_000
    a, b, c = run(Up(), ["lr"], "sr")
    assert (a.status, b.status, c.status) == ("failed", "failed", "done")
    assert "would become 1048576x1048576, more than 512 megapixels" in a.reason


# Kept as it is


@pytest.mark.parametrize("request_", [Request(), Request("tad"), Request(scale=4), Request("tad", 4)], ids=str)
def test_what_was_small_enough_comes_back_whatever_its_neighbours_were_made_with(request_):
    Path("in").mkdir()
    Image.fromarray(noise(16, 16)).save("in/small.png")
    Image.fromarray(noise(64, 64)).save("in/large.png")
    assert [r.model for r in run(Down("tad", target=Target(fit=(16, 16))), ["in"], "lr")] == ["tad-x4", "bicubic"]
    assert [(r.status, r.reason) for r in run(Up(request_), ["lr"], "sr")] == [("done", None)] * 2
    assert np.array_equal(codec.read(Path("sr/small.png")).pixels, noise(16, 16))


def test_what_was_resized_by_bicubic_is_not_taken_for_another_models():
    tag = Tag("bicubic", "", 1, 64, 64, lr_width=16, lr_height=16, resize="bicubic")
    with pytest.raises(ImageError, match="was made with bicubic, not tad"):
        resolve(tag, Request("tad"))
    assert resolve(Tag("lanczos", "", 1, 9, 9), Request("tad")) == Resolution("lanczos", 1, "tag")


def test_a_program_hears_what_the_command_line_says():
    with pytest.warns(UserWarning, match="becomes 10x10, which distorts it"):
        small = carcli.down(noise(64, 32), Target(size=(10, 10)), "bicubic", "cpu")
    assert small.shape == (10, 10, 3)
    lossy = load("tad", 2, "cpu").down_bytes(saved(Image.fromarray(noise(32, 32))), "jpeg", lossy=True)
    with pytest.warns(UserWarning, match="was saved with loss: what tad-x2 hid"):
        carcli.up(Image.open(io.BytesIO(lossy)), "cpu")


@pytest.mark.parametrize("number", [2.5, np.float32(2.5), np.float64(2.5)])
def test_a_scale_is_any_number_of_pythons_or_numpys(number):
    assert Target(scale=number) == Target(scale=2.5)
    assert load("bicubic", number, "cpu").factor == 2.5
    with pytest.raises(UsageError, match=r"target is a carcli\.Target"):
        carcli.down(noise(8, 8), (4, 4))


# Before anything is computed


def test_a_batch_is_reckoned_by_what_its_photographs_are_the_right_way_up():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name, options in (("a.jpg", {"quality": 90}), ("b.png", {}), ("c.webp", {"lossless": True}), ("d.tif", {})):
        Image.fromarray(noise(30, 300)).save(name, exif=exif, **options)
        header = codec.peek(Path(name))
        assert (name, header.width, header.height) == (name, 30, 300)
        for target in (Target(width=15), Target(size=(20, 200)), Target(fit=(30, 100))):
            (worker, *_) = Down("bicubic", target=target).load("cpu")
            (small,) = run(Down("bicubic", target=target), [name], f"{target}.png", Options(overwrite=True))
            assert worker.area(header) * header.pixels == pytest.approx(np.prod(small.output_size))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--fit", "0x0"], 2, "fit is (width, height) in pixels, each at least 1, not (0, 0)"),
        (["--fit", "10"], 2, "--fit '10': give width and height"),
        (["--fit", "9" * 5000 + "x1"], 2, "give width and height"),
        (["--size", "-1x5"], 2, "give width and height"),
        (["--size", "٣x٣"], 2, "give width and height"),
        (["--scale", "1"], 2, "scale is a number above 1"),
        (["--scale", "nan"], 2, "--scale"),
        (["--to-grey", "--fit", "3x3"], 2, "--to-grey keeps the size; leave --fit out"),
        (["--to-grey", "--format", "jpeg"], 2, "its colours do not come back"),
        (["--model", "tad-grey", "--fit", "3x3"], 3, "'tad-grey' keeps the size"),
        (["--model", "tad-grey", "--scale", "2.5"], 3, "'tad-grey' keeps the size"),
        (["--model", "ordinary", "--fit", "3x3"], 2, "only enlarges images"),
        (["--model", "bicubic", "--fit", "3x3", "--refine", "2"], 2, "a scale that bicubic has (2, 3…); not fit 3x3"),
        (["--model", "tad", "--scale", "2.5", "--refine", "2"], 2, "a scale that tad has (2, 4…); not scale 2.5"),
        (["--model", "tad", "--fit", "3x3", "--format", "jpeg"], 2, "tad-x2 needs every level"),
    ],
)
def test_what_makes_no_sense_is_one_line_before_anything_is_done(options, code, message):
    Image.fromarray(noise(8, 8)).save("in.png")
    found, out, err = program("down", "in.png", *options)
    assert (found, out, len(err.splitlines())) == (code, "", 1)
    assert message in err
    assert len(err) < 300
    assert not Path("lr").exists()


def test_up_takes_whole_scales_and_says_so():
    Image.fromarray(noise(8, 8)).save("in.png")
    code, _, err = program("up", "in.png", "--scale", "2.5")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "up takes whole scales, for images without a tag" in err
    assert program("up", "in.png", "--scale", "2", "--model", "bicubic")[0] == 0


def test_10_times_10_may_be_written_in_capitals():
    Image.fromarray(noise(30, 30)).save("in.png")
    assert program("down", "in.png", "--size", "010X10", "--model", "bicubic", "-o", "out.png")[0] == 0
    assert codec.read(Path("out.png")).size == (10, 10)


# Again


BATCH = ("--model", "tad", "--scale", 2, "--format", "webp")


@pytest.mark.parametrize(
    ("options", "existing"),
    [
        (["--tile", 32], "same"),
        (["-j", 3], "same"),
        (["--keep-grey"], "settings"),
        (["--quality", 90, "--lossy"], "settings"),
        (["--precision", "bf16"], "settings"),
        (["--refine", 1], "settings"),
    ],
)
def test_an_option_that_changes_what_is_written_is_noticed_and_no_other(options, existing):
    Image.fromarray(noise(16, 16, 1)[..., 0]).save("in.png")
    assert program("down", "in.png", "-o", "lr", *BATCH)[0] == 0
    code, out, _ = program("down", "in.png", "-o", "lr", *BATCH, *options, "--json")
    assert (code, json.loads(out.splitlines()[0])["existing"]) == (0, existing)


@pytest.mark.parametrize("size", [("--scale", 2.5), ("--scale", 4), ("--fit", "8x8"), ("--width", 8), ("--max-pixels", 64)])
def test_another_size_is_noticed(size):
    Image.fromarray(noise(16, 16)).save("in.png")
    assert program("down", "in.png", "-o", "lr", *BATCH)[0] == 0
    code, out, _ = program("down", "in.png", "-o", "lr", "--model", "tad", "--format", "webp", *size, "--json")
    assert (code, json.loads(out.splitlines()[0])["existing"]) == (0, "settings")


# One name, one meaning


def test_ordinary_has_the_scales_that_it_has():
    assert scales_of("ordinary").trained == (2, 4)
    for scale in (2, 4, 8):
        pair = load("ordinary", scale, "cpu")
        assert (pair.id, pair.scale, pair.target) == (choose("ordinary", scale).description.id, scale, None)
    assert load("ordinary", 3, "cpu").up(noise(5, 4)).shape == (15, 12, 3)


def bench(*arguments: object) -> tuple[int, str, str]:
    Path("set").mkdir(exist_ok=True)
    for kind in ("L", "RGBA", "JPEG"):
        Path(f"set/{kind}.png").write_bytes(make(kind, 48, 32)[0])
    return program("bench", "--dataset", "set", "-q", "--device", "cpu", *arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--thumbnails", "lanczos", "--scale", 2.5], "--thumbnails takes scales from 2 on that the models have"),
        (["--thumbnails", "lanczos", "--scale", 3, "--model", "tad"], "--thumbnails takes scales from 2 on"),
        (["--thumbnails", "lanczos", "--scale", 1, "--model", "tad"], "--thumbnails takes scales from 2 on"),
        (["--thumbnails", "lanczos", "--quality", 50], "--thumbnails and --quality contradict"),
        (["--thumbnails", "lanczos", "--carrier", "webp"], "--thumbnails and --carrier contradict"),
        (["--thumbnails", "lanczos", "--keep-grey"], "--thumbnails and --keep-grey contradict"),
        (["--thumbnails", "lanczos", "--refine", 2], "--thumbnails and --refine contradict"),
        (["--refine", 2, "--carrier", "jpeg"], "--refine settles single levels"),
        (["--offsets", "drawn", "--scale", 2.5, "--model", "edsr-base-x4"], "name edsr-base-x4, say, and its scale"),
        (["--refine", 2, "--scale", 2.5, "--model", "tad"], "--refine takes scales that the models have"),
    ],
)
def test_a_benchmark_refuses_what_contradicts_itself(options, message):
    code, out, err = bench(*options)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    "options",
    [
        ["--carrier", "jpeg", "--quality", 50, "--quality", 90, "--scale", 2.5, "--model", "bicubic,tad"],
        ["--carrier", "webp", "--rate", "--keep-grey", "--scale", 2.5, "--scale", 4, "--model", "tad", "--report", "page.html"],
        ["--thumbnails", "lanczos q75", "--rate", "--scale", 2, "--model", "ordinary,bicubic", "--save", "images"],
        ["--carrier", "webp", "--refine", 1, "--scale", 2, "--model", "bicubic"],
    ],
    ids=str,
)
def test_a_benchmark_of_grey_and_alpha_takes_its_options_together(options, monkeypatch):
    monkeypatch.setattr("carcli.bench.rate.CODECS", ("JPEG",))
    code, out, err = bench(*options, "--json")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    carriers = {(row["carrier"], row["quality"]) for row in rows if row["event"] == "image"}
    if "--thumbnails" in options:
        assert carriers == {("jpeg", 75)}
        assert {row["file"] for row in rows if row["event"] == "rate" and row["model"]} == {"jpeg"}
    else:
        assert carriers == {("webp", None)} or carriers == {("jpeg", 50), ("jpeg", 90)}


def test_thumbnails_are_jpegs_as_carcli_writes_them():
    bicubic = load("bicubic", 2, "cpu")
    row, shown = measure(Picture(noise(32, 48)), Setup(bicubic, bicubic, thumbnails=Thumbnails("lanczos", 75)))
    thumbnail = load("lanczos", 2, "cpu").down(noise(32, 48))
    file = saved(Image.fromarray(thumbnail), "JPEG", quality=75, subsampling="4:2:0", optimize=True)
    assert (row.carrier, row.quality, row.lr_bytes) == ("jpeg", 75, len(file))
    assert np.array_equal(shown.lr, np.asarray(Image.open(io.BytesIO(file))))


def test_rates_keep_no_picture():
    rates, bicubic = Rates(8), load("bicubic", 2, "cpu")
    measured, shown = measure(Picture(noise(32, 48)), Setup(bicubic, bicubic), "set", "a.png")
    rates.image(measured, shown)
    assert not [known for known in vars(rates).values() if isinstance(known, Original | np.ndarray)]
    coded: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "save", lambda *given, **options: coded.append(given))
        rates.image(replace(measured, model="the same"), shown)
    assert coded == []  # each is coded once


# A server's strangers


@pytest.fixture
def service():
    pytest.importorskip("fastapi", reason="pip install 'carcli[serve]'")
    from carcli.serve.service import Limits, Service

    return Service("bicubic", "cpu", limits=Limits(pixels=10_000))


def test_a_server_counts_the_pixels_that_a_tag_asks_for(service):
    from carcli.rescale.turn import Cancel

    hostile("lr.png", Tag("bicubic", "", 1, 1000, 11, lr_width=8, lr_height=8, resize="bicubic"))
    with pytest.raises(ImageError, match=r"it would become 0\.0 megapixels; this server takes and makes 0\.0 at most"):
        service.up(Path("lr.png").read_bytes(), None, None, Cancel())
    hostile("lr.png", Tag("bicubic", "", 16, 8, 8, lr_width=8, lr_height=8, resize="dct"))
    with pytest.raises(ImageError, match="it would become"):
        service.up(Path("lr.png").read_bytes(), None, None, Cancel())


def test_a_server_makes_any_size_of_any_kind_and_brings_it_back(service):
    from carcli.rescale.turn import Cancel

    for kind in KINDS:
        data, mode = FILES[kind]
        small = service.down(data, "tad", 2.5, Cancel())
        assert (small.width, small.height) == (18, 14)
        assert service.info(small.file)["tag"]["version"] == 2
        back = service.up(small.file, None, None, Cancel())
        assert Image.open(io.BytesIO(back.file)).mode == mode
        assert (back.width, back.height) == (WIDTH, HEIGHT)
    assert service.info(FILES["rotated"][0])["width"] == WIDTH
    with pytest.raises(UsageError, match="only enlarges"):
        service.down(FILES["RGB"][0], "ordinary", 2, Cancel())
    with pytest.raises(WeightsError, match="keeps the size"):
        service.down(FILES["RGB"][0], "tad-grey", 2, Cancel())
    with pytest.raises(ImageError, match="it would be resized to"):
        service.down(saved(Image.fromarray(noise(90, 90))), "edsr-x4", 1.1, Cancel())


# What strangers put into XMP takes no time


def within(description: bytes) -> bytes:
    return xmp.PACKET.replace(b"></rdf:RDF>", b">" + description + b"</rdf:RDF>")


@pytest.mark.parametrize(
    "packet",
    [
        b"<x>" + b"<xmp:Thumbnails>" * 100_000,
        b"<x>" + b"<xap:Thumbnails><xmp:Thumbnails>" * 50_000,
        within(b"".join(b'<rdf:Description xmlns:c%d="%b" c%d:tag="" q="1"/>' % (i, NAMESPACE, i) for i in range(1500))),
        within(b'<rdf:Description xmlns:c="%b" c:tag="" q="1"%b/>' % (NAMESPACE, b" " * 100_000)),
    ],
    ids=["thumbnails", "two kinds of thumbnails", "prefixes", "spaces"],
)
def test_hostile_xmp_is_read_in_no_time(packet):
    data = saved(Image.fromarray(noise(8, 8)), "WEBP", lossless=True, xmp=packet)
    began = time.perf_counter()
    codec.peek(data)
    codec.decode(data)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("name", ["xmp", "xap"])
def test_thumbnails_are_taken_out_of_xmp_and_nothing_else(name):
    wanted = b"<a>1</a><%b:Thumbnails>" % name.encode()
    whole = b"<a>1</a><%b:Thumbnails>x</%b:Thumbnails><%b:Thumbnails>" % ((name.encode(),) * 3)
    assert metadata._without_thumbnails(whole) == wanted
