"""Benchmark images: a folder, or a set by name in the data folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from carcli.errors import UsageError
from carcli.images import SUFFIXES

NAMES = ("set5", "set14", "bsd100", "urban100")


@dataclass(frozen=True)
class Dataset:
    name: str
    files: tuple[Path, ...]


def data_folder() -> Path:
    """Where datasets are kept: ``$CARCLI_HOME/data``, or the platform's data folder."""
    home = os.environ.get("CARCLI_HOME")
    return Path(home) / "data" if home else user_data_path("carcli")


def find(name: str) -> Dataset:
    """A dataset by name (any folder in the data folder) or by path. Raises ``UsageError``."""
    folder = Path(name)
    if not folder.is_dir():
        folder = data_folder() / "datasets" / name.lower()
    if not folder.is_dir():
        raise UsageError(f"no dataset {name!r}: neither a folder nor a set in {folder.parent}; put its HR images into {folder}")
    files = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")))
    if not files:
        raise UsageError(f"{folder}: holds no images")
    return Dataset(folder.name.lower(), files)
