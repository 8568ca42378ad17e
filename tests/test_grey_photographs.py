"""Grey photographs: their LR images are in colour where a pair hides something there, and they come back grey."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import noise
from PIL import Image, ImageCms
from test_images import saved
from typer.testing import CliRunner

import carcli
from carcli.batch import Down
from carcli.batch.workers import Downscaler
from carcli.bench.compare import Setup, measure
from carcli.cli.app import app
from carcli.errors import UsageError
from carcli.images import codec, grey, metrics, profile
from carcli.images.carried import CarcliImage
from carcli.images.picture import Picture
from carcli.models.base import Pair
from carcli.models.cascade import cascade
from carcli.models.registry import build
from carcli.rescale.pictures import PictureRescaler
from carcli.rescale.refine import down_refined, refine, squared_error
from carcli.rescale.refinement import Refinement
from carcli.weights.choose import Choice
from carcli.weights.description import Description


@pytest.fixture(scope="module")
def tad() -> carcli.Rescaler:
    return carcli.load("tad", 2, device="cpu")


@pytest.fixture
def crop(photo) -> np.ndarray:
    """A grey crop, (61, 71) uint8."""
    return np.asarray(Image.fromarray(photo[20:81, 30:101]).convert("L"))


def rescaler(pair: Pair) -> PictureRescaler:
    return PictureRescaler(Choice(Description("mine", "edsr", pair.down.scale), None, ""), pair, torch.device("cpu"))


def command(*arguments: object) -> list[dict[str, object]]:
    """A command's JSON lines."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "--device", "cpu", "--precision", "fp32"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# As much is restored as of RGB


@pytest.mark.parametrize(("model", "scale"), [("tad", 2), ("tad", 4), ("edsr", 4), ("tad-x2+tad-x4", 8)])
def test_what_is_restored_is_what_rgb_restores_to(model, scale, crop):
    pair = carcli.load(model, scale, device="cpu")
    small, of_rgb = pair.down(Picture(crop[..., None])), pair.down(Picture(np.stack([crop] * 3, 2)))
    assert np.array_equal(small.pixels, of_rgb.pixels)
    assert (small.tag.grey, of_rgb.tag.grey) == (True, False)
    back = pair.up(small)
    assert back.pixels.shape == (*crop.shape, 1)
    assert np.array_equal(back.pixels, np.rint(pair.up(of_rgb).pixels.mean(2, keepdims=True)))
    if scale < 8:
        kept = pair.up(pair.down(Picture(crop[..., None]), keep_grey=True))
        assert metrics.psnr(crop, back.pixels[..., 0]) > metrics.psnr(crop, kept.pixels[..., 0]) + 2


def test_tiles_leave_no_trace(tad, photo):
    picture = Picture(photo[:61, :71, :1])
    small = tad.down_picture(picture)
    assert np.array_equal(tad.down_picture(picture, 16).pixels, small.pixels)
    assert np.array_equal(tad.up_picture(small, 16).pixels, tad.up_picture(small).pixels)


def test_the_mean_is_rounded_once():
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.integers(0, 256, (50, 60, 3), np.uint8), np.full((1, 60, 3), 255, np.uint8)])
    assert np.array_equal(grey.averaged(pixels), np.rint(pixels.mean(2, keepdims=True)))
    assert np.array_equal(grey.averaged(pixels[..., :1]), pixels[..., :1])


# Every kind of grey file

KINDS = {  # the mode that comes back
    "1": "L", "L": "L", "LA": "LA", "L with a transparent level": "LA", "1 with a transparent level": "LA",
    "2 bits": "L", "4 bits": "L", "16 bits": "L", "JPEG": "L", "TIFF": "L", "PGM": "L",
}  # fmt: skip


