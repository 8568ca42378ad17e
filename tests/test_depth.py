"""More than 8 bits a sample: rounded, whatever file they are in, or refused; never garbled."""

from __future__ import annotations

import io
import struct
from itertools import product

import numpy as np
import pytest
from PIL import Image
from pngs import png

from carcli.errors import ImageError
from carcli.images import policy
from carcli.images.codec import decode

PHOTOMETRIC = {1: 1, 3: 2, 4: 2}


COMPRESSIONS = {5: "tiff_lzw", 8: "tiff_adobe_deflate", 32946: "tiff_deflate", 32773: "packbits", 50000: "zstd", 34925: "lzma"}


def compressed(data: bytes, height: int, compression: int) -> bytes:
    """Bytes as libtiff compresses them: they are a grey image of 8 bits to it."""
    file = io.BytesIO()
    grey = Image.frombytes("L", (len(data) // height, height), data)
    grey.save(file, "TIFF", compression=COMPRESSIONS[compression])
    with Image.open(file) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
    return file.getvalue()[start : start + length]


def tiff(
    values: np.ndarray, order: str = "<", compression: int = 1, photometric: int | None = None, bits: int = 16, **entries: tuple
) -> bytes:
    """A TIFF file of (H, W, C) levels in one strip, written by hand: no writer at hand writes all of these.

    ``compression`` 1 (none), 5 (LZW), 8 (ZIP)… ``entries``: extra=(kind,), planes=(2,), format=(2, ...).
    """
    height, width, channels = values.shape
    pixels = values.transpose(2, 0, 1) if entries.get("planes") == (2,) else values
    data = pixels.astype(f"{order}u{bits // 8}").tobytes()
    planes = channels if entries.get("planes") == (2,) else 1
    size = len(data) // planes
    strips = [data[i * size : (i + 1) * size] for i in range(planes)]
    if compression != 1:
        strips = [compressed(strip, height, compression) for strip in strips]
    table = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (bits,) * channels),
        259: (3, (compression,)),
        262: (3, (PHOTOMETRIC[channels] if photometric is None else photometric,)),
        273: (4, tuple(8 + sum(map(len, strips[:i])) for i in range(planes))),
        277: (3, (channels,)),
        278: (4, (height,)),
        279: (4, tuple(map(len, strips))),
        **{{"planes": 284, "extra": 338, "format": 339}[name]: (3, value) for name, value in entries.items()},
    }
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    values_at = 8 + len(body) + 2 + 12 * len(table) + 4
    rows, extra = b"", b""
    for tag, (kind, numbers) in sorted(table.items()):
        value = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(value) > 4:
            value, extra = struct.pack(f"{order}I", values_at + len(extra)), extra + value
        rows += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(table)) + rows + bytes(4) + extra


def levels(channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (9, 7, channels), dtype=np.uint16)


def assert_rounded(data: bytes, expected: np.ndarray) -> None:
    """``expected`` (H, W, C) in 16-bit levels."""
    picture = decode(data)
    got = picture.pixels if picture.alpha is None else np.concatenate([picture.pixels, picture.alpha], 2)
    assert got.shape == expected.shape
    assert np.abs(got - expected / 257).max() <= 0.5 + 1e-6
    assert picture.notes == (policy.SIXTEEN_BIT,)


@pytest.mark.parametrize(("order", "compression", "channels"), list(product("<>", (1, 8), (1, 3))))
def test_tiff_of_either_byte_order_compressed_or_not(order, compression, channels):
    values = levels(channels)
    assert_rounded(tiff(values, order, compression), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [5, 8, 32946, 32773, 50000, 34925])
