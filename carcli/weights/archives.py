"""Archives of strangers, read member by member, one after another: bounded, and nothing is unpacked under its own name.

Taken: zip, tar, and tar or a single file in gzip, bzip2, xz or, from Python 3.14 on, Zstandard. Links, devices and
folders among the members are passed over.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, cast

from carcli.errors import WeightsError
from carcli.runtime.text import shown

MOST = 4 << 30  # bytes of an archive once it is unpacked, everything in it included
AT_ONCE = 8 << 20  # bytes of one reading: the names in a tar's headers are shorter
UNPACK = "unpack it yourself and name the folder"
NAME = 100  # characters of a member's that are told
FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR", b"MSCF": "cabinet"}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
OPENERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,  # names and numbers in headers
    IndexError,  # a name of no character
    struct.error,
    OverflowError,
    RecursionError,
)


class TooLarge(Exception):  # noqa: N818 - said as a WeightsError by what reads
    """More than ``MOST`` bytes, or than ``AT_ONCE`` in one piece."""


class _Bounded:
    """An unpacked stream that gives no more than it may: as it streams, whatever its headers say."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= AT_ONCE:
            raise TooLarge
        data = self._file.read(count)
        self._check(self._file.tell())
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(place)  # before anything is unpacked on the way there
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, place: int) -> None:
        if place > MOST:
            raise TooLarge


def _zstandard() -> Callable[[IO[bytes]], IO[bytes]] | None:
    try:
        opened: Callable[[IO[bytes]], IO[bytes]] = importlib.import_module("compression.zstd").open
    except ImportError:
        return None
    return opened


@contextmanager
def told(source: str) -> Iterator[None]:
    """What can be wrong with an archive, as ``WeightsError`` that names ``source``; ``OSError`` where it is the disk."""
    try:
        yield
    except TooLarge as error:
        raise WeightsError(f"{source}: unpacks to more than any checkpoint") from error
    except NotImplementedError as error:
        raise WeightsError(f"{source}: is packed in a way that Python does not know; {UNPACK}") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's, and not the archive's
            raise
        raise WeightsError(f"{source}: a damaged or unreadable archive; copy it again, or {UNPACK}") from error


def told_name(name: str) -> str:
    """A member's name, which is its maker's choice, for a message."""
    return shown(name[-NAME:])


def is_zip(file: IO[bytes]) -> bool:
    """Whether a file is a zip archive."""
    file.seek(0)
    found = zipfile.is_zipfile(file)
    file.seek(0)
    return found


def unpacked(file: IO[bytes], source: str) -> IO[bytes]:
    """What a compressed file holds, as a stream that is bounded; another file as it is.

    Raises ``WeightsError`` for a kind that is not taken.
    """
    file.seek(0)
    magic = file.read(8)
    file.seek(0)
    for start, kind in FOREIGN.items():
        if magic.startswith(start):
            raise WeightsError(f"{source}: carcli reads no {kind} archives; {UNPACK}")
    openers = OPENERS
    if magic.startswith(ZSTANDARD):
        zstandard = _zstandard()
        if zstandard is None:
            raise WeightsError(f"{source}: Python reads Zstandard archives from 3.14 on; {UNPACK}")
        openers = {ZSTANDARD: zstandard}
    for start, opener in openers.items():
        if magic.startswith(start):
            return cast(IO[bytes], _Bounded(opener(file)))
    return file


def is_tar(file: IO[bytes]) -> bool:
    """Whether a stream is a tar archive; it is at its beginning again then."""
    file.seek(0)
    try:
        tarfile.TarFile(fileobj=cast(Any, file), mode="r").close()
    except tarfile.TarError:
        return False
    finally:
        file.seek(0)
    return True


def zip_members(file: IO[bytes], wanted: Callable[[str], bool], source: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of the members of a zip archive whose names are ``wanted``.

    Raises ``WeightsError`` for one that is encrypted, and where there are none but in archives within.
    """
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not stat.S_ISLNK(m.external_attr >> 16)]
        taken = [member for member in members if wanted(member.filename)]
        _refuse_nested([member.filename for member in members], bool(taken), source)
        for member in taken:
            if member.flag_bits & 1:
                raise WeightsError(f"{source}: {told_name(member.filename)} is encrypted; {UNPACK}")
            with archive.open(member) as stream:
                yield member.filename, stream


def tar_members(file: IO[bytes], wanted: Callable[[str], bool], source: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of the members of a tar archive whose names are ``wanted``.

    Raises ``WeightsError`` where there are none but in archives within.
    """
    names, any_taken = [], False
    with tarfile.TarFile(fileobj=cast(Any, file), mode="r") as archive:
        for member in archive:
            names.append(member.name)
            content = archive.extractfile(member) if member.isreg() and wanted(member.name) else None
            if content is not None:
                any_taken = True
                with content:
                    yield member.name, content
    _refuse_nested(names, any_taken, source)


def _refuse_nested(names: list[str], any_taken: bool, source: str) -> None:
    nested = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if nested and not any_taken:
        raise WeightsError(f"{source}: holds another archive, {told_name(nested[0])}; {UNPACK}")