def make(kind: str, levels: np.ndarray) -> bytes:
    image = Image.fromarray(levels)
    match kind:
        case "1":
            return saved(image.convert("1"))
        case "1 with a transparent level":
            return saved(image.convert("1"), transparency=0)
        case "LA":
            return saved(Image.merge("LA", (image, Image.fromarray(noise(*levels.shape, 1, seed=3)[..., 0]))))
        case "L with a transparent level":
            return saved(image, transparency=int(levels[0, 0]))
        case "2 bits" | "4 bits":
            bits = int(kind[0])
            palette = Image.fromarray(levels >> (8 - bits))
            return saved(palette, bits=bits) if bits == 8 else _few_bits(levels >> (8 - bits), bits)
        case "16 bits":
            return saved(Image.fromarray(levels.astype(np.uint16) * 257))
    file = io.BytesIO()
    image.save(file, {"PGM": "PPM", "L": "PNG"}.get(kind, kind))
    return file.getvalue()


def _few_bits(values: np.ndarray, bits: int) -> bytes:
    from pngs import png

    shifts = np.arange(8 - bits, -1, -bits)
    height, width = values.shape
    full = np.pad(values, ((0, 0), (0, -width % (8 // bits)))).reshape(height, -1, 8 // bits)
    packed = (full << shifts).sum(2).astype(np.uint8)
    return png(b"".join(b"\0" + row.tobytes() for row in packed), width, height, bits, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*16 bits")
def test_every_kind_of_grey_file_comes_back_grey(tmp_path, tad, crop, kind):
    source, small, back = (tmp_path / name for name in ("photo.img", "small.png", "back.png"))
    source.write_bytes(make(kind, crop))
    original = carcli.read(source)
    assert original.pixels.shape[2] == 1
    command("down", source, "-o", small, "--model", "tad", "--scale", 2)
    (record, _) = command("up", small, "-o", back)
    assert (record["output_width"], record["output_height"]) == original.size
    with Image.open(small) as lr, Image.open(back) as sr:
        assert lr.mode == {"L": "RGB", "LA": "RGBA"}[KINDS[kind]]
        assert sr.mode == KINDS[kind]
    assert carcli.read(small).tag.grey
    if kind in ("L", "16 bits", "JPEG", "TIFF", "PGM"):
        assert metrics.psnr(original.pixels, carcli.read(back).pixels) > 38
    assert np.array_equal(tad.up(tad.down(source)).pixels, carcli.read(back).pixels)  # the library's are the same


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40), (33, 2)])
def test_any_size(tad, size):
    small = codec.decode(tad.down_bytes(saved(Image.fromarray(noise(*size, 1)[..., 0]))))
    assert tad.up(small).pixels.shape == (*size, 1)


# Whatever holds an image


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.filterwarnings("ignore:.*16 bits")
def test_pillows_images_come_back_in_their_mode(tmp_path, tad, crop, mode):
    image = Image.fromarray(crop.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(crop).convert(mode)
    small = tad.down(image)
    assert small.mode == ("RGBA" if mode == "LA" else "RGB")
    assert isinstance(small, CarcliImage)
    small.save(tmp_path / "small.png")
    restored = [tad.up(small), carcli.up(small), carcli.up(Image.open(tmp_path / "small.png"))]
    for back in restored:
        assert (back.mode, back.size) == ("LA" if mode == "LA" else "L", image.size)
        assert np.array_equal(np.asarray(back), np.asarray(restored[0]))
    assert tad.down(image, keep_grey=True).mode == ("LA" if mode == "LA" else "L")


def test_arrays_and_tensors_stay_grey_by_themselves(tad, crop):
    """They carry no tag that would say that they were."""
    pictures = tad.down(Picture(crop[..., None]), keep_grey=True), tad.down(Picture(crop[..., None]))
    tensor = torch.from_numpy(crop.copy())
    for image, shape in ((crop, (31, 36)), (crop[..., None], (31, 36, 1)), (tensor[None], (1, 31, 36))):
        small = tad.down(image)
        assert small.shape == shape
        assert np.array_equal(np.asarray(small).ravel(), pictures[0].pixels.ravel())
        assert tad.up(small, size=(71, 61)).shape == image.shape
    assert [tuple(small.shape) for small in tad.down([crop, tensor[None]])] == [(31, 36), (1, 31, 36)]
    alpha = np.stack([crop, crop], 2)
    assert tad.down(alpha).shape == (31, 36, 2)


def test_arrays_and_tensors_become_colour_where_that_is_asked_for(tad, crop):
    expected = tad.up(tad.down(Picture(crop[..., None]))).pixels
    tensor = torch.from_numpy(crop.copy())[None].float() / 255
    small = tad.down(crop, keep_grey=False)
    assert small.shape == (31, 36, 3)
    assert np.array_equal(tad.up(small, size=(71, 61), grey=True), expected)
    assert tad.up(small, size=(71, 61)).shape == (61, 71, 3)
    of_tensor = tad.up(tad.down(tensor, keep_grey=False), size=(71, 61), grey=True)
    assert np.array_equal((of_tensor * 255).round().numpy()[0], expected[..., 0])


def test_several_of_different_kinds_go_each_its_own_way(tad, crop):
    image, array = tad.down([Image.fromarray(crop), crop])
    assert (image.mode, array.shape) == ("RGB", (31, 36))


# Where nothing is hidden in colours


@pytest.mark.parametrize(("model", "scale"), [("bicubic", 3), ("lanczos", 2), ("edsr-base-x4", 4)])
def test_a_pair_with_one_kernel_for_all_channels_keeps_grey(model, scale, crop):
    pair = carcli.load(model, scale, device="cpu")
    small = pair.down(Picture(crop[..., None]))
    assert small.pixels.shape[2] == 1
    of_rgb = pair.down(Picture(np.stack([crop] * 3, 2))).pixels
    assert np.array_equal(of_rgb, grey.in_colour(small.pixels))
    back = pair.up(small)
    assert back.pixels.shape == (*crop.shape, 1)
    in_colour = pair.up(Picture(of_rgb)).pixels[:61, :71].mean(2, keepdims=True)  # rounded before the mean, not after
    assert np.abs(in_colour - back.pixels).max() <= 1


def test_plain_super_resolution_keeps_grey(crop):
    pair = rescaler(build("edsr", 2, {"down": {"net": "bicubic"}, "up": {"features": 8, "blocks": 1}}))
    assert pair.down_picture(Picture(crop[..., None])).pixels.shape[2] == 1


def test_a_chain_keeps_grey_where_each_of_it_does():
    bicubic, tad = (carcli.load(model, 2, device="cpu").networks for model in ("bicubic", "tad"))
    assert cascade([bicubic, bicubic]).down.keeps_grey
    assert not cascade([bicubic, tad]).down.keeps_grey


def test_classical_pairs_compute_one_channel_for_grey(monkeypatch, crop):
    pair = carcli.load("bicubic", 2, device="cpu")
    seen = []
    for net in pair.networks:
        honest = net.forward
        monkeypatch.setattr(net, "forward", lambda x, honest=honest: seen.append(x.shape[1]) or honest(x))
    pair.up(pair.down(crop))
    assert seen == [1, 1]


def test_an_lr_image_whose_channels_come_out_equal_is_grey(crop):
    """A fresh network hides nothing yet."""
    pair = rescaler(build("tad", 2, {"down": {"features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 1}}))
    with torch.no_grad():
        pair.networks.down.tail.weight.zero_()
        pair.networks.down.tail.bias.zero_()
    small = pair.down_picture(Picture(crop[..., None]))
    assert small.pixels.shape == (31, 36, 1)
    assert np.array_equal(small.pixels, carcli.load("bicubic", 2, device="cpu").down(crop[..., None]))
    odd = np.full((4, 5, 3), 9, np.uint8)
    odd[3, 4, 2] += 1
    assert grey.collapsed(odd) is odd


# What forbids it


def test_grey_that_is_kept_takes_fewer_bytes(tmp_path, photo):
    crop = photo[..., 1]
    Image.fromarray(crop).save(tmp_path / "photo.png")
    for name, option in (("colour", ()), ("kept", ("--keep-grey",))):
        command("down", tmp_path / "photo.png", "-o", tmp_path / f"{name}.png", "--model", "tad", *option)
        command("up", tmp_path / f"{name}.png", "-o", tmp_path / f"{name}-back.png")
    with Image.open(tmp_path / "kept.png") as small, Image.open(tmp_path / "kept-back.png") as back:
        assert (small.mode, back.mode) == ("L", "L")
    assert (tmp_path / "kept.png").stat().st_size < (tmp_path / "colour.png").stat().st_size / 2


def test_another_setting_is_noticed_by_the_journal(tmp_path, crop):
    Image.fromarray(crop).save(tmp_path / "photo.png")
    arguments = "down", tmp_path / "photo.png", "-o", tmp_path / "lr", "--model", "tad"
    command(*arguments)
    assert command(*arguments)[0]["existing"] == "same"
    assert command(*arguments, "--keep-grey")[0]["existing"] == "settings"
    assert command(*arguments, "--keep-grey", "--overwrite")[0]["status"] == "done"
    assert command(*arguments, "--keep-grey")[0]["existing"] == "same"


def test_colour_hidden_in_grey_and_grey_that_is_kept_contradict_each_other(tmp_path, crop):
    Image.fromarray(crop).save(tmp_path / "photo.png")
    result = CliRunner().invoke(app, ["down", str(tmp_path / "photo.png"), "--to-grey", "--keep-grey"])
    assert result.exit_code != 0
    assert "--to-grey and --keep-grey contradict each other" in result.output + str(result.exception)
    with pytest.raises(UsageError):
        Down(to_grey=True, keep_grey=True)


def test_keeping_grey_changes_nothing_of_colour(tad, photo):
    picture = Picture(photo[:40, :50])
    assert np.array_equal(tad.down(picture, keep_grey=True).pixels, tad.down(picture).pixels)


# What was made before, and what others make of it


def test_a_grey_lr_file_of_earlier_versions_is_restored(tmp_path, tad, crop):
    """One channel, and a tag that does not say grey."""
    small = tad.down(Picture(crop[..., None]), keep_grey=True)
    replace(small, tag=replace(small.tag, grey=False)).save(tmp_path / "old.png")
    back = carcli.up(tmp_path / "old.png", device="cpu")
    assert np.array_equal(back.pixels, tad.up(small).pixels)
    assert back.pixels.shape == (*crop.shape, 1)


def test_a_grey_lr_file_that_a_program_wrote_as_rgb_comes_back_grey(tad, crop):
    small = tad.down(Picture(crop[..., None]), keep_grey=True)
    as_rgb = replace(small, pixels=np.repeat(small.pixels, 3, 2))
    assert np.abs(tad.up(as_rgb).pixels.astype(int) - tad.up(small).pixels).max() <= 1


def test_an_lr_file_in_colour_that_a_program_wrote_as_grey_comes_back_grey(tad, crop):
    small = tad.down(Picture(crop[..., None]))
    assert tad.up(replace(small, pixels=grey.averaged(small.pixels))).pixels.shape == (*crop.shape, 1)


def test_info_says_that_the_original_was_grey(tmp_path, tad, crop):
    tad.down(Picture(crop[..., None])).save(tmp_path / "small.png")
    said = CliRunner().invoke(app, ["info", str(tmp_path / "small.png")]).output
    assert "RGB" in said
    assert "original 71x61 grey" in said


# Refinement


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fast", "hcd"])
@pytest.mark.parametrize("keep_grey", [False, True])
def test_grey_is_refined_in_as_many_channels_as_its_lr_has(tad, crop, method, keep_grey):
    picture = Picture(crop[..., None])
    lr, found = down_refined(tad, picture, Refinement(6, method), keep_grey=keep_grey)
    assert lr.pixels.shape == (31, 36, 1 if keep_grey else 3)
    assert lr.tag.grey
    back = tad.up(lr).pixels
    assert found.after == pytest.approx(float(np.mean((back.astype(float) - picture.pixels) ** 2)))
    assert found.after <= found.before
    if method == "fast":
        assert found.gain > 0.05
        assert lr.tag.refinement.startswith("fast 6 +")


def test_what_a_refinement_of_grey_brought_is_told(tad, crop):
    (note,) = Downscaler(tad, Refinement(2))(Picture(crop[..., None])).notes
    assert "LR against bicubic" in note


def test_the_error_of_colour_from_grey_is_that_of_what_comes_back():
    pair = carcli.load("tad", 1, device="cpu")
    picture = Picture(noise(20, 24, 1))
    small = pair.down(picture)
    back = pair.up(small).pixels
    assert squared_error(pair, picture.pixels, small.pixels) == pytest.approx(
        float(np.mean((back.astype(float) - picture.pixels) ** 2))
    )
    assert refine(pair, picture.pixels, small.pixels, Refinement(2)).gain >= 0


# Profiles


def grey_profile(gamma: float = 1.8, space: bytes = b"XYZ ", curve: bytes | None = None) -> bytes:
    """A grey profile (version 2) of a display with that gamma."""
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Grey\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = curve or b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    elements = {b"desc": name, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": white, b"kTRC": curve}
    table, body, begin = struct.pack(">I", len(elements)), b"", 132 + 12 * len(elements)
    for signature, element in elements.items():
        table += struct.pack(">4sII", signature, begin + len(body), len(element))
        body += element + bytes(-len(element) % 4)
    date = struct.pack(">6H", 2020, 1, 2, 3, 4, 5)
    head = struct.pack(">I4xI4s4s4s12s4s", begin + len(body), 0x02100000, b"mntr", b"GRAY", space, date, b"acsp")
    return (head.ljust(68, b"\0") + white[8:]).ljust(128, b"\0") + table + body


def as_srgb(image: Image.Image, icc: bytes) -> np.ndarray:
    """What a colour-managed viewer shows of levels with a profile."""
    opened, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(
        image, opened, srgb, outputMode="RGB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    return np.asarray(shown).astype(int)


RAMP = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
BROKEN = grey_profile()[:140]  # a header, and a table that is cut
STRANGE = bytes(16) + b"GRAY" + bytes(16) + b"acsp" + b"\xff" * 100


@pytest.mark.parametrize("icc", [grey_profile(), grey_profile(space=b"Lab "), BROKEN, STRANGE], ids=["1.8", "Lab", "cut", "junk"])
@pytest.mark.parametrize("keep_grey", [False, True])
def test_a_grey_profile_comes_back_byte_for_byte(tmp_path, crop, icc, keep_grey):
    source, small, back = (tmp_path / name for name in ("photo.png", "small.png", "back.png"))
    source.write_bytes(saved(Image.fromarray(crop), icc_profile=icc))
    command("down", source, "-o", small, "--model", "tad", *(["--keep-grey"] if keep_grey else []))
    assert command("up", small, "-o", back)[0]["notes"] == []
    assert carcli.read(small).icc[16:20] == (b"GRAY" if keep_grey else b"RGB ")
    assert carcli.read(small).notes == ()
    assert carcli.read(back).icc == icc


def test_a_grey_profile_survives_pillow(tmp_path, tad, crop):
    icc = grey_profile()
    tad.down(Image.open(io.BytesIO(saved(Image.fromarray(crop), icc_profile=icc)))).save(tmp_path / "small.png")
    assert carcli.up(Image.open(tmp_path / "small.png")).info["icc_profile"] == icc


@pytest.mark.parametrize(
    "curve",
    [
        None,
        b"curv" + bytes(4) + struct.pack(">I5H", 5, 0, 3000, 11000, 30000, 65535) + bytes(2),
        profile.SRGB_CURVE,
    ],
    ids=["gamma", "table", "function"],
)
def test_the_lr_image_in_colour_is_shown_as_the_grey_one_would_be(curve):
    icc = grey_profile(curve=curve)
    wrapped, notes = profile.in_colour(icc)
    assert notes == ()
    assert np.abs(as_srgb(RAMP.convert("RGB"), wrapped) - as_srgb(RAMP, icc)).max() <= 1


@pytest.mark.parametrize("icc", [grey_profile(space=b"Lab "), BROKEN, STRANGE])
def test_where_there_is_no_curve_it_is_shown_as_without_a_profile(icc):
    wrapped, _ = profile.in_colour(icc)
    assert np.abs(as_srgb(RAMP.convert("RGB"), wrapped) - np.asarray(RAMP.convert("RGB"))).max() <= 1


def test_what_is_inside_a_strangers_profile_is_looked_at_first():
    wrapped, _ = profile.in_colour(grey_profile())
    at = wrapped.index(grey_profile())
    assert profile.in_grey(wrapped[:at] + bytes(len(wrapped) - at)) == (None, (profile.DAMAGED_PROFILE,))
    inside = wrapped.replace(b"GRAY", b"CMYK")
    assert profile.in_grey(inside)[0] is None
    assert profile.in_grey(inside)[1][0].startswith("its colour profile is for another kind of image (CMYK)")
    for cut in range(0, len(wrapped), 13):
        profile.in_grey(wrapped[:cut])
        profile.in_colour(grey_profile()[:cut])


# Benchmarks


def test_a_benchmark_takes_a_grey_file_as_the_commands_do(tmp_path, crop):
    levels = crop[:60, :70]
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(levels).save(folder / "photo.png")
    command("down", folder / "photo.png", "-o", tmp_path / "small.png", "--model", "tad", "--scale", 2)
    command("up", tmp_path / "small.png", "-o", tmp_path / "back.png")
    back = carcli.read(tmp_path / "back.png").pixels
    measuring = "bench", "--dataset", folder, "--scale", 2
    lines = command(*measuring, "--model", "tad,bicubic", "--report", tmp_path / "page.html", "--save", tmp_path / "saved")
    image = next(line for line in lines if line["event"] == "image" and line["model"] == "tad-x2")
    as_rgb = [grey.in_colour(pixels) for pixels in (levels[..., None], back)]
    assert image["psnr_y"] == pytest.approx(metrics.psnr_y(*as_rgb, 2))
    assert image["lr_bytes"] == (tmp_path / "small.png").stat().st_size
    assert image["lr_psnr_rgb"] < 60
    bicubic = next(line for line in lines if line["event"] == "image" and line["model"] == "bicubic")
    assert bicubic["lr_psnr_rgb"] is None  # infinite
    assert (tmp_path / "page.html").stat().st_size
    with Image.open(tmp_path / "saved" / "set" / "tad-x2-x2" / "photo.sr.png") as shown:
        assert np.array_equal(np.asarray(shown), as_rgb[1])
    (kept, *_) = command(*measuring, "--model", "tad", "--keep-grey")
    assert kept["psnr_y"] < image["psnr_y"] - 3
    assert kept["lr_bytes"] < image["lr_bytes"] / 2


def test_colour_from_grey_is_measured_on_grey_too():
    pair = carcli.load("tad", 1, device="cpu")
    measured, shown = measure(Picture(noise(24, 32, 1)), Setup(pair, carcli.load("bicubic", 1, device="cpu")))
    assert shown.sr.shape == (24, 32, 3)
    assert np.array_equal(shown.sr[..., 0], shown.sr[..., 2])
    assert np.isfinite(measured.psnr_rgb)