def test_tiff_of_every_compression(order, channels, compression):
    values = levels(channels)
    try:
        data = tiff(values, order, compression, **({"extra": (2,)} if channels == 4 else {}))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"this Pillow does not write it: {error}")
    assert_rounded(data, values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
def test_tiff_with_alpha(order, compression):
    values = levels(4)
    assert_rounded(tiff(values, order, compression, extra=(2,)), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
def test_premultiplied_alpha_is_taken_out_at_16_bits(order, compression):
    values = levels(4)
    values[..., 3] |= 0x4000
    alpha = values[..., 3:].astype(np.uint64)
    multiplied = values.copy()
    multiplied[..., :3] = (values[..., :3].astype(np.uint64) * alpha + 32767) // 65535
    picture = decode(tiff(multiplied, order, compression, extra=(1,)))
    assert np.abs(picture.pixels - values[..., :3] / 257).max() <= 0.51
    assert np.abs(picture.alpha - values[..., 3:] / 257).max() <= 0.51


@pytest.mark.parametrize("compression", [1, 8])
def test_a_fourth_sample_of_no_meaning_is_left_out(compression):
    values = levels(4)
    assert_rounded(tiff(values, "<", compression, extra=(0,)), values[..., :3])


def test_white_is_zero():
    values = levels(1)
    assert_rounded(tiff(values, photometric=0), 65535 - values)


def test_cmyk_is_rounded():
    values = levels(4)
    picture = decode(tiff(values, photometric=5))
    rounded = Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8), "CMYK")
    assert np.array_equal(picture.pixels, np.asarray(rounded.convert("RGB")))
    assert picture.notes == (policy.SIXTEEN_BIT,)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_separate_planes_which_the_decoder_mixes_up_are_refused(compression, channels):
    with pytest.raises(ImageError, match=r"16-bit colours in separate planes.*convert"):
        decode(tiff(levels(channels), "<", compression, planes=(2,)))


def test_levels_with_a_sign_are_refused():
    with pytest.raises(ImageError, match="with a sign"):
        decode(tiff(levels(1), format=(2,)))


def test_32_bit_levels_are_refused():
    with pytest.raises(ImageError, match="32-bit levels"):
        decode(tiff(levels(1), bits=32))


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_png_of_every_colour_type(channels, colour):
    values = levels(channels)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    assert_rounded(png(rows, 7, 9, 16, colour), values)


def test_png_of_grey_and_alpha_with_filters():
    """A filter looks back by the bytes of a pixel: four."""
    values = levels(2)
    raw = values.astype(">u2").view(np.uint8).reshape(9, 28)
    rows = b""
    for row in raw:
        before = np.concatenate([np.zeros(4, np.uint8), row[:-4]])
        rows += b"\1" + (row - before).tobytes()
    assert_rounded(png(rows, 7, 9, 16, 4), values)


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_a_transparent_16_bit_level_is_compared_in_16_bits(channels, colour):
    values = levels(channels)
    values[0, 0], values[0, 1] = 1000, 1001  # the same in 8 bits
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    picture = decode(png(rows, 7, 9, 16, colour, struct.pack(f">{channels}H", *[1000] * channels)))
    assert picture.alpha[0, :2, 0].tolist() == [0, 255]
    assert np.abs(picture.pixels - values / 257).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("most", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_ppm_of_any_depth(most, channels):
    values = np.random.default_rng(0).integers(0, most + 1, (9, 7, channels))
    head = f"P{6 if channels == 3 else 5} 7 9 {most}\n".encode()
    picture = decode(head + values.astype(">u2" if most > 255 else "u1").tobytes())
    assert np.abs(picture.pixels - values * 255 / most).max() <= 0.5 + 1e-3
    assert bool(picture.notes) == (most > 255)


def jpeg_2000(mode: str, bits: int) -> bytes:
    """A JPEG 2000 file whose header says so many bits."""
    file = io.BytesIO()
    Image.new(mode, (16, 16)).save(file, "JPEG2000")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\x4f\xff\x51")
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    for i in range(count):
        data[at + 42 + 3 * i] = bits - 1
    return bytes(data)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_jpeg_2000_colours_whose_white_the_decoder_makes_black_are_refused(mode, bits):
    with pytest.raises(ImageError, match=f"{bits}-bit JPEG 2000"):
        decode(jpeg_2000(mode, bits))


def test_16_bit_grey_jpeg_2000_is_rounded():
    values = levels(1)
    file = io.BytesIO()
    Image.fromarray(values[..., 0]).save(file, "JPEG2000", irreversible=False)
    assert_rounded(file.getvalue(), values)
