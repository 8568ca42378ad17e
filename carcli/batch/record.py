"""A batch's plain data as flat records for JSON: the same names in the journal and in what ``--json`` prints.

Paths are strings. A byte of a name that is no text is there as Python keeps it, as a surrogate of
its own: ``json.dumps`` writes byte E9 as ``\\udce9``, ``json.loads`` reads it, and ``os.fsencode``
makes the byte of it again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from carcli.batch.estimate import Estimate
from carcli.batch.job import Job, Result


def of_job(job: Job) -> dict[str, Any]:
    """What is planned for one image: ``source``, ``target``, and why it cannot be, ``obstacle`` and ``kind``."""
    return {
        "source": job.name,
        "target": _text(job.target),
        "obstacle": job.obstacle,
        "kind": job.kind or job.obstacle,
    }


def of_result(result: Result) -> dict[str, Any]:
    """What became of one image; whatever is not known is None."""
    input_width, input_height = result.input_size or (None, None)
    output_width, output_height = result.output_size or (None, None)
    return {
        "source": result.name,
        "target": _text(result.target),
        "status": result.status,
        "reason": result.reason,
        "kind": result.kind,
        "existing": result.existing,
        "notes": [*([result.untagged.told()] if result.untagged else []), *result.notes],
        "model": result.model,
        "precision": result.precision,
        "backend": result.backend,
        "input_width": input_width,
        "input_height": input_height,
        "input_bytes": result.input_bytes,
        "input_changed_ns": result.input_changed,
        "input_etag": result.input_etag,
        "output_width": output_width,
        "output_height": output_height,
        "output_bytes": result.output_bytes,
        "format": result.format,
        "quality": result.quality,
        "seconds": round(result.seconds, 3),
    }


def of_estimate(estimate: Estimate, seconds: float | None = None) -> dict[str, Any]:
    """What a batch comes to, and how long it will take, where that was tried."""
    return {**asdict(estimate), "seconds": seconds}


def _text(path: object) -> str | None:
    return None if path is None else str(path)
