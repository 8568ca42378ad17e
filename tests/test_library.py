"""The library: every kind of image in, the same kind out, and what is saved plainly can be restored."""

from __future__ import annotations

import copy
import doctest
import importlib
import io
import json
import pickle
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, noise
from PIL import ExifTags, Image, ImageFilter
from test_images import SRGB, png_16, saved
from typer.testing import CliRunner

import carcli
from carcli.cli.app import app
from carcli.images import codec, metrics
from carcli.images.carried import CarcliImage

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bicubic() -> carcli.Rescaler:
    return carcli.load("bicubic", scale=4, device="cpu")


@pytest.fixture(scope="module")
def tad() -> carcli.Rescaler:
    return carcli.load("tad", scale=4, device="cpu")


@pytest.fixture
def crop(photo) -> np.ndarray:
    return photo[20:81, 30:101]


def command(*arguments: object) -> list[dict[str, object]]:
    """A command's JSON lines."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# What is saved plainly comes back with the right model.


def test_a_thumbnail_saved_by_pillow_is_restored_by_the_model_that_made_it(tmp_path, tad, crop):
    tad.down(Image.fromarray(crop)).save(tmp_path / "small.png")
    (record, *_) = command("up", tmp_path / "small.png", "-o", tmp_path / "back.png", "--device", "cpu")
    assert record["model"] == "tad-x4"
    with Image.open(tmp_path / "back.png") as image:
        back = np.asarray(image)
    assert back.shape == crop.shape
    by_another = carcli.load("edsr-base-x4", device="cpu").up(tad.down(crop), size=(71, 61))
    assert metrics.psnr_y(crop, back, 4) > metrics.psnr_y(crop, by_another, 4) + 1


@pytest.mark.parametrize("kind", ["PIL image", "str", "path", "bytes", "file"])
def test_what_down_makes_of_a_file_has_save(tmp_path, bicubic, crop, kind):
    source = tmp_path / "photo.png"
    Image.fromarray(crop).save(source)
    with source.open("rb") as file, Image.open(source) as image:
        images = {"PIL image": image, "str": str(source), "path": source, "bytes": source.read_bytes(), "file": file}
        bicubic.down(images[kind]).save(tmp_path / "small.png")
    (record, *_) = command("up", tmp_path / "small.png", "-o", tmp_path / "back.png", "--device", "cpu")
    assert (record["model"], record["output_width"], record["output_height"]) == ("bicubic", 71, 61)


def test_the_librarys_png_is_the_command_lines(tmp_path, bicubic):
    command("down", PHOTOS / "cat.jpg", "-o", tmp_path / "small.png", "--model", "bicubic", "--device", "cpu")
    data = (PHOTOS / "cat.jpg").read_bytes()
    bicubic.down(PHOTOS / "cat.jpg").save(tmp_path / "picture.png")
    carcli.save(tmp_path / "saved.png", bicubic.down(Image.open(PHOTOS / "cat.jpg")))
    expected = (tmp_path / "small.png").read_bytes()
    assert (tmp_path / "picture.png").read_bytes() == expected
    assert (tmp_path / "saved.png").read_bytes() == expected
    assert bicubic.down_bytes(data) == expected
    assert codec.decode(bicubic.up_bytes(expected)).size == codec.decode(data).size


def test_pillows_save_keeps_profile_exif_and_the_users_own_chunks(tmp_path, bicubic, crop):
    from PIL.PngImagePlugin import PngInfo

    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif[ExifTags.Base.Orientation] = 6
    small = bicubic.down(Image.open(io.BytesIO(saved(Image.fromarray(crop), icc_profile=SRGB, exif=exif))))
    own = PngInfo()
    own.add_text("Title", "mine")
    small.save(tmp_path / "small.png", pnginfo=own)
    with Image.open(tmp_path / "small.png") as again:
        assert again.text["Title"] == "mine"
    picture = carcli.read(tmp_path / "small.png")
    assert picture.icc == SRGB
    assert picture.tag.width == crop.shape[0]  # turned
    back = carcli.up(Image.open(tmp_path / "small.png"))
    back.save(tmp_path / "back.jpg")
    with Image.open(tmp_path / "back.jpg") as restored:
        assert restored.size == (crop.shape[0], crop.shape[1])
        assert restored.info["icc_profile"] == SRGB
        assert restored.getexif()[ExifTags.Base.Artist] == "somebody"
        assert restored.getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("duplicate", [lambda i: i.copy(), copy.copy, copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i))])
def test_copies_keep_the_tag(tmp_path, bicubic, crop, duplicate):
    duplicate(bicubic.down(Image.fromarray(crop))).save(tmp_path / "small.png")
    assert carcli.read(tmp_path / "small.png").tag is not None


def test_a_plain_pillow_image_that_remembers_the_tag_keeps_it_through_carclis_save(tmp_path, bicubic, crop):
    small = bicubic.down(Image.fromarray(crop))
    small.save(tmp_path / "small.png")
    plain = Image.open(tmp_path / "small.png").convert("RGB")
    assert not isinstance(plain, CarcliImage)
    carcli.save(tmp_path / "again.png", plain)
    assert carcli.up(tmp_path / "again.png").size == (71, 61)


def test_an_edited_image_is_an_ordinary_one(tmp_path, bicubic, crop):
    small = bicubic.down(Image.fromarray(crop))
    for edited in (small.resize((9, 9)), small.crop((1, 1, 5, 5)), small.filter(ImageFilter.BLUR)):
        edited.save(tmp_path / "edited.png")
        assert carcli.read(tmp_path / "edited.png").tag is None


def test_an_image_shrunk_in_place_is_saved_without_the_tag_that_no_longer_holds(tmp_path, bicubic, crop):
    small = bicubic.down(Image.fromarray(crop))
    small.thumbnail((8, 8))
    with pytest.warns(UserWarning, match="cropped or resized"):
        small.save(tmp_path / "small.png")
    assert carcli.read(tmp_path / "small.png").tag is None


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_a_format_that_loses_the_tag_says_so(tmp_path, bicubic, crop, suffix):
    with pytest.warns(UserWarning, match="save it as PNG"):
        bicubic.down(Image.fromarray(crop)).save(tmp_path / f"small{suffix}")


def test_a_file_object_of_a_named_format_gets_the_tag(bicubic, crop):
    file = io.BytesIO()
    bicubic.down(Image.fromarray(crop)).save(file, format="png")
    assert carcli.up(file.getvalue()).size == (71, 61)


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path, bicubic, crop):
    picture = bicubic.down(carcli.Picture(crop))
    with pytest.raises(carcli.UsageError, match=r"small\.bmp: carcli writes png, webp, jpeg, avif"):
        picture.save(tmp_path / "small.bmp")
    with pytest.raises(carcli.ImageError, match="cannot be written"):
        picture.save(tmp_path / "nowhere" / "small.png")
    assert list(tmp_path.iterdir()) == []


# The tag chooses the model.


def test_up_takes_the_model_of_each_images_tag(tad, bicubic, crop):
    made = [tad.down(carcli.Picture(crop)), bicubic.down(carcli.Picture(crop))]
    assert [carcli.load_for(small, device="cpu").id for small in made] == [tad.id, "bicubic"]
    for restored, pair, small in zip(carcli.up(made, device="cpu"), (tad, bicubic), made, strict=True):
        assert np.array_equal(restored.pixels, pair.up(small).pixels)


def test_another_models_image_is_refused_unless_its_tag_is_ignored(tad, bicubic, crop):
    small = bicubic.down(Image.fromarray(crop))
    with pytest.raises(carcli.ImageError, match=r"was made with bicubic at scale 4, not tad-x4 .* ignore its tag"):
        tad.up(small)
    assert tad.up(small, ignore_tag=True).size == (small.width * 4, small.height * 4)


@pytest.mark.parametrize("restore", [carcli.up, carcli.load_for])
def test_an_image_without_a_tag_names_no_model(restore, crop):
    with pytest.raises(carcli.ImageError, match=r"has no carcli tag.*carcli\.load"):
        restore(crop)


def test_a_cropped_image_is_noticed(bicubic, crop):
    small = bicubic.down(Image.fromarray(crop)).crop((0, 0, 9, 9))
    for restore in (carcli.up, bicubic.up):
        with pytest.raises(carcli.ImageError, match="it was cropped or resized; ignore its tag"):
            restore(small)


def test_a_tag_of_an_unknown_checkpoint_says_how_to_go_on(bicubic, crop):
    small = bicubic.down(carcli.Picture(crop))
    stranger = replace(small, tag=replace(small.tag, checkpoint="mine.safetensors"))
    with pytest.raises(carcli.ImageError, match=r"does not have; load its \.safetensors file"):
        carcli.up(stranger)


# Every kind of image goes through the image policy, and comes back as what it was.

MODES = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA",
    "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "I;16": "L", "I;16B": "L", "I": "L",
}  # fmt: skip


def in_mode(mode: str) -> Image.Image:
    rgba = Image.fromarray(noise(19, 22, 4))
    if mode == "P":
        image = rgba.convert("RGB").quantize(16)
        image.info["transparency"] = 0
        return image
    if mode in ("I;16", "I;16B", "I"):
        values = np.random.default_rng(0).integers(0, 65536, (19, 22))
        kinds = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}
        return Image.frombytes(mode, (22, 19), values.astype(kinds[mode]).tobytes())
    if mode == "PA":
        return rgba.convert("LA").convert("PA")
    steps = {"La": ["LA"], "RGBa": ["RGBA"], "LA": ["LA"], "LAB": ["RGB"]}.get(mode, ["RGB"] if mode != "RGBA" else [])
    image = rgba
    for step in steps:
        image = image.convert(step)
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    return image.convert(mode)


@pytest.mark.filterwarnings("ignore:16 bits")
@pytest.mark.parametrize(("mode", "out"), MODES.items())
def test_a_pil_image_of_any_mode_comes_back(bicubic, mode, out):
    image = in_mode(mode)
    assert image.mode == mode
    small = bicubic.down(image)
    assert (small.mode, small.size) == (out, (6, 5))
    back = bicubic.up(small)
    assert (back.mode, back.size) == (out, (22, 19))
    assert image.mode == mode


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "RGB16"])
def test_a_pil_image_is_read_as_its_file_is(bicubic, mode):
    if mode == "RGB16":
        data = png_16(np.random.default_rng(0).integers(0, 65536, (19, 22, 3), dtype=np.uint16))
    else:
        data = saved(in_mode(mode), "TIFF" if mode == "CMYK" else "PNG")
    expected = codec.decode(data)
    for image in (Image.open(io.BytesIO(data)), data, io.BytesIO(data)):
        with pytest.warns(UserWarning, match="16 bits") if mode == "RGB16" else nullcontext():
            small = bicubic.down(image)
        got = small if isinstance(small, carcli.Picture) else codec.decode(saved(small))
        want = bicubic.down(expected)
        assert np.array_equal(got.pixels, want.pixels)
        assert (got.alpha is None) == (want.alpha is None)
        assert want.alpha is None or np.array_equal(got.alpha, want.alpha)


def test_a_16_bit_file_on_disk_is_rounded_when_pillow_opens_it(tmp_path, bicubic):
    path = tmp_path / "deep.png"
    path.write_bytes(png_16(np.random.default_rng(0).integers(0, 65536, (8, 8, 3), dtype=np.uint16)))
    with Image.open(path) as image, pytest.warns(UserWarning, match=r"deep\.png: 16 bits a channel were rounded"):
        assert np.array_equal(np.asarray(bicubic.down(image)), bicubic.down(codec.read(path)).pixels)


def test_orientation_of_a_pil_image_is_applied_and_its_owner_keeps_it(bicubic, crop):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = Image.open(io.BytesIO(saved(Image.fromarray(crop), "JPEG", exif=exif, quality=95)))
    small = bicubic.down(image)
    assert small.size == (16, 18)
    assert bicubic.up(small).size == (61, 71)
    assert image.getexif()[ExifTags.Base.Orientation] == 6
    assert image.size == (71, 61)


@pytest.mark.parametrize("shape", [(19, 22), (19, 22, 1), (19, 22, 2), (19, 22, 3), (19, 22, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
def test_arrays_come_back_as_they_were(bicubic, shape, dtype):
    levels = noise(19, 22, shape[2] if len(shape) == 3 else 1).reshape(shape)
    array = levels if dtype == "uint8" else (levels / 255).astype(dtype)
    small = bicubic.down(array)
    assert small.dtype == dtype
    assert small.shape == (5, 6, *shape[2:])
    back = bicubic.up(small, size=(22, 19))
    assert (back.dtype, back.shape) == (dtype, shape)
    assert np.array_equal(np.rint(small.astype(float) * (1 if dtype == "uint8" else 255)), bicubic.down(levels))


def test_16_bit_arrays_are_rounded_with_a_warning(bicubic):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), dtype=np.uint16)
    with pytest.warns(UserWarning, match="16 bits a channel were rounded to 8") as warned:
        small, (again,) = bicubic.down(values), bicubic.down([values])
    assert {warning.filename for warning in warned} == {__file__}
    assert np.array_equal(small, bicubic.down(codec.decode(png_16(values))).pixels)
    assert np.array_equal(small, again)


def test_views_of_any_strides_are_taken(bicubic, photo):
    view = photo[::-2, ::-3]
    view.flags.writeable = False
    assert np.array_equal(bicubic.down(view), bicubic.down(np.ascontiguousarray(view)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_tensors_come_back_as_they_were(bicubic, channels, batched, dtype):
    levels = noise(19, 22, channels)
    tensor = torch.from_numpy(levels.transpose(2, 0, 1).copy())
    tensor = tensor if dtype == torch.uint8 else (tensor.to(dtype) / 255).requires_grad_()
    tensor = tensor[None] if batched else tensor
    small = bicubic.down(tensor)
    assert small.dtype == dtype
    assert small.shape == (*(1,) * batched, channels, 5, 6)
    assert small.device == tensor.device
    scale = 1 if dtype == torch.uint8 else 255
    planes = (small[0] if batched else small).double() * scale
    assert np.array_equal(planes.round().permute(1, 2, 0).numpy(), bicubic.down(levels))
    assert bicubic.up(small, size=(22, 19)).shape == tensor.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_tensor_on_a_device_comes_back_there():
    tensor = torch.rand(3, 19, 22, device="cuda")
    assert carcli.load("bicubic").down(tensor).device == tensor.device


def test_alpha_of_an_array_is_resampled_apart_from_its_colours(bicubic):
    rgba = noise(19, 22, 4)
    rgba[..., 3] |= 32  # what is hardly seen is another matter
    small = bicubic.down(rgba)
    assert np.array_equal(small[..., :3], bicubic.down(rgba[..., :3]))


def test_colour_comes_from_grey_arrays_too(crop):
    pair = carcli.load("tad", scale=1, device="cpu")
    grey = pair.down(Image.fromarray(crop))
    assert grey.mode == "L"
    assert pair.down(crop).shape == (61, 71, 1)
    assert pair.up(np.asarray(grey)).shape == (61, 71, 3)


# Several at once, tiles, progress, cancelling, refinement.


def test_several_images_give_a_list(bicubic, crop):
    images = [crop, Image.fromarray(crop), carcli.Picture(crop), torch.from_numpy(crop.transpose(2, 0, 1).copy())]
    made = bicubic.down(iter(images))
    assert [type(m) for m in made] == [np.ndarray, CarcliImage, carcli.Picture, torch.Tensor]
    restored = bicubic.up(made, size=(71, 61))
    assert all(np.array_equal(r, restored[0]) for r in (np.asarray(restored[1]), restored[2].pixels))
    assert bicubic.down([]) == []


def test_paths_of_a_folder_are_several_images(bicubic):
    paths = sorted(PHOTOS.glob("*.png"))
    assert [small.tag.checkpoint for small in bicubic.down(paths)] == ["bicubic"] * len(paths)


@pytest.mark.parametrize("verb", ["down", "up"])
def test_progress_rises_from_0_to_1(bicubic, verb):
    shares: list[float] = []
    images = [noise(90, 100, 4), noise(50, 60)]
    getattr(bicubic, verb)(images, tile=16, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len(set(shares)) > 4


def test_progress_of_a_cascade_counts_the_tiles_of_all_its_steps(photo):
    shares: list[float] = []
    carcli.load("bicubic", 4).down(photo, progress=shares.append, tile=16)
    assert shares == sorted(set(shares))
    cascade: list[float] = []
    carcli.load("tad-x2", scale=4, device="cpu").down(photo[:70, :70], progress=cascade.append, tile=16)
    assert cascade == sorted(set(cascade))
    assert len(cascade) > 3


@pytest.mark.parametrize("options", [{}, {"refinement": 50}])
def test_a_cancelled_call_ends_with_abandoned(bicubic, crop, options):
    cancel = carcli.Cancel()

    def progress(share: float) -> None:
        if share > 0.1:
            cancel.request()

    with pytest.raises(carcli.Abandoned):
        bicubic.down([crop] * 5, tile=16, progress=progress, cancel=cancel, **options)
    assert bicubic.down(crop).shape == (16, 18, 3)


def test_no_tile_changes_the_result(bicubic, photo):
    assert np.array_equal(bicubic.down(photo, tile=16), bicubic.down(photo))


def test_refinement_is_what_the_command_line_does(tmp_path, bicubic, crop):
    source = tmp_path / "photo.png"
    Image.fromarray(crop).save(source)
    command("down", source, "-o", tmp_path / "small.png", "--model", "bicubic", "--refine", 4, "--device", "cpu")
    shares: list[float] = []
    small = bicubic.down(source, refinement=4, progress=shares.append)
    assert codec.to_bytes(small) == (tmp_path / "small.png").read_bytes()
    assert small.tag.refinement.startswith("fast 4")
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert np.array_equal(bicubic.down(crop, refinement=carcli.Refinement(4)), small.pixels)
    assert np.array_equal(bicubic.down(crop, refinement=0), bicubic.down(crop))


# Errors are one line, and speak of arguments.


@pytest.mark.parametrize("scale", [0, -2, 129, 1 << 40, True, 0.5, float("nan"), float("inf"), "4", "2.5"])
def test_a_scale_that_makes_no_sense_is_refused(scale):
    with pytest.raises(carcli.UsageError, match="scale is a number from 1 to 128, not"):
        carcli.load("edsr", scale=scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "model is a family"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"device": "xpu"}, "unknown device 'xpu'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(options, message):
    with pytest.raises(carcli.UsageError, match=message) as error:
        carcli.load(**options)
    assert "--" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_one_line_without_flags():
    with pytest.raises(carcli.UsageError, match="this machine has no device 'cuda'; use cpu") as error:
        carcli.load(device="cuda")
    assert "--" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((-1, -1), "each at least 1"),
        ((0, 5), "each at least 1"),
        ((5,), r"\(width, height\)"),
        (5, r"\(width, height\)"),
        ((5.5, 5), r"\(width, height\)"),
        ((25, 20), "beyond the restored image, which is 24x20"),
        ((24, 21), "size 24x21 is beyond the restored image"),
    ],
)
def test_a_size_that_makes_no_sense_is_refused(bicubic, size, message):
    with pytest.raises(carcli.UsageError, match=message):
        bicubic.up(noise(5, 6), size=size)


def test_a_size_is_checked_against_the_originals_where_the_tag_says_it(bicubic, crop):
    small = bicubic.down(carcli.Picture(crop))
    assert bicubic.up(small, size=(70, 60)).size == (70, 60)
    with pytest.raises(carcli.UsageError, match="which is 71x61"):
        bicubic.up(small, size=(72, 61))


@pytest.mark.parametrize(
    "options", [{"tile": 0}, {"tile": 15}, {"tile": True}, {"tile": 20.0}, {"refinement": -1}, {"refinement": "fast"}]
)
def test_other_options_that_make_no_sense_are_refused(bicubic, crop, options):
    with pytest.raises(carcli.UsageError, match=r"(tile|refinement) is a whole number at least"):
        bicubic.down(crop, **options)


ODD = {
    "nothing in it": (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
    "a number": (np.zeros((), np.uint8), "expected an array"),
    "five channels": (np.zeros((4, 4, 5), np.uint8), "1, 2, 3 or 4 channels"),
    "channels first": (np.zeros((3, 40, 40), np.uint8), "expected an array"),
    "four dimensions": (np.zeros((1, 4, 4, 3), np.uint8), "expected an array"),
    "int64": (np.zeros((4, 4, 3), np.int64), "not int64"),
    "bool": (np.zeros((4, 4), bool), "not bool"),
    "complex": (np.zeros((4, 4), complex), "not complex128"),
    "NaN": (np.full((4, 4, 3), np.nan), "not finite"),
    "infinite": (np.full((4, 4, 3), np.inf), "not finite"),
    "beyond 1": (np.full((4, 4, 3), 1.1), r"outside \[0, 1\]"),
    "below 0": (np.full((4, 4, 3), -0.1), r"outside \[0, 1\]"),
    "a batch": (torch.zeros(2, 3, 4, 4), r"list\(batch\)"),
    "a flat tensor": (torch.zeros(4, 4), r"expected a tensor \(C, H, W\)"),
    "channels last": (torch.zeros(40, 40, 3), r"expected a tensor \(C, H, W\)"),
    "an empty tensor": (torch.zeros(3, 0, 4), "at least one pixel"),
    "bfloat16": (torch.zeros(3, 4, 4, dtype=torch.bfloat16), "not torch.bfloat16"),
    "int32": (torch.zeros(3, 4, 4, dtype=torch.int32), "not int32"),
    "a float PIL image": (Image.fromarray(np.ones((4, 4), np.float32)), "floating-point"),
    "an empty PIL image": (Image.new("RGB", (0, 3)), "holds no pixel"),
    "a picture of floats": (carcli.Picture(np.zeros((4, 4, 3))), "its pixels are float64"),
    "a picture of other alpha": (carcli.Picture(noise(4, 4), noise(5, 5, 1)), "its alpha is"),
    "a missing file": ("nowhere.png", "nowhere.png: No such file"),
    "a folder": (str(PHOTOS), "Is a directory"),
    "no image": (b"text", "not an image"),
    "no bytes": (b"", "the file is empty"),
    "an empty file": (io.BytesIO(), "the file is empty"),
    "a text file": (io.StringIO("text"), "binary mode"),
    "a thing": (3, "expected a path, bytes"),
    "none": (None, "expected a path, bytes"),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("verb", ["down", "up"])
def test_what_is_no_image_is_one_line(bicubic, verb, what):
    image, message = ODD[what]
    with pytest.raises((carcli.ImageError, carcli.UsageError), match=message) as error:
        getattr(bicubic, verb)(image)
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)


def test_a_sum_that_is_beyond_1_by_rounding_is_taken(bicubic):
    assert bicubic.down(np.full((4, 4), 1 + 1e-6)).max() == 1


def test_an_error_among_several_says_which(bicubic, crop):
    with pytest.raises(carcli.ImageError, match=r"images\[1\]: expected an array"):
        bicubic.down([crop, crop[:0]])
    with pytest.raises(carcli.ImageError, match=r"nowhere\.png: "):
        bicubic.down([PHOTOS / "eyes.png", "nowhere.png"])


def test_a_limit_of_pillows_is_named_as_such(tmp_path, bicubic, photo, monkeypatch):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(carcli.ImageError, match=r"PIL\.Image\.MAX_IMAGE_PIXELS"):
        bicubic.down(tmp_path / "photo.png")


# The package.


def test_a_pair_says_what_it_is(bicubic):
    assert repr(bicubic) == "Rescaler('bicubic', scale=4, device='cpu', precision='fp32')"


def test_a_checkpoint_is_named_by_a_path_too(tmp_path):
    with pytest.raises(carcli.WeightsError, match="no such checkpoint file"):
        carcli.load(tmp_path / "mine.safetensors")


def test_everything_public_is_there_and_importing_it_needs_no_torch():
    assert set(carcli.__all__) <= set(dir(carcli))
    assert all(getattr(carcli, name) is not None for name in carcli.__all__)
    code = "import sys, carcli; carcli.read, carcli.save, carcli.Picture; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


DOCUMENTED = ["carcli", "carcli.images.picture", "carcli.images.carried", "carcli.images.exchange"]
DOCUMENTED += ["carcli.rescale.rescaler", "carcli.rescale.sized", "carcli.rescale.tagged"]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings_run(tmp_path, monkeypatch, name):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
