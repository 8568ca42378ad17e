"""The CAR authors' checkpoints, in whatever form somebody has them, as checkpoints of the store.

Taken: ``kgn.pth`` (the resampler network) and ``usn.pth`` (EDSR) under any name, a folder or an
archive of them, and checkpoints of ``carcli train``. Nothing is executed, nothing is unpacked
but the state dicts, and nothing is left behind where a file is refused.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import torch
from torch import Tensor

from carcli.errors import WeightsError
from carcli.models.base import Pair
from carcli.models.registry import build
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.weights import checkpoint, store
from carcli.weights.checkpoint import Description, fill
from carcli.weights.manifest import Entry, entries

WANTED = (".pth", ".pt")
MEMBER = 512 << 20  # bytes: the largest state dict is 172 MB
MEMBERS = 64  # archives of more state dicts than this are something else
SCALE_OF_TAPS = {49: 2, 169: 4}  # a kernel of 7x7 or 13x13


@dataclass(frozen=True)
class Half:
    """One network's tensors and where they are from."""

    side: str  # "down" or "up"
    scale: int
    tensors: dict[str, Tensor]
    source: str


def _is_state_dict_zip(path: Path) -> bool:
    """Whether a zip file is torch's own format rather than an archive of files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            total = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        return False
    if not any(PurePosixPath(name).name == "data.pkl" for name in names):
        return False
    if total > checkpoint.MAX_BYTES:
        raise WeightsError(f"{path}: unpacks to {total >> 20} MB, more than any checkpoint")
    return True


def _classify(tensors: dict[str, Tensor], source: str) -> Half:
    """Which network these are the weights of, from their names and shapes alone."""
    taps = next((t for n, t in tensors.items() if n.startswith("kernels_weight.4.") and n.endswith("weight")), None)
    if taps is not None and taps.dim() == 4 and taps.shape[0] in SCALE_OF_TAPS:
        return Half("down", SCALE_OF_TAPS[taps.shape[0]], tensors, source)
    if any(n.startswith("body.") for n in tensors) and any(n.startswith("tail.0.0.") for n in tensors):
        return Half("up", 4 if any(n.startswith("tail.0.2.") for n in tensors) else 2, tensors, source)
    raise WeightsError(f"{source}: holds neither the resampler network nor EDSR of the CAR authors")


def _state_dict(path: Path, source: str) -> Half:
    _is_state_dict_zip(path)  # raises for a bomb
    try:
        return _classify(checkpoint.parse_state_dict(path), source)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(path), source)) from error


def _from_stream(stream: IO[bytes], size: int, source: str) -> Half:
    """Unpack one member, at most as long as it says it is, into a file that vanishes again."""
    handle, name = tempfile.mkstemp(suffix=".pth")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            while block := stream.read(1 << 20):
                if file.tell() + len(block) > min(size, MEMBER):
                    raise WeightsError(f"{source}: is longer than its archive says")
                file.write(block)
        return _state_dict(temporary, source)
    finally:
        temporary.unlink(missing_ok=True)


def _wanted(name: str, size: int, source: str, count: int) -> bool:
    if PurePosixPath(name).suffix.lower() not in WANTED or PurePosixPath(name).name.startswith("."):
        return False
    if size > MEMBER:
        raise WeightsError(f"{source}: {name} unpacks to {size >> 20} MB, more than any checkpoint")
    if count >= MEMBERS:
        raise WeightsError(f"{source}: holds more than {MEMBERS} state dicts")
    return True


def _from_archive(path: Path) -> list[Half]:
    found: list[Half] = []
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if _wanted(info.filename, info.file_size, str(path), len(found)):
                        with archive.open(info) as stream:
                            found.append(_from_stream(stream, info.file_size, f"{path}: {info.filename}"))
        else:
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.isfile() and _wanted(member.name, member.size, str(path), len(found)):
                        opened = tar.extractfile(member)
                        assert opened is not None
                        with opened:
                            found.append(_from_stream(opened, member.size, f"{path}: {member.name}"))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise WeightsError(f"{path}: a damaged or unreadable archive ({error})") from error
    if not found:
        raise WeightsError(f"{path}: an archive without kgn.pth and usn.pth")
    return found


def _is_archive(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return not _is_state_dict_zip(path)
    try:
        return path.suffix.lower() not in WANTED and tarfile.is_tarfile(path)
    except OSError:
        return False


def collect(paths: Iterable[Path]) -> list[Half]:
    """Every network in files, folders and archives. Raises ``WeightsError`` that names the file at fault."""
    found: list[Half] = []
    for path in paths:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in WANTED and p.is_file())
            if not files:
                raise WeightsError(f"{path}: holds no .pth files")
            found += [_state_dict(file, str(file)) for file in files]
        elif not path.exists():
            raise WeightsError(f"{path}: no such file or folder")
        elif _is_archive(path):
            found += _from_archive(path)
        else:
            found.append(_state_dict(path, str(path)))
    return found


def _pair(entry: Entry, down: Half, up: Half) -> Pair:
    pair = build(entry.family, entry.scale, {"down": entry.down, "up": entry.up})
    assert isinstance(pair.down, ContentAdaptiveResampler)
    fill(pair.down.net, down.tensors, down.source)
    fill(pair.up, up.tensors, up.source)
    return pair


def _store(entry: Entry, pair: Pair) -> Path:
    target = store.checkpoint_path(entry)
    with store.writing(entry.id):
        target.parent.mkdir(parents=True, exist_ok=True)
        description = Description(entry.id, entry.family, entry.scale, entry.down, entry.up)
        checkpoint.write(target, description, pair.down, pair.up, dtype=torch.float32)
        store.pin(entry, store.file_digest(target))
    return target


def import_files(paths: Iterable[Path]) -> list[tuple[Entry, Path]]:
    """Convert the authors' networks into checkpoints of the store, a pair at every scale that is there.

    Returns the checkpoints and their files. Raises ``WeightsError`` that names the file at fault,
    or what is missing for a pair; nothing is stored then.
    """
    halves: dict[tuple[int, str], Half] = {}
    for half in collect(paths):
        if (half.scale, half.side) in halves:
            twice = halves[half.scale, half.side]
            raise WeightsError(f"{half.source} and {twice.source} are the same network at x{half.scale}; name one of them")
        halves[half.scale, half.side] = half
    for scale, side in halves:
        other = "up" if side == "down" else "down"
        if (scale, other) not in halves:
            missing = "EDSR (usn.pth)" if other == "up" else "resampler network (kgn.pth)"
            raise WeightsError(f"{halves[scale, side].source}: its {missing} at x{scale} is missing; name both files")
    official = {entry.scale: entry for entry in entries() if entry.archive}
    scales = sorted({scale for scale, _ in halves})
    pairs = [(official[s], _pair(official[s], halves[s, "down"], halves[s, "up"])) for s in scales]
    return [(entry, _store(entry, pair)) for entry, pair in pairs]
