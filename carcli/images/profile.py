"""ICC profiles: whether one says what these pixels mean."""

from __future__ import annotations

HEADER = 128  # bytes (ICC.1:2022, 7.2)
SPACES = {1: b"GRAY", 3: b"RGB "}  # by channels, as the header has them


def is_whole(icc: bytes) -> bool:
    """Whether it is a profile at all: the header and its signature are there."""
    return len(icc) > HEADER and icc[36:40] == b"acsp"


def fits(icc: bytes, channels: int) -> bool:
    """Whether it is a profile for an image of 1 or 3 channels: a PNG must not hold another (PNG, 11.3.2.3)."""
    return is_whole(icc) and icc[16:20] == SPACES[channels]


def fitting(icc: bytes | None, channels: int) -> bytes | None:
    """The profile where it is one for so many channels."""
    return icc if icc and fits(icc, channels) else None
