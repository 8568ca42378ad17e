"""The short form of ``python tests/fuzz.py``."""

from __future__ import annotations

import os

import pytest

if os.name != "posix":
    pytest.skip("bounds time and memory as POSIX has it", allow_module_level=True)
from fuzz import AREAS, fuzz, made, table
from fuzz_commands import commands

pytestmark = pytest.mark.slow


def test_a_damaged_file_is_done_or_refused_in_a_line(tmp_path):
    tallies, faults = fuzz(tmp_path, seed=0, count=3000)
    print("", *table(tallies), sep="\n")
    assert not faults, "\n".join(faults)
    for tally in tallies.values():  # damage that nobody notices, or that nothing survives, tests nothing
        assert tally.counts["done"] > 0
    assert sum(tally.counts["refused"] for tally in tallies.values()) > 1000


def test_the_same_number_is_the_same_file(tmp_path):
    (tmp_path / "one").mkdir()
    for area in AREAS:
        assert made(3, area, 5, tmp_path / "one") == made(3, area, 5, tmp_path / "one")


def test_the_program_survives_damaged_files(tmp_path):
    runs = commands(tmp_path, seed=0)
    print("", dict(runs.counts), sep="\n")
    assert not runs.faults, "\n".join(runs.faults)
    assert runs.counts["done"] > 20
    assert runs.counts["failed"] > 20
