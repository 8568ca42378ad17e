"""PyTorch state dicts of strangers: in files, folders and archives, bounded, and without executing anything."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import torch
from torch import Tensor

from carcli.errors import WeightsError
from carcli.weights.store import MAX_BYTES

SUFFIXES = (".pth", ".pt")
MEMBER = 512 << 20  # bytes of one in an archive
MEMBERS = 64  # archives of more of them than this are something else
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    OSError,
)


def read(path: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every state dict of a file, a folder or an archive, with where it is from; ``module.`` prefixes removed.

    Raises ``WeightsError`` that names the file at fault, for a folder or archive without any too.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _named_like_one(file.name) and file.is_file())
        if not files:
            raise WeightsError(f"{path}: holds no .pth files")
        yield from ((str(file), _from_file(file)) for file in files)
    elif not path.exists():
        raise WeightsError(f"{path}: no such file or folder")
    elif _is_archive(path):
        yield from _from_archive(path)
    else:
        yield str(path), _from_file(path)


def parse(file: IO[bytes], source: str) -> dict[str, Tensor]:
    """The state dict in a file (zip or legacy format), ``module.`` prefixes removed.

    Raises ``WeightsError``, which names ``source``, for anything but a mapping from names to
    tensors, and for what is, or unpacks to, more than any checkpoint.
    """
    if file.seek(0, os.SEEK_END) > MAX_BYTES:
        raise WeightsError(f"{source}: larger than any checkpoint ({MAX_BYTES >> 20} MB at most)")
    unpacked = _unpacked_size(file)
    if unpacked is not None and unpacked > MAX_BYTES:
        raise WeightsError(f"{source}: unpacks to {unpacked >> 20} MB, more than any checkpoint")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's pickle protocol
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler has many ways to refuse
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{source}: refused as a state dict ({reason})") from error
    if not isinstance(loaded, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
        raise WeightsError(f"{source}: not a state dict (a mapping from names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def _named_like_one(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _from_file(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            return parse(file, str(path))
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error


def _unpacked_size(file: Path | IO[bytes]) -> int | None:
    """Bytes that a state dict in torch's zip format unpacks to; None for any other file."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if not any(PurePosixPath(member.filename).name == "data.pkl" for member in members):
        return None
    return sum(member.file_size for member in members)


def _is_archive(path: Path) -> bool:
    try:
        if zipfile.is_zipfile(path):
            return _unpacked_size(path) is None
        return path.suffix.lower() not in SUFFIXES and tarfile.is_tarfile(path)
    except OSError:
        return False


def _members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size in bytes as stated, and content of the state dicts in an archive; a stream gives no more than its size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if _named_like_one(info.filename):
                    with archive.open(info) as stream:
                        yield info.filename, info.file_size, stream
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() and _named_like_one(member.name) else None
                if content is not None:
                    with content:
                        yield member.name, member.size, content


def _from_archive(path: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each is unpacked by itself, into a file without a name: paths that lead outside lead nowhere."""
    count = 0
    try:
        for name, size, stream in _members(path):
            if size > MEMBER:
                raise WeightsError(f"{path}: {name} unpacks to {size >> 20} MB, more than any checkpoint")
            if count == MEMBERS:
                raise WeightsError(f"{path}: holds more than {MEMBERS} state dicts")
            count += 1
            with tempfile.TemporaryFile() as file:
                shutil.copyfileobj(stream, file)
                tensors = parse(file, f"{path}: {name}")
            yield f"{path}: {name}", tensors
    except DAMAGED as error:
        raise WeightsError(f"{path}: a damaged or unreadable archive ({error})") from error
    if not count:
        raise WeightsError(f"{path}: an archive without kgn.pth and usn.pth")
