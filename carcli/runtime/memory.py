"""How the program's large buffers are allocated. Settings of a whole process: the program's to make, not a library's."""

from __future__ import annotations

import ctypes
import os
import sys

LARGE = 8 << 20  # bytes
KEPT = 64 << 20  # bytes of free heap that stay for what is smaller
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h> of glibc


def huge_pages() -> None:
    """Let PyTorch ask Linux for huge pages: in ordinary ones a quarter of a network's time on a CPU goes into page faults.

    To be called before its first allocation; ``THP_MEM_ALLOC_ENABLE=0`` in the environment prevents it.
    """
    if sys.platform == "linux":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def give_back_at_once() -> None:
    """Let glibc map every large buffer by itself: out of its heap more memory stays resident than is in use, twice as much
    where gradients come and go.

    Refining small images takes a tenth longer so.
    """
    allocate = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocate is not None:
        allocate(M_MMAP_THRESHOLD, LARGE)
        allocate(M_TRIM_THRESHOLD, KEPT)
