"""What travels with the pixels: as bytes, whole, and only where it is right for the result."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
from conftest import noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo
from pngs import chunk

import carcli
from carcli.errors import ImageError
from carcli.images import exif, metadata, png
from carcli.images.codec import decode, to_bytes
from carcli.images.picture import Picture
from carcli.images.tag import Tag

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
PAIR = carcli.load("bicubic", 2, device="cpu")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    b'<rdf:Description tiff:Orientation="6" dc:title="Z\xc3\xbcrich"/></rdf:RDF></x:xmpmeta>'
)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(12, 10)).convert(mode)


def there_and_back(data: bytes) -> tuple[Picture, Picture]:
    """The LR picture and the restored one, each as a file keeps it."""
    small = decode(to_bytes(PAIR.down_picture(decode(data))))
    return small, decode(to_bytes(PAIR.up_picture(small)))


def with_chunks(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    data = saved(image or photo())
    return data[:33] + b"".join(chunks) + data[33:]


# EXIF


def block(order: str, entries: list[tuple[int, int, int, bytes]], thumbnail: bytes = b"", inner: bytes = b"") -> bytes:
    """An EXIF block as a camera writes it: directory, values, and last a thumbnail with a directory of its own."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    at = 8 + 2 + 12 * len(entries) + 4
    rows = values = b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            where, values = struct.pack(f"{order}I", at + len(values)), values + value + bytes(len(value) % 2)
        else:
            where = value.ljust(4, b"\0")
        rows += struct.pack(f"{order}HHI", tag, kind, count) + where
    second = at + len(values) + len(inner) if thumbnail else 0
    out = head + struct.pack(f"{order}H", len(entries)) + rows + struct.pack(f"{order}I", second) + values + inner
    if thumbnail:
        start = second + 2 + 24 + 4
        out += struct.pack(f"{order}H", 2)
        out += struct.pack(f"{order}HHII", 0x201, 4, 1, start) + struct.pack(f"{order}HHII", 0x202, 4, 1, len(thumbnail))
        out += bytes(4) + thumbnail
    return out


def short(order: str, value: int) -> bytes:
    return struct.pack(f"{order}H", value)


ARTIST = "Jürgen Müller ©".encode()


def camera(order: str, orientation: int = 6, thumbnail: bytes = b"") -> bytes:
    return block(
        order,
        [
            (0x010F, 2, 6, b"Maker\0"),
            (0x0112, 3, 1, short(order, orientation)),
            (0x013B, 2, len(ARTIST) + 1, ARTIST + b"\0"),
            (0x8298, 2, len(ARTIST) + 1, ARTIST + b"\0"),
            (0x9286, 7, 12, b"UNICODE\0\x01\x02\x03\x04"),
            (0x927C, 7, 40, b"Nikon\0" + os.urandom(34)),
        ],
        thumbnail,
    )


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_is_carried_byte_by_byte_but_for_the_orientation(order, kind):
    before = camera(order)
    for picture in there_and_back(saved(photo(), kind, exif=b"Exif\0\0" + before)):
        after = picture.exif.removeprefix(b"Exif\0\0")
        expected = bytearray(before)
        at = before.index(struct.pack(f"{order}HHI", 0x0112, 3, 1)) + 8
        expected[at : at + 2] = short(order, 1)
        assert after == bytes(expected)


@pytest.mark.parametrize("order", "<>")
def test_the_thumbnail_stays_behind(order):
    secret = os.urandom(5000)
    for picture in there_and_back(saved(photo(), "JPEG", exif=b"Exif\0\0" + camera(order, thumbnail=secret))):
        assert secret[:100] not in picture.exif
        assert len(picture.exif) < 500
        kept = Image.Exif()
        kept.load(picture.exif)
        assert kept[ExifTags.Base.Make] == "Maker"
        assert not kept.get_ifd(ExifTags.IFD.IFD1)
        assert ARTIST in picture.exif


def test_a_thumbnail_before_other_values_is_blanked_where_it_stands():
    secret = b"\xff\xd8" + os.urandom(300)
    whole = bytearray(camera("<", thumbnail=secret))
    whole += b"\0\0behind it"
    cleaned = exif.cleaned(bytes(whole))
    assert secret[10:60] not in cleaned


