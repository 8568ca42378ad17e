"""File formats: what is taken for an image, and what is too large."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

LOSSY = frozenset({"JPEG", "MPO", "AVIF"})  # Pillow's names of formats that keep no exact levels; WebP is of both kinds
CHUNKS = 64  # of a WebP, that are looked at: the pixels come after a profile at most
MAX_PIXELS = 512_000_000  # more is taken for an attack, or for not a photograph
PLAIN = {  # suffixes of what Pillow reads by itself, by its name for the format
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "MPO": (".mpo",), "WEBP": (".webp",), "AVIF": (".avif",),
    "BMP": (".bmp",), "DIB": (".dib",), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"), "TGA": (".tga",), "QOI": (".qoi",),
}  # fmt: skip


class Extra(NamedTuple):
    """Formats that a plug-in reads, which an extra of the package installs."""

    name: str  # of the extra
    module: str
    formats: tuple[str, ...]  # Pillow's names
    suffixes: tuple[str, ...]

    @property
    def here(self) -> bool:
        return find_spec(self.module) is not None

    def register(self) -> None:
        """Let Pillow know of it."""
        plugin = import_module(self.module)
        if self.name == "heic":
            plugin.register_heif_opener()


EXTRAS = (
    Extra("heic", "pillow_heif", ("HEIF",), (".heic", ".heif", ".hif")),
    Extra("jxl", "pillow_jxl", ("JXL",), (".jxl",)),
)
RAW = frozenset({  # what a sensor saw, which has to be developed before it is a picture
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
OTHER = frozenset({".psd", ".psb", ".xcf", ".exr", ".hdr", ".svg", ".ai", ".eps", ".ico", ".cur", ".icns", ".dds", ".jxr"})
# what is taken for an image in a folder; files named one by one may have any suffix
SUFFIXES = frozenset({
    *chain.from_iterable(PLAIN.values()), *chain.from_iterable(extra.suffixes for extra in EXTRAS if extra.here)
})  # fmt: skip


@lru_cache(maxsize=1)
def opened() -> tuple[str, ...]:
    """Pillow's names of the formats that are opened, whatever a file is called: some of its others run programs."""
    from PIL import Image  # names of files are judged without it

    Image.init()
    for extra in EXTRAS:
        if extra.here:
            extra.register()
    return tuple(name for name in (*PLAIN, *chain.from_iterable(extra.formats for extra in EXTRAS)) if name in Image.OPEN)


def lossy(image: Image.Image, reopen: Callable[[], IO[bytes]] | None = None) -> bool:
    """Whether an image's levels are not exactly those that were written; of a WebP its file says it, opened once more."""
    if image.format != "WEBP" or reopen is None:
        return image.format in LOSSY
    file, at = reopen(), 12  # behind RIFF, a length and WEBP
    for _ in range(CHUNKS):
        file.seek(at)
        head = file.read(8)
        if head[:4] in (b"VP8 ", b"VP8L") or len(head) < 8:
            return head[:4] == b"VP8 "
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return False


def advice(suffix: str) -> str | None:
    """How to go on with files of a kind of image that is not read here; None for one that is, and for what is no image."""
    if suffix in SUFFIXES:
        return None
    for extra in EXTRAS:
        if suffix in extra.suffixes:
            return f"pip install 'carcli[{extra.name}]'"
    if suffix in RAW:
        return "develop them to TIFF or JPEG first"
    return "convert them to PNG first" if suffix in OTHER else None


def allow_large_images() -> None:
    """Let Pillow open what our own limit allows. A setting of the whole process: the program's to make, not a library's."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
