"""What ``carcli bench`` is asked for, judged before any network library is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carcli.bench.datasets import place
from carcli.cli.bench_flags import BenchFlags
from carcli.cli.common import excludes, needs
from carcli.engines.names import check_backend
from carcli.errors import UsageError
from carcli.images.written import PNG, Encoding, encodings
from carcli.rescale.refinement import Refinement
from carcli.weights.choose import is_file, scales_of

if TYPE_CHECKING:
    from carcli.bench.thumbnails import Thumbnails


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options as what they mean."""

    models: Sequence[str]
    scales: Sequence[float]  # whole ones as int
    refinements: Sequence[Refinement | None]
    encodings: Sequence[Encoding]
    thumbnails: Sequence[Thumbnails | None]


def check(flags: BenchFlags) -> Asked:
    """Raises ``UsageError`` and ``WeightsError`` for what cannot be meant."""
    needs("--refine", bool(flags.refine), {"--refine-method": flags.refine_method})
    needs("--offsets", flags.offsets is not None, {"--region": flags.region or None})
    excludes("--thumbnails", "--refine", flags.thumbnails is not None and bool(flags.refine))
    excludes("--thumbnails", "--carrier", flags.thumbnails is not None and flags.carrier.value != PNG.name)
    excludes("--thumbnails", "--quality", flags.thumbnails is not None and flags.quality is not None)
    excludes("--thumbnails", "--keep-grey", flags.thumbnails is not None and flags.keep_grey)
    excludes("--json", "--format", flags.as_json and flags.form is not None)
    check_backend(flags.backend.value, flags.precision.value, flags.device)
    thumbnails = [None] if flags.thumbnails is None else _thumbnails(flags.thumbnails)
    refinements = _refinements(flags)
    carriers = encodings(flags.carrier.value, flags.quality or ())
    if flags.refine and any(carrier.lossy for carrier in carriers):
        raise UsageError(f"--refine settles single levels, which {flags.carrier.value} changes; leave one of them out")
    scales = list(dict.fromkeys(int(scale) if scale == int(scale) else scale for scale in flags.scale or [4]))
    models = [name.strip() for name in flags.model.split(",") if name.strip()]
    for name in models:
        if name != "all" and not is_file(name):
            scales_of(name)
    for name in flags.dataset:
        place(name)
    return Asked(models=models, scales=scales, refinements=refinements, encodings=carriers, thumbnails=thumbnails)


def _thumbnails(text: str) -> list[Thumbnails | None]:
    from carcli.bench.thumbnails import Thumbnails  # and with it Pillow

    return list(dict.fromkeys(Thumbnails.parse(one) for one in text.split(",")))


def _refinements(flags: BenchFlags) -> list[Refinement | None]:
    method = "fast" if flags.refine_method is None else flags.refine_method.value
    try:
        iterations = [int(number) for number in flags.refine.split(",") if number.strip()]
    except ValueError as error:
        raise UsageError(f"--refine {flags.refine!r}: give numbers of iterations, separated by commas") from error
    return [None, *(Refinement(count, method) for count in iterations)]
