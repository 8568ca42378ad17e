"""What a container allows bounds what is begun, not what its host has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from carcli.batch import options
from carcli.batch.options import Options
from carcli.runtime import limits
from carcli.runtime.limits import cores, memory
from carcli.runtime.threads import within_limits

GIB = 1 << 30


@pytest.fixture(autouse=True)
def large_host(monkeypatch):
    monkeypatch.setattr(limits, "_processors", lambda: 64)
    monkeypatch.setattr(limits, "_physical", lambda: 256 * GIB)


def host(root: Path, group: str, **files: str) -> Path:
    """A file system with limits; ``__`` in a name stands for a slash, and ``_`` for a dot."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_container_sees_its_own_group_as_the_root(tmp_path):
    root = host(tmp_path, "0::/\n", memorymax=f"{4 * GIB}\n", cpumax="150000 100000\n")
    assert (cores(root), memory(root)) == (2, 4 * GIB)


def test_the_least_of_nested_groups_holds(tmp_path):
    groups = {"a__memorymax": f"{GIB}\n", "a__b__memorymax": f"{2 * GIB}\n"}
    groups |= {"a__cpumax": "300000 100000\n", "a__b__cpumax": "max 100000\n"}
    root = host(tmp_path, "0::/a/b\n", **groups)
    assert (cores(root), memory(root)) == (3, GIB)


@pytest.mark.parametrize("place", ["memory", "memory__docker__1"])
def test_the_first_version_of_control_groups(tmp_path, place):
    root = host(tmp_path, "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n0::/\n")
    folder = root / "sys/fs/cgroup" / place.replace("__", "/")
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(GIB))
    time = root / "sys/fs/cgroup/cpu,cpuacct"
    time.mkdir()
    (time / "cpu.cfs_quota_us").write_text("50000\n")
    (time / "cpu.cfs_period_us").write_text("100000\n")
    assert (cores(root), memory(root)) == (1, GIB)
    (time / "cpu.cfs_quota_us").write_text("-1\n")
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert (cores(root), memory(root)) == (64, 256 * GIB)


@pytest.mark.parametrize("absurd", ["max", "0", "-5", "nan", "inf", "1e999", "", "lots", "9" * 5000])
def test_what_is_no_limit_is_none(tmp_path, absurd):
    root = host(tmp_path, "0::/\n", memorymax=absurd, cpumax=f"{absurd} 100000")
    assert (cores(root), memory(root)) == (64, 256 * GIB)


@pytest.mark.parametrize("group", ["", "nonsense", "0::", "0::/../../..\n", "\xff"])
def test_a_host_without_control_groups(tmp_path, group):
    assert (cores(tmp_path), memory(tmp_path)) == (64, 256 * GIB)
    assert (cores(host(tmp_path, group)), memory(tmp_path)) == (64, 256 * GIB)


@pytest.mark.parametrize("newer", [True, False])
def test_processors_that_this_process_may_not_run_on_do_not_count(monkeypatch, newer):
    monkeypatch.undo()
    if newer:
        monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    else:
        monkeypatch.delattr(os, "process_cpu_count", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert cores(Path("/nothing")) == 2


def test_they_bound_images_in_flight_and_their_memory(monkeypatch):
    monkeypatch.setattr(options, "cores", lambda: 2)
    monkeypatch.setattr(options, "memory", lambda: 4 * GIB)
    assert (Options().in_flight, Options().room) == (4, 2 * GIB)
    assert (Options(workers=9).in_flight, Options(memory=5).room) == (9, 5)


def test_torch_has_no_more_threads_than_may_run(monkeypatch, set_threads):
    monkeypatch.setattr("carcli.runtime.threads.cores", lambda: 2)
    for threads, expected in ((8, 2), (1, 1)):
        set_threads(threads)
        within_limits()
        assert torch.get_num_threads() == expected
