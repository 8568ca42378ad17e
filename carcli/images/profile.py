"""ICC profiles: whether one says what these pixels mean."""

from __future__ import annotations

from carcli.runtime.text import shown

HEADER = 128  # bytes (ICC.1:2022, 7.2)
SPACES = {1: b"GRAY", 3: b"RGB "}  # by channels, as the header has them
DAMAGED_PROFILE = "its colour profile is damaged and was left out"
OTHER_PROFILE = "its colour profile is for another kind of image ({}) and was left out"


def fitting(icc: bytes | None, channels: int) -> tuple[bytes | None, tuple[str, ...]]:
    """A profile for an image of 1 or 3 channels; none, and what to say of it, where it is for another kind.

    A PNG must not hold another (PNG, 11.3.2.3).
    """
    if icc is None:
        return None, ()
    if len(icc) <= HEADER or icc[36:40] != b"acsp":
        return None, (DAMAGED_PROFILE,)
    space = icc[16:20]
    return (icc, ()) if space == SPACES[channels] else (None, (OTHER_PROFILE.format(shown(space.decode("latin-1").strip())),))
