"""Records: the same names everywhere, flat, and nothing lost on the way through JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from carcli.batch import Estimate, Job, Result
from carcli.batch.record import of_estimate, of_job, of_result
from carcli.runtime.schema import SCHEMA

FIELDS = [
    "source", "target", "status", "reason", "kind", "existing", "notes", "model", "precision", "backend",
    "input_width", "input_height", "input_bytes", "input_changed_ns", "input_etag",
    "output_width", "output_height", "output_bytes", "format", "quality", "seconds",
]  # fmt: skip


def through_json(record):
    return json.loads(json.dumps(record, allow_nan=False))


def test_a_result_has_the_same_names_whatever_became_of_it():
    done = Result(
        Path("a.jpg"), Path("lr/a.png"), "done", notes=("note",), model="m", precision="bf16", backend="torch",
        input_size=(3, 2), output_size=(2, 1), input_bytes=7, input_changed=9, output_bytes=5,
        format="jpeg", quality=90, seconds=0.12345,
    )  # fmt: skip
    failed = Result(Path("b.jpg"), None, "failed", "lr/b.png is a folder", "its output is a folder")
    skipped = Result(Path("c.jpg"), Path("lr/c.png"), "skipped", "exists", existing="settings")
    records = [of_result(result) for result in (done, failed, skipped)]
    assert [list(record) for record in records] == [FIELDS] * 3
    assert [through_json(record) for record in records] == records
    assert list(records[0].values()) == [
        "a.jpg", str(Path("lr/a.png")), "done", None, None, None, ["note"], "m", "bf16", "torch",
        3, 2, 7, 9, None, 2, 1, 5, "jpeg", 90, 0.123,
    ]  # fmt: skip
    assert (records[1]["target"], records[1]["kind"], records[1]["input_width"]) == (None, "its output is a folder", None)
    assert records[2]["existing"] == "settings"
    assert SCHEMA == 1


def test_a_job_and_an_estimate():
    assert of_job(Job(Path("a.jpg"), Path("a.png"))) == {"source": "a.jpg", "target": "a.png", "obstacle": None, "kind": None}
    assert of_job(Job(Path("a.jpg"), None, "no such file"))["kind"] == "no such file"
    estimate = of_estimate(Estimate(1, 2, 3, 4, 5, 6, 7), 1.5)
    assert estimate == {
        "waiting": 1, "settled": 2, "refused": 3, "input_bytes": 4, "pixels": 5,
        "output_bytes": 6, "free_bytes": 7, "seconds": 1.5,
    }  # fmt: skip


def test_a_name_that_is_no_text_survives():
    name = "caf\udce9.png"
    text = json.dumps(of_result(Result(Path(name), None, "failed")))
    assert text.isascii()
    assert "caf\\udce9.png" in text
    back = json.loads(text)["source"]
    assert back == name
    if os.name == "posix":
        assert os.fsencode(back) == b"caf\xe9.png"
