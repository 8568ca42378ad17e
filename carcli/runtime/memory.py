"""How the program's large buffers are allocated. Settings of a whole process: the program's to make, not a library's."""

from __future__ import annotations

import ctypes
import os
import sys

LARGE = 8 << 20  # bytes
KEPT = 64 << 20  # bytes of free heap that stay for what is smaller
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # <malloc.h> of glibc
LIMITLESS = 2**31 - 1  # bytes: the most that mallopt takes


def huge_pages() -> None:
    """Let PyTorch ask Linux for huge pages: in ordinary ones a quarter of a network's time on a CPU goes into page faults.

    To be called before its first allocation; ``THP_MEM_ALLOC_ENABLE=0`` in the environment prevents it.
    """
    if sys.platform == "linux":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _mallopt(*settings: tuple[int, int]) -> None:
    """Set options of glibc's allocator to values; does nothing where there is no glibc."""
    allocate = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocate is not None:
        for option, value in settings:
            allocate(option, value)


def give_back_at_once() -> None:
    """Let glibc map every large buffer by itself: out of its heap more memory stays resident than is in use, twice as much
    where gradients come and go.

    Refining small images takes a tenth longer so.
    """
    _mallopt((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, KEPT))


def keep_freed() -> None:
    """Let glibc keep whatever tensors free: a training step otherwise spends up to a third of its time in page faults.

    The next step takes the same buffers again, so that nothing is held in vain.
    """
    _mallopt((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LIMITLESS))
