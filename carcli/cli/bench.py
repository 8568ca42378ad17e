"""``carcli bench``: fidelity against the originals and against what is published, one model beside another."""

from __future__ import annotations

from carcli.cli.bench_flags import BenchFlags
from carcli.cli.flags import takes


@takes(BenchFlags)
def bench(flags: BenchFlags) -> None:
    """Shrink and restore the images of datasets; fidelity, size and speed beside the published figures."""
    from carcli.cli.bench_checks import check

    asked = check(flags)
    from carcli.cli.benchmark import run  # and with it torch

    run(flags, asked)
