"""Small whole files of every kind that a user may hand over, to be damaged; the same ones every time."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import torch
from conftest import TINY_TAD, seeded
from fuzz_mutations import Chunk, png_of
from PIL import Image, ImageCms
from test_depth import tiff
from test_metadata import block, short
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from carcli.images import png
from carcli.images.codec import decode, to_bytes
from carcli.images.written import FORMATS, encoding
from carcli.models.registry import build
from carcli.rescale.rescaler import load
from carcli.training import recipe
from carcli.weights import checkpoint
from carcli.weights.description import Description

Files = tuple[bytes, ...]
SIDES = ((8, 8), (9, 7), (1, 12), (24, 5), (16, 17))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" xmp:Rating="5"/></x:xmpmeta>'
IPTC = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x50\x00\x06Author"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples of a pixel, by a PNG's colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7's x, y, steps


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(mode: str = "RGB", size: tuple[int, int] = (16, 12)) -> Image.Image:
    rng = np.random.default_rng(size[0])
    if mode == "LAB":
        return Image.frombytes("LAB", size, rng.integers(0, 256, 3 * size[0] * size[1], dtype=np.uint8).tobytes())
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    return image.convert("RGB").convert(mode) if mode not in ("RGBA", "LA") else image.convert(mode)


def profile() -> bytes:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return icc[:24] + bytes(12) + icc[36:]  # without the time when it was made


def exif_block(order: str, orientation: int = 6) -> bytes:
    inner_at = 8 + 2 + 5 * 12 + 4 + 22 + 40
    inner = struct.pack(f"{order}H", 1) + struct.pack(f"{order}HHI", 0x9000, 7, 4) + b"0232" + bytes(4)
    entries = [
        (0x010F, 2, 6, b"Maker\0"),
        (0x0112, 3, 1, short(order, orientation)),
        (0x013B, 2, 16, "Jürgen Müller".encode() + b"\0"),
        (0x8769, 4, 1, struct.pack(f"{order}I", inner_at)),
        (0x927C, 7, 40, b"Nikon\0" + bytes(range(34))),
    ]
    return block(order, entries, saved(photo(size=(8, 6)), "JPEG"), inner)


# PNG


def _rows(width: int, height: int, bits: int, chance: Random) -> bytes:
    return b"".join(bytes([chance.randrange(5)]) + chance.randbytes(-(-width * bits // 8)) for _ in range(height if width else 0))


def plain_png(depth: int, colour: int, size: tuple[int, int], interlaced: bool = False) -> list[Chunk]:
    """Chunks of a PNG of random pixels: any colour type and depth."""
    chance, (width, height) = Random(depth * 10 + colour), size
    bits = depth * CHANNELS[colour]
    parts = ((0, 0, 1, 1),) if not interlaced else PASSES
    data = b"".join(_rows(-(-(width - x) // dx), -(-(height - y) // dy), bits, chance) for x, y, dx, dy in parts if x < width)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced)))]
    if colour == 3:
        chunks += [(b"PLTE", chance.randbytes(3 << depth))]
    return [*chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]


def _extras() -> dict[str, Chunk]:
    return {
        "iCCP": (b"iCCP", b"sRGB\0\0" + zlib.compress(profile())),
        "eXIf": (b"eXIf", exif_block("<")),
        "eXIf of MM": (b"eXIf", exif_block(">", 8)),
        "XMP": (b"iTXt", png.XMP.encode() + b"\0\0\0\0\0" + XMP),
        "iptc": (b"zTXt", png.IPTC.encode() + b"\0\0" + zlib.compress(b"\niptc\n      24\n" + IPTC.hex().encode())),
        "text": (b"tEXt", b"Comment\0hello"),
        "cICP": (b"cICP", b"\x09\x10\x00\x01"),
        "gAMA": (b"gAMA", struct.pack(">I", 45455)),
        "cHRM": (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        "sRGB": (b"sRGB", b"\0"),
        "pHYs": (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
        "tIME": (b"tIME", struct.pack(">HBBBBB", 2024, 1, 2, 3, 4, 5)),
    }


@cache
def pngs() -> Files:
    files = []
    extras = list(_extras().values())
    kinds = [(depth, colour) for colour, depths in DEPTHS.items() for depth in depths]
    for i, (depth, colour) in enumerate(kinds):
        chunks = plain_png(depth, colour, SIDES[i % len(SIDES)], interlaced=i % 4 == 3)
        files.append(png_of(chunks))
        files.append(png_of([chunks[0], *Random(i).sample(extras, 4), *chunks[1:]]))
        if colour in (0, 2, 3):
            transparent = {0: bytes(2), 2: bytes(6), 3: bytes(range(0, 256, 90))[: 1 << depth]}[colour]
            files.append(png_of([*chunks[:-2], (b"tRNS", transparent), *chunks[-2:]]))
    chunks = plain_png(8, 2, (9, 7))
    files.append(png_of([chunks[0], *extras, *chunks[1:]]))
    frames = [photo(size=(8, 8)), photo(size=(8, 8)).rotate(90)]
    files.append(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    return tuple(files)


# other images


@cache
def jpegs() -> Files:
    resources = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
    segment = b"\xff\xed" + struct.pack(">H", len(resources) + 2) + resources
    everything = saved(photo(), "JPEG", exif=b"Exif\0\0" + exif_block("<"), icc_profile=profile(), xmp=XMP, dpi=(300, 300))
    return (
        saved(photo(), "JPEG"),
        saved(photo("L", (9, 7)), "JPEG", exif=b"Exif\0\0" + exif_block(">", 3)),
        saved(photo("CMYK"), "JPEG"),
        saved(photo("CMYK"), "JPEG", icc_profile=profile()),
        saved(photo(size=(17, 24)), "JPEG", progressive=True, subsampling=2),
        everything[:2] + segment + everything[2:],
        everything,
        saved(photo(), "MPO", save_all=True, append_images=[photo()]),
    )


@cache
def tiffs() -> Files:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x013B] = "Maker", 6, "Jürgen"
    exif.get_ifd(0x8769)[0x9000] = b"0232"
    exif.get_ifd(0x8825)[1] = "N"
    grey_16 = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (9, 7), dtype=np.uint16))
    deep = {n: np.random.default_rng(n).integers(0, 65536, (7, 9, n), dtype=np.uint16) for n in (1, 3, 4)}
    files = [
        saved(photo(mode), "TIFF", compression=compression)
        for mode, compression in (
            ("RGB", None), ("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("RGB", "packbits"), ("RGB", "jpeg"), ("L", None),
            ("L", "tiff_lzw"), ("1", "group4"), ("1", "group3"), ("1", None), ("P", None), ("P", "tiff_lzw"), ("CMYK", None),
            ("RGBA", "tiff_lzw"), ("LA", None), ("LAB", None), ("F", None), ("I", None), ("RGB", "zstd"), ("RGB", "lzma"),
        )
    ]  # fmt: skip
    files += [saved(grey_16, "TIFF"), saved(grey_16, "TIFF", compression="tiff_lzw")]
    files += [saved(photo(), "TIFF", exif=exif, icc_profile=profile(), dpi=(300, 300)), saved(photo("L"), "TIFF", exif=exif)]
    files += [tiff(deep[n], order, compression) for n in (1, 3) for order in "<>" for compression in (1, 5, 8)]
    files += [tiff(deep[4], extra=(kind,)) for kind in (0, 1, 2)] + [tiff(deep[3], planes=(2,)), tiff(deep[1], photometric=0)]
    files += [tiff(deep[4], photometric=5), saved(photo(), "TIFF", save_all=True, append_images=[photo()])]
    return tuple(files)


def _others() -> list[bytes]:
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (12, 16), dtype=np.uint16))
    exif = exif_block("<")
    frames = [photo(size=(9, 9)), photo(size=(9, 9)).rotate(90)]
    return [
        saved(photo(), "WEBP", exif=exif, xmp=XMP, icc_profile=profile()),
        saved(photo("RGBA"), "WEBP", lossless=True),
        saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        saved(photo().quantize(16), "GIF"),
        saved(photo().quantize(16), "GIF", transparency=3, interlace=1),
        saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        *(saved(photo(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
        saved(photo(), "DIB"),
        *(saved(photo(mode), "PPM") for mode in ("1", "L", "RGB")),
        b"P2 3 2 255\n0 1 2\n3 4 255\n",
        b"P3 2 1 15\n# a comment\n0 1 2 3 4 15\n",
        b"P6 3 2 65535\n" + bytes(range(36)),
        b"P5 5 3 1023\n" + bytes(30),
        *(saved(photo(mode), "JPEG2000") for mode in ("L", "RGB", "RGBA")),
        saved(deep, "JPEG2000", no_jp2=True),
        *(
            saved(photo(mode), "TGA", compression=c)
            for mode, c in (("L", None), ("RGB", "tga_rle"), ("RGBA", None), ("P", "tga_rle"))
        ),
        saved(photo(size=(9, 7)), "QOI"),
        saved(photo("RGBA"), "QOI"),
    ]


@cache
def others() -> Files:
    files = _others()
    if "AVIF" in Image.SAVE:
        files += [saved(photo(), "AVIF", exif=exif_block("<"), xmp=XMP), saved(photo("RGBA"), "AVIF")]
    return tuple(files)


@cache
def tagged() -> Files:
    """LR images as ``down`` makes them, as PNG."""
    made = []
    for model, scale, mode, size in (
        ("bicubic", 2, "RGB", (16, 12)), ("bicubic", 4, "L", (17, 13)), ("lanczos", 3, "RGBA", (9, 7)),
        ("bicubic", 128, "RGB", (9, 7)),
    ):  # fmt: skip
        made.append(to_bytes(load(model, scale, "cpu").down_picture(decode(saved(photo(mode, size), "PNG")))))
    for model, scale, exact in (("bicubic", 1, (7, 5)), ("lanczos", 2, (5, 3))):
        made.append(to_bytes(load(model, scale, "cpu").down_picture(decode(saved(photo("RGBA"), "PNG")), size=exact)))
    return tuple(made)


# what somebody wrote beside whom the tag is
PACKETS = (
    None,
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="a"><dc:title>b</dc:title>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>",
)


@cache
def tagged_in_xmp() -> Files:
    """LR images as ``down`` makes them, in formats whose tag lives in XMP."""
    made = []
    for name in (name for name, form in FORMATS.items() if form.tag == "xmp" and form.here):
        for packet, mode in zip(PACKETS, ("L", "RGB"), strict=True):
            small = load("bicubic", 2, "cpu").down_picture(decode(saved(photo(mode), "PNG")))
            made.append(to_bytes(replace(small, xmp=packet), encoding(name)))
    return tuple(made)


def with_packet(data: bytes, packet: bytes) -> bytes:
    """The same pixels, of an image whose tag lives in XMP, with other XMP."""
    with Image.open(io.BytesIO(data)) as image:
        return saved(image, str(image.format), xmp=packet[: FORMATS["jpeg"].largest_xmp])


# weights


DESCRIPTIONS = (
    Description("mine-x2", "tad", 2, {"features": 4, "blocks": 1}, {"features": 4, "blocks": 1, "tail": "direct"}),
    Description("mine-x4", "edsr", 4, {"features": 4, "blocks": 1}, {"features": 4, "blocks": 1}),
    Description("plain-x2", "edsr", 2, {"net": "bicubic"}, {"features": 4, "blocks": 1}),
    Description("grey-x1", "tad", 1, {"net": "grey", "features": 4, "blocks": 1}, {"net": "grey", "features": 4, "blocks": 1}),
)


@cache
def checkpoints(folder: Any) -> Files:
    torch.manual_seed(0)
    out = []
    for about in DESCRIPTIONS:
        path = folder / f"{about.id}.safetensors"
        checkpoint.write(path, about, *build(about.family, about.scale, {"down": about.down, "up": about.up}))
        out.append(path.read_bytes())
    return tuple(out)


NARROW = {"down": {"features": 4, "blocks": 1}, "up": {"features": 4, "blocks": 1}}


def _pth(net: torch.nn.Module, legacy: bool) -> bytes:
    out = io.BytesIO()
    tensors = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    if not legacy:
        torch.save(tensors, out)
        return out.getvalue()
    for value in (MAGIC_NUMBER, PROTOCOL_VERSION, {"protocol_version": PROTOCOL_VERSION, "little_endian": True}):
        pickle.dump(value, out, 2)
    pickler = _Pickler(out, 2)
    pickler.dump(tensors)
    pickle.dump([str(i) for i in range(pickler.storages)], out, 2)
    for tensor in tensors.values():
        out.write(struct.pack("<q", tensor.numel()) + tensor.numpy().astype("<f4").tobytes())
    return out.getvalue()


class _Pickler(pickle.Pickler):
    """As ``torch.save`` wrote before it wrote zip, but for the names of storages: to it they are addresses in memory."""

    def __init__(self, file: Any, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages = 0

    def persistent_id(self, value: object) -> Any:
        if not isinstance(value, torch.storage.TypedStorage):
            return None
        self.storages += 1
        return ("storage", torch.FloatStorage, str(self.storages - 1), "cpu", value._untyped_storage.nbytes() // 4, None)


@cache
def state_dicts() -> tuple[tuple[bytes, bytes], ...]:
    """The CAR authors' two files, with and without a zip around each."""
    out = []
    for scale, legacy in ((2, True), (4, True), (2, False)):
        down, up = build("edsr", scale, NARROW)
        out.append((_pth(seeded(down.net), legacy), _pth(seeded(up), legacy)))
    return tuple(out)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return out.getvalue()


