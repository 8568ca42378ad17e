"""The short form of ``python tests/stress.py``."""

from __future__ import annotations

import os

import pytest
from stress import stress


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL, links and pipes")
def test_a_killed_batch_loses_nothing(tmp_path):
    stress(tmp_path, good=60, bad=16, kills=3)