@pytest.mark.parametrize(("kind", "count", "where"), [(3, 128, 6), (12, 1, 4), (5, 1, 0), (3, 3, 0xFFFF)])
@pytest.mark.parametrize("order", "<>")
def test_an_orientation_that_lies_elsewhere_is_not_written_there(order, kind, count, where):
    """At 4 stands where the first directory is."""
    whole = bytearray(camera(order))
    at = 10 + 12
    whole[at : at + 12] = struct.pack(f"{order}HHII", 0x0112, kind, count, where)
    try:
        assert exif.cleaned(bytes(whole)) == exif.PREFIX + whole  # no entry at all: beyond the end
    except exif.DamagedExif:
        assert where != 0xFFFF


def test_an_orientation_alone_is_nothing_to_carry():
    assert exif.cleaned(block("<", [(0x0112, 3, 1, short("<", 6))])) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_no_junk_is_more_than_damaged_exif(junk, head):
    for read in (lambda data: exif.cleaned(data), lambda data: exif.of_tiff(io.BytesIO(data))):
        try:
            result = read(head + junk)
        except exif.DamagedExif:
            continue
        assert result is None or len(result) <= len(head + junk) + 1000


@given(st.data())
def test_no_mutation_of_a_block_is_more_than_damaged_exif(data):
    whole = bytearray(camera(data.draw(st.sampled_from("<>")), thumbnail=b"x" * 40))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = exif.cleaned(bytes(whole))
    except exif.DamagedExif:
        return
    assert result is None or len(result) <= len(whole) + 6


