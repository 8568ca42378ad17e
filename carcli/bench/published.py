"""Figures that others have published, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from carcli.runtime import toml

CAR, IRN = "CAR & EDSR, released", "IRN"  # what ours are compared with


@dataclass(frozen=True)
class Published:
    """One published row: PSNR in dB and SSIM on Y, or PSNR over RGB."""

    name: str
    psnr_y: float | None
    ssim_y: float | None
    parameters: float | None
    source: str
    psnr_rgb: float | None = None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return toml.loads((resources.files("carcli.bench") / "published.toml").read_text(encoding="utf-8"))


def rows(dataset: str, scale: int) -> tuple[Published, ...]:
    """What is published for a pinned dataset at a scale; nothing for any other."""
    table = _table()
    if dataset not in table["datasets"]:
        return ()
    at = table["datasets"].index(dataset)

    def figure(row: dict[str, Any], name: str) -> float | None:
        value = row[name][at] if name in row else None
        return value or None  # 0 stands where nothing is published

    found = (
        Published(name, figure(row, "psnr"), figure(row, "ssim"), row.get("parameters"), row["source"], figure(row, "psnr_rgb"))
        for name, row in table.get(f"x{scale}", {}).items()
    )
    return tuple(row for row in found if row.psnr_y is not None or row.psnr_rgb is not None)


def ahead(psnr_y: float, dataset: str, scale: int, name: str) -> float | None:
    """dB by which a figure of ours is ahead of a published one, where there is one."""
    found = next((row.psnr_y for row in rows(dataset, scale) if row.name == name), None)
    return None if found is None else psnr_y - found
