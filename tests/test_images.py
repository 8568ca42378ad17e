"""The image policy, on real files of every odd kind."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, noise
from PIL import ExifTags, Image, ImageCms
from pngs import png

from carcli.errors import ImageError
from carcli.images import codec, policy
from carcli.images.carried import from_pillow
from carcli.images.codec import decode, encode
from carcli.images.picture import Picture
from carcli.images.tag import Tag

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_of(channels: int) -> bytes:
    """A profile for grey, whose header is all that is looked at, or for RGB."""
    return SRGB if channels == 3 else SRGB[:16] + b"GRAY" + SRGB[20:]


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of (H, W, C) uint16, written by hand because Pillow writes none in colour."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + values[y].astype(">u2").tobytes() for y in range(height))

    return png(rows, width, height, 16, {1: 0, 3: 2, 4: 6}[channels])


def round_trip(picture: Picture) -> Picture:
    file = io.BytesIO()
    encode(picture, file)
    return decode(file.getvalue())


def test_rgb_is_kept():
    pixels = noise(9, 7)
    picture = decode(saved(Image.fromarray(pixels)))
    assert np.array_equal(picture.pixels, pixels)
    assert picture.alpha is None
    assert picture.notes == ()


def test_grey_stays_grey():
    pixels = noise(9, 7, 1)
    picture = decode(saved(Image.fromarray(pixels[..., 0])))
    assert np.array_equal(picture.pixels, pixels)
    assert np.array_equal(round_trip(picture).pixels, pixels)
    with Image.open(io.BytesIO(saved(Image.fromarray(pixels[..., 0])))) as image:
        assert image.mode == "L"


def test_one_bit_becomes_grey():
    picture = decode(saved(Image.fromarray(noise(5, 5, 1)[..., 0]).convert("1")))
    assert picture.pixels.shape == (5, 5, 1)
    assert set(np.unique(picture.pixels)) <= {0, 255}


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_a_plane_of_its_own(mode):
    channels = len(mode)
    both = noise(6, 5, channels)
    picture = decode(saved(Image.fromarray(both)))
    assert np.array_equal(picture.pixels, both[..., :-1])
    assert np.array_equal(picture.alpha, both[..., -1:])
    again = round_trip(picture)
    assert np.array_equal(again.pixels, picture.pixels)
    assert np.array_equal(again.alpha, picture.alpha)


def test_palette_becomes_rgb():
    image = Image.fromarray(noise(8, 8)).quantize(16)
    picture = decode(saved(image))
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.alpha is None


@pytest.mark.parametrize("transparency", [3, bytes([0, 128] + [255] * 14)])
def test_palette_with_transparency_becomes_rgba(transparency):
    image = Image.fromarray(noise(8, 8)).quantize(16)
    picture = decode(saved(image, transparency=transparency))
    assert picture.pixels.shape == (8, 8, 3)
    assert picture.alpha is not None
    assert picture.alpha.min() == 0 or 128 in picture.alpha


def test_rgb_with_a_transparent_colour_gets_alpha():
    pixels = noise(8, 8)
    picture = decode(saved(Image.fromarray(pixels), transparency=tuple(int(v) for v in pixels[0, 0])))
    assert picture.alpha is not None
    assert picture.alpha[0, 0, 0] == 0


def test_cmyk_without_profile_is_converted():
    rgb = Image.fromarray(noise(16, 16))
    picture = decode(saved(rgb.convert("CMYK"), "TIFF"))
    assert np.abs(picture.pixels.astype(int) - np.asarray(rgb)).max() <= 1
    assert picture.icc is None


def test_cmyk_with_a_broken_profile_is_converted_all_the_same():
    picture = decode(saved(Image.fromarray(noise(16, 16)).convert("CMYK"), "TIFF", icc_profile=b"broken"))
    assert picture.pixels.shape == (16, 16, 3)
    assert picture.icc is None


def test_16_bit_grey_is_rounded_with_a_warning():
    values = np.array([[0, 127, 128, 129, 385, 386, 65535]], np.uint16)
    picture = decode(saved(Image.fromarray(values)))
    assert picture.pixels[0, :, 0].tolist() == [0, 0, 0, 1, 1, 2, 255]
    assert picture.notes == (policy.SIXTEEN_BIT,)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_rounded_not_truncated(channels):
    values = np.random.default_rng(0).integers(0, 65536, (5, 6, channels), dtype=np.uint16)
    picture = decode(png_16(values))
    exact = values / 257
    got = picture.pixels if picture.alpha is None else np.concatenate([picture.pixels, picture.alpha], 2)
    assert np.abs(got - exact).max() <= 0.5 + 1e-6
    assert picture.notes == (policy.SIXTEEN_BIT,)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_cleared(orientation):
    image = Image.fromarray(noise(6, 9))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = "somebody"
    picture = decode(saved(image, exif=exif))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    expected = image.transpose(turn) if turn is not None else image
    assert np.array_equal(picture.pixels, np.asarray(expected))
    kept = Image.Exif()
    kept.load(round_trip(picture).exif)
    assert kept.get(ExifTags.Base.Orientation, 1) == 1
    assert kept[ExifTags.Base.Artist] == "somebody"


def test_orientation_of_a_16_bit_file_is_applied_too():
    values = np.random.default_rng(0).integers(0, 65536, (4, 6), dtype=np.uint16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert decode(saved(Image.fromarray(values), exif=exif)).size == (4, 6)


@pytest.mark.parametrize(
    "junk", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40]
)
def test_damaged_exif_does_not_cost_the_picture(junk):
    picture = decode(saved(Image.fromarray(noise(8, 8)), "JPEG", exif=junk))
    assert picture.size == (8, 8)
    assert round_trip(picture).size == (8, 8)


def test_exif_that_cannot_be_read_is_left_out_with_a_note(monkeypatch):
    def broken(*_args, **_options):
        raise struct.error("unpack requires a buffer of 12 bytes")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    picture = decode(saved(Image.fromarray(noise(8, 8)), "JPEG"))
    assert picture.exif is None
    assert picture.notes == (policy.DAMAGED_EXIF,)


def test_profile_travels_along():
    picture = decode(saved(Image.fromarray(noise(5, 5)), icc_profile=SRGB))
    assert picture.icc == SRGB
    assert round_trip(picture).icc == SRGB


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 1000)])
def test_odd_sizes_are_read(size):
    width, height = size
    assert decode(saved(Image.fromarray(noise(height, width)))).size == size


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_frames_are_refused(kind):
    frames = [Image.fromarray(noise(8, 8, seed=i)) for i in range(3)]
    with pytest.raises(ImageError, match="3 frames"):
        decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_a_cameras_preview_is_no_second_frame():
    frames = [Image.fromarray(noise(16, 16, seed=i)) for i in range(2)]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert decode(data).size == (16, 16)


@pytest.mark.parametrize("name", ["cat.jpg", "eyes.png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_truncated_files_are_refused(name, share):
    data = (PHOTOS / name).read_bytes()
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"\0" * 100, b"<html>quota exceeded</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ImageError, match=r"not an image|cannot be decoded"):
        decode(data)


def test_a_reason_that_quotes_a_file_is_printed_and_not_obeyed():
    with pytest.raises(ImageError, match=r"^cannot be decoded: ") as caught, policy.one_line():
        raise OSError("\x1b[2J\x9b\nred")
    assert str(caught.value) == "cannot be decoded: \\x1b[2J\\x9b red"


def test_an_absurd_size_is_refused_before_anything_is_allocated():
    data = bytearray(saved(Image.fromarray(noise(4, 4))))
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(ImageError, match="megapixels"):
        decode(bytes(data))


def test_floating_point_is_refused():
    with pytest.raises(ImageError, match="floating-point"):
        decode(saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_a_missing_file_is_one_line():
    with pytest.raises(ImageError, match="No such file"):
        codec.read(Path("nowhere.jpg"))


def test_a_text_bomb_in_a_png_is_harmless():
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("carcli", "x" * 5_000_000, zip=True)
    data = saved(Image.fromarray(noise(4, 4)), pnginfo=info)
    with contextlib.suppress(ImageError):
        assert decode(data).tag is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_encoding_keeps_everything(channels, alpha):
    picture = Picture(
        noise(6, 5, channels),
        noise(6, 5, 1, 3) if alpha else None,
        profile_of(channels),
        None,
        Tag("edsr-base-x4", "0" * 64, 4, 18, 23),
    )
    again = round_trip(picture)
    assert np.array_equal(again.pixels, picture.pixels)
    assert (again.alpha is None) == (picture.alpha is None)
    assert (again.icc, again.tag, again.tag_error) == (picture.icc, picture.tag, None)


def test_a_tag_behind_the_pixels_is_read_from_a_file_and_from_pillows_image(tmp_path):
    picture = Picture(noise(6, 5), tag=Tag("edsr-base-x4", "0" * 64, 4, 18, 23))
    data = codec.to_bytes(picture)
    chunks, at = [], 8
    while at < len(data):
        end = at + 12 + struct.unpack(">I", data[at : at + 4])[0]
        chunks.append(data[at:end])
        at = end
    chunks.sort(key=lambda chunk: [b"IHDR", b"IDAT", b"iTXt", b"IEND"].index(chunk[4:8]))
    moved = data[:8] + b"".join(chunks)
    assert decode(moved).tag == picture.tag
    assert from_pillow(Image.open(io.BytesIO(moved))).tag == picture.tag


def test_reading_pillows_image_leaves_it_as_it_was():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1
    image = Image.open(io.BytesIO(saved(Image.fromarray(noise(6, 5)), exif=exif)))
    from_pillow(image)
    assert image.getexif()[ExifTags.Base.Orientation] == 1
    assert (image.mode, image.size, image.format) == ("RGB", (5, 6), "PNG")
