"""PyTorch state dicts of strangers: in files, folders and archives, bounded, and without executing anything."""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch
from torch import Tensor

from carcli.errors import WeightsError
from carcli.runtime import paths
from carcli.weights import archives
from carcli.weights.store import MAX_BYTES

SUFFIXES = (".pth", ".pt")
WRAPPED = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net")  # the averaged weights first
MEMBER = 512 << 20  # bytes of one in an archive
MEMBERS = 64  # archives of more of them than this are something else
BLOCK = 1 << 20  # bytes
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch's format without zip begins with, as a pickle


def read(path: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every state dict of a file, a folder or an archive, with where it is from; ``module.`` prefixes removed.

    Raises ``WeightsError`` that names the file at fault, for a folder or archive without any too.
    """
    with _unreadable_is_said(path):
        if path.is_dir():
            yield from _from_folder(path)
        else:
            with paths.open_ordinary(path) as file:
                yield from _from_file(file, str(path))


def parse(file: IO[bytes], source: str) -> dict[str, Tensor]:
    """The state dict in a file (zip or legacy format), ``module.`` prefixes removed.

    Raises ``WeightsError``, which names ``source``, for anything but a mapping from names to
    tensors, and for what is, or unpacks to, more than any checkpoint.
    """
    loaded = _loaded(file, source)
    if not _is_one(loaded):
        raise WeightsError(f"{source}: not a state dict (a mapping from names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def parse_nested(file: IO[bytes], source: str) -> dict[str, Tensor]:
    """The state dict in a file, or the one among what a training run saved beside it; names as they are.

    Raises ``WeightsError`` as ``parse`` does.
    """
    loaded = _loaded(file, source)
    candidates = [loaded, *(loaded[name] for name in WRAPPED if name in loaded)] if isinstance(loaded, dict) else []
    if isinstance(loaded, dict) and len(loaded) == 1:
        candidates += loaded.values()
    for candidate in candidates:
        if _is_one(candidate):
            return dict(candidate)
    raise WeightsError(f"{source}: not a state dict (a mapping from names to tensors)")


def _is_one(value: object) -> bool:
    """Whether it is a mapping from names to tensors, and not an empty one."""
    return isinstance(value, dict) and bool(value) and all(isinstance(k, str) and _plain(v) for k, v in value.items())


def _loaded(file: IO[bytes], source: str) -> Any:
    """What PyTorch saved in a file, as plain values and tensors."""
    if file.seek(0, os.SEEK_END) > MAX_BYTES:
        raise WeightsError(f"{source}: larger than any checkpoint ({MAX_BYTES >> 20} MB at most)")
    unpacked = _unpacked_size(file)
    if unpacked is not None and unpacked > MAX_BYTES:
        raise WeightsError(f"{source}: unpacks to {unpacked >> 20} MB, more than any checkpoint")
    file.seek(0)
    if unpacked is None and LEGACY not in file.read(32):
        raise WeightsError(f"{source}: refused, for it is no file of PyTorch's")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's pickle protocol
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler has many ways to refuse
        raise WeightsError(f"{source}: refused, for it {_fault(error)}") from error


def _fault(error: Exception) -> str:
    """Why torch did not load a file. It says so at length, and how to load it nevertheless."""
    text = str(error)
    if (isinstance(error, pickle.UnpicklingError) and "Unsupported" in text) or "TorchScript" in text:
        return "holds objects other than tensors, which could run code"
    return "is damaged"


def _plain(value: object) -> bool:
    """Whether it is a tensor with a number at every place."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_meta or value.is_quantized)


@contextmanager
def _unreadable_is_said(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise WeightsError(f"{error.filename or path}: {paths.reason(error)}") from error


def _from_folder(folder: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    files = sorted(file for file in folder.rglob("*") if _named_like_one(file.name) and file.is_file())
    if not files:
        raise WeightsError(f"{folder}: holds no .pth files")
    for path in files:
        with paths.open_ordinary(path) as file:
            yield str(path), parse(file, str(path))


def _from_file(file: IO[bytes], source: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Of a state dict, or of an archive of them."""
    with archives.told(source):
        if archives.is_zip(file):
            members = None if _unpacked_size(file) is not None else archives.zip_members(file, _named_like_one, source)
        else:
            stream = archives.unpacked(file, source)
            packed = stream is not file
            is_one = not packed and _named_like_one(source)  # a state dict that begins like a tar is none
            members = archives.tar_members(stream, _named_like_one, source) if not is_one and archives.is_tar(stream) else None
            if members is None and packed:
                with _copied(stream, source) as whole:
                    tensors = parse(whole, source)
                yield source, tensors
                return
        if members is not None:
            yield from _from_archive(members, source)
            return
    yield source, parse(file, source)


def _named_like_one(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _unpacked_size(file: IO[bytes]) -> int | None:
    """Bytes that a state dict in torch's zip format unpacks to; None for any other file."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if not any(PurePosixPath(member.filename).name == "data.pkl" for member in members):
        return None
    return sum(member.file_size for member in members)


@contextmanager
def _copied(stream: IO[bytes], source: str) -> Iterator[IO[bytes]]:
    """A stream's content as a file without a name: paths that lead outside lead nowhere."""
    with tempfile.TemporaryFile() as file:
        while block := stream.read(BLOCK):
            file.write(block)
            if file.tell() > MEMBER:
                raise WeightsError(f"{source}: unpacks to more than {MEMBER >> 20} MB, more than any checkpoint")
        yield file


def _from_archive(members: Iterator[tuple[str, IO[bytes]]], source: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    count = 0
    for name, stream in members:
        if count == MEMBERS:
            raise WeightsError(f"{source}: holds more than {MEMBERS} state dicts")
        count += 1
        place = f"{source}: {archives.told_name(name)}"
        with _copied(stream, place) as file:
            tensors = parse(file, place)
        yield place, tensors
    if not count:
        raise WeightsError(f"{source}: an archive without kgn.pth and usn.pth")