@cache
def archives() -> tuple[tuple[str, bytes], ...]:
    """Suffix and content."""
    down, up = state_dicts()[0]
    members = {"models/2x/kgn.pth": down, "models/2x/usn.pth": up, "README.txt": b"hello"}
    tar = tarred(members)
    return (
        (".zip", zipped(members)),
        (".zip", zipped(members, zipfile.ZIP_STORED)),
        (".zip", zipped(members, zipfile.ZIP_LZMA)),
        (".tar", tar),
        (".tar", tarred(members, tarfile.GNU_FORMAT)),
        (".tar.gz", gzip.compress(tar, mtime=0)),
        (".tar.bz2", bz2.compress(tar)),
        (".tar.xz", lzma.compress(tar)),
        (".pth.gz", gzip.compress(down, mtime=0)),
    )


# text


def journal(source: str) -> list[dict[str, Any]]:
    return [
        {"time": "2026-01-01T00:00:00Z", "status": "done", "source": source, "target": "a.png", "size": 3, "changed": 4,
         "settings": "bicubic", "model": "bicubic", "bytes": 70, "seconds": 0.1},
        {"time": "2026-01-01T00:00:01Z", "status": "failed", "source": source, "target": "b.png", "reason": "no image"},
    ]  # fmt: skip


@cache
def recipes() -> tuple[str, ...]:
    folder = recipe.resources.files("carcli.training") / "recipes"
    return (TINY_TAD, *((folder / f"{name}.toml").read_text(encoding="utf-8") for name in recipe.names()))
