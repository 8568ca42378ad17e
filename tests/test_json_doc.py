"""docs/json.md names every field that is printed."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from carcli.batch import Estimate, Job, Result
from carcli.batch.record import of_estimate, of_job, of_result
from carcli.bench.compare import Failed, Measured
from carcli.training.validate import Fidelity

PAGE = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([a-z_]+)`", PAGE))


@pytest.mark.parametrize(
    "record",
    [
        of_result(Result(Path("a"), None, "done")),
        of_job(Job(Path("a"), None)),
        of_estimate(Estimate(0, 0, 0, 0, 0, 0, 0), 1.0),
        {field.name: None for field in fields(Measured)},
        {field.name: None for field in fields(Failed)},
        Fidelity(0, 0, 0, 0).record(),
    ],
    ids=["result", "job", "estimate", "measured", "failed", "fidelity"],
)
def test_every_field_is_on_the_page(record):
    assert set(record) - NAMES == set()