def layered(megabytes: int = 5) -> bytes:
    """A TIFF file as Photoshop writes it: layers, XMP, IPTC, and what describes its strips."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[0x013B] = ARTIST.decode("latin-1")
    info.tagtype[0x8298] = 7
    info[0x010F] = "Maker"
    info[700] = XMP
    info.tagtype[37724] = 7
    info[37724] = b"Adobe Photoshop Document Data Block\0" + bytes(megabytes << 20)
    info.tagtype[33723] = 7
    info[33723] = b"\x1c\x02\x05\x00\x05title"
    info[0x8769] = {0x9003: "2026:01:02 03:04:05", 0x829A: (1, 250)}
    return saved(Image.fromarray(noise(300, 400)), "TIFF", tiffinfo=info, icc_profile=SRGB, dpi=(300, 300))


def test_a_layered_tiff_makes_a_small_thumbnail():
    data = layered()
    small = carcli.load("tad", 4, device="cpu").down_picture(decode(data))
    file = to_bytes(small)
    assert small.size == (75, 100)  # turned, as its XMP says
    assert len(file) < 45_000 + 2 * small.pixels.size  # noise does not shrink; five megabytes of layers are gone
    assert len(file) - len(to_bytes(Picture(small.pixels))) < 8_000
    kept = Image.Exif()
    kept.load(small.exif)
    assert kept[ExifTags.Base.Make] == "Maker"
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
    assert {0x0111, 0x0117, 0x0100, 37724, 34377, 700, 33723} & set(kept) == set()
    assert (small.icc, small.iptc) == (SRGB, b"\x1c\x02\x05\x00\x05title")
    assert small.xmp.startswith(b"<x:xmpmeta")
    assert small.dpi == pytest.approx((300, 300), abs=0.01)


def test_text_in_utf_8_comes_whole_out_of_a_tiff():
    from test_depth import tiff

    plain = tiff(noise(4, 5, 1).astype(np.uint16), bits=8)
    at = struct.unpack("<I", plain[4:8])[0]
    count = struct.unpack("<H", plain[at : at + 2])[0]
    rows, rest = plain[at + 2 : at + 2 + 12 * count], plain[at + 2 + 12 * count :]
    end = len(plain) + 12
    moved = plain[:at] + struct.pack("<H", count + 1) + rows + struct.pack("<HHII", 0x013B, 2, len(ARTIST) + 1, end) + rest
    small, back = there_and_back(moved + ARTIST + b"\0")
    assert ARTIST in small.exif
    assert ARTIST in back.exif


# XMP, IPTC, resolution


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF"])
def test_xmp_is_carried_and_turned(kind):
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = saved(photo(), pnginfo=info)
    elif kind == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[700] = XMP
        data = saved(photo(), "TIFF", tiffinfo=info)
    else:
        data = saved(photo(), kind, xmp=XMP)
    small, back = there_and_back(data)
    assert decode(data).size == (12, 10)  # XMP says so: turned
    assert small.xmp == back.xmp
    right = b"" if kind == "TIFF" else b'tiff:Orientation="1"'  # Pillow itself turns a TIFF, and says so
    assert small.xmp.replace(b"  ", b" ") == XMP.replace(b'tiff:Orientation="6"', right).replace(b"  ", b" ")
    assert back.size == (12, 10)


def test_thumbnails_in_xmp_stay_behind_and_so_does_a_history_of_edits():
    inside = XMP.replace(b"</rdf:RDF>", b"<xmp:Thumbnails><x>" + b"A" * 90_000 + b"</x></xmp:Thumbnails></rdf:RDF>")
    assert there_and_back(saved(photo(), "JPEG", xmp=inside[:65_000] + b""))[0].size
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", inside.decode())
    assert len(decode(saved(photo(), pnginfo=info)).xmp) < 300
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x>" + "A" * 90_000)
    picture = decode(saved(photo(), pnginfo=info))
    assert (picture.xmp, picture.notes) == (None, (metadata.LARGE_XMP,))


def test_iptc_is_carried_as_other_programs_write_it_into_a_png():
    record = b"\x1c\x02\x78\x00\x07caption" * 20
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    app13 = b"Photoshop 3.0\0" + resource
    data = saved(photo(), "JPEG")
    small, back = there_and_back(data[:2] + b"\xff\xed" + struct.pack(">H", len(app13) + 2) + app13 + data[2:])
    assert small.iptc == back.iptc == record
    with Image.open(io.BytesIO(to_bytes(small))) as image:
        assert image.text["Raw profile type iptc"].split("\n")[1] == "iptc"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_resolution_is_carried(kind):
    for picture in there_and_back(saved(photo(), kind, dpi=(300, 240))):
        assert picture.dpi == pytest.approx((300, 240), abs=0.02)


def test_a_file_that_says_no_resolution_gets_none():
    """Pillow says 1 dpi of such a TIFF."""
    picture, again = there_and_back(saved(photo(), "TIFF"))
    assert picture.dpi is None
    assert again.dpi is None


# What levels mean

GAMMA = chunk(b"gAMA", struct.pack(">I", 45455))
CHROMA = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
CODING = chunk(b"cICP", bytes([12, 13, 0, 1]))


def test_colour_chunks_are_carried():
    for picture in there_and_back(with_chunks(CODING, CHROMA, GAMMA)):
        assert dict(picture.colour) == {b"cICP": CODING[8:12], b"cHRM": CHROMA[8:40], b"gAMA": GAMMA[8:12]}
        assert to_bytes(picture)[33:].startswith(CODING)


@pytest.mark.parametrize(
    ("mode", "profile", "kept"),
    [("RGB", SRGB, True), ("L", GREY_PROFILE, True), ("RGB", GREY_PROFILE, False), ("L", SRGB, False)],
)
def test_a_png_has_a_profile_for_its_own_channels(mode, profile, kept):
    data = saved(photo(mode), icc_profile=profile)
    small, back = there_and_back(data)
    assert small.icc == back.icc == (profile if kept else None)
    assert bool(decode(data).notes) != kept


@pytest.mark.parametrize("profile", [b"x", b"\0" * 500, SRGB[:100]])
def test_a_damaged_profile_is_left_out_with_a_note(profile):
    picture = decode(saved(photo(), icc_profile=profile))
    assert (picture.icc, picture.notes) == (None, (metadata.DAMAGED_PROFILE,))


def test_the_name_of_another_kind_of_profile_is_printed_and_not_obeyed():
    picture = decode(saved(photo(), icc_profile=SRGB[:16] + b"\x1b[2J" + SRGB[20:]))
    assert picture.icc is None
    assert [note.isprintable() for note in picture.notes] == [True]


def test_colours_hidden_in_grey_take_no_rgb_profile_along():
    pair = carcli.load("tad", 1, device="cpu")
    grey = pair.down_picture(Picture(noise(16, 16), icc=SRGB))
    assert grey.pixels.shape[2] == 1
    assert decode(to_bytes(grey)).icc is None
    assert grey.notes == ("its colour profile is for another kind of image (RGB) and was left out",)


# Whatever is written is read


def test_a_profile_of_many_megabytes_goes_there_and_back():
    large = SRGB + os.urandom(3 << 20)
    small, back = there_and_back(saved(photo(), "TIFF", icc_profile=large))
    assert small.icc == back.icc == large
    assert small.tag is not None


@pytest.mark.parametrize("zipped", [False, True])
def test_large_texts_are_no_reason_to_refuse_pixels(zipped):
    info = PngInfo()
    for i in range(70):
        info.add_text(f"comment {i}", "x" * (3 << 20 if zipped else 30_000), zip=zipped)
    picture = decode(saved(photo(), pnginfo=info))
    assert picture.size == (10, 12)
    assert picture.notes == ()


@pytest.mark.parametrize("kind", [b"iCCP", b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"tIME", b"sPLT"])
@pytest.mark.parametrize(
    "content", [b"", b"x", b"carcli\0" + b"\xff" * 40, b"XML:com.adobe.xmp\0\1\0\0\0junk", bytes(range(130, 180))]
)
def test_a_malformed_chunk_beside_the_pixels_costs_no_more_than_itself(kind, content):
    assert decode(with_chunks(chunk(kind, content))).size == (10, 12)


def test_a_damaged_tag_is_told_and_not_trusted():
    data = bytearray(to_bytes(Picture(noise(6, 5), tag=Tag("edsr-base-x4", "0" * 64, 4, 18, 23))))
    at = data.index(b"carcli\0") + 30
    data[at] ^= 1
    picture = decode(bytes(data))
    assert picture.tag is None
    assert "tag is damaged" in picture.tag_error


def test_damage_among_the_pixels_is_still_found():
    data = bytearray(saved(Image.fromarray(noise(60, 60))))
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(ImageError):
        decode(bytes(data))


def test_a_png_is_spliced_where_it_is_cut():
    data = with_chunks(chunk(b"tEXt", b"a\0b"), GAMMA, chunk(b"tEXt", b"c\0d"))
    _, rest = png.take_apart(io.BytesIO(data))
    whole = rest.read()
    assert whole == data.replace(chunk(b"tEXt", b"a\0b"), b"").replace(chunk(b"tEXt", b"c\0d"), b"")
    rest.seek(-12, io.SEEK_END)
    assert rest.read() == whole[-12:]


# Pillow's images


def test_what_is_carried_survives_pillows_save(tmp_path):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    data = saved(photo(), pnginfo=info, icc_profile=SRGB, exif=b"Exif\0\0" + camera("<"), dpi=(300, 300))
    small = PAIR.down(Image.open(io.BytesIO(data)))
    small.save(tmp_path / "small.png")
    picture = carcli.read(tmp_path / "small.png")
    assert (picture.icc, picture.xmp) == (SRGB, XMP.replace(b'"6"', b'"1"'))
    assert ARTIST in picture.exif
    assert picture.dpi == pytest.approx((300, 300), abs=0.01)
    assert picture.tag is not None
    restored = carcli.up(Image.open(tmp_path / "small.png"))
    restored.save(tmp_path / "back.jpg")
    again = carcli.read(tmp_path / "back.jpg")
    assert (again.icc, again.xmp) == (picture.icc, picture.xmp)
    assert ARTIST in again.exif


# What may be opened


def test_a_format_that_is_not_on_our_list_is_not_opened(monkeypatch):
    """Pillow hands EPS to another program."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="not an image"):
        decode(eps)


def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no ordinary file"):
        carcli.read(tmp_path / "pipe.png")
