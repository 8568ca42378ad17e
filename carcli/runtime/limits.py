"""What this process may use of its machine: a container's, a queue's or a taskset's share, not the host's totals."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
GUESS = 8 << 30  # bytes of memory, where nothing says it


def cores(root: Path = ROOT) -> int:
    """Processors that may compute at once: those this process may run on, or as many as its control groups pay for."""
    return max(1, min([_processors(), *(math.ceil(share) for share in _shares(root))]))


def memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may take: its machine's, or the least that its control groups allow."""
    bounds = (_number(path) for path in _files(root, "memory", "memory.max", "memory.limit_in_bytes"))
    return min([_physical(), *(round(bound) for bound in bounds if bound is not None)])


def _processors() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13 and newer
        return os.process_cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _physical() -> int:
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return os.sysconf("SC_PAGE_SIZE") * pages if pages > 0 else GUESS
    except (AttributeError, ValueError, OSError):
        return GUESS


def _shares(root: Path) -> Iterator[float]:
    """Processors' worth of time that control groups allow."""
    for path in _files(root, "cpu", "cpu.max", "cpu.cfs_quota_us"):
        second = path.name == "cpu.max"
        quota = _number(path)
        length = _number(path, 1) if second else _number(path.with_name("cpu.cfs_period_us"))
        if quota is not None and length is not None:
            yield quota / length


def _files(root: Path, controller: str, second: str, first: str) -> Iterator[Path]:
    """The files of a limit, from this process's control group outwards: called ``second`` in version 2, ``first`` in 1.

    Within a container the group's path may be the host's, of which only the end of the way outwards is there.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            places, name = ("", "unified"), second
        elif controller in controllers.split(","):
            places, name = (controllers, controller), first
        else:
            continue
        group = PurePosixPath("/", path).relative_to("/")
        for place in dict.fromkeys(places):
            for inner in (group, *group.parents):
                yield root / "sys/fs/cgroup" / place / inner / name


def _number(path: Path, place: int = 0) -> float | None:
    """The number at a place in a limit's file; None where it is no limit (``max``, -1) or nothing that can be one."""
    try:
        number = float(path.read_text(encoding="ascii").split()[place])
    except (OSError, ValueError, IndexError):
        return None
    return number if 0 < number < math.inf else None
