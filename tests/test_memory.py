"""How large buffers are allocated: huge pages unless told otherwise, and given back while others around them stay."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux and glibc")

HOLES = """
from pathlib import Path
from carcli.runtime.memory import give_back_at_once
give_back_at_once()
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

for _ in range(2):  # the first time, glibc may map buffers by itself; what it then learns must not count
    buffers = [torch.ones(12 << 18) for _ in range(20)]
    before = resident()
    del buffers[::2]
    print((before - resident()) / (10 * (12 << 20)))
"""


def _run(code: str, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("THP_", "MALLOC_"))}
    done = subprocess.run([sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="not glibc")
def test_what_lies_between_kept_buffers_is_given_back():
    assert all(float(share) > 0.9 for share in _run(HOLES).split())


@pytest.mark.parametrize(("set_to", "expected"), [({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")])
def test_huge_pages_are_asked_for_unless_told_otherwise(set_to, expected):
    code = "import os; from carcli.runtime.memory import huge_pages; huge_pages(); print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    assert _run(code, **set_to).strip() == expected
