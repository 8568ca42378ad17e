"""A benchmark: several datasets, scales, pairs and refinements, one after another, before observers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from carcli.bench import table
from carcli.bench.compare import WIDEST_BORDER, Failed, Mean, Measured, Setup, Shown, each, mean
from carcli.bench.datasets import Images
from carcli.bench.thumbnails import Thumbnails
from carcli.engines.names import TORCH
from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images.written import LOSSLESS, Encoding
from carcli.models.families import CLASSICAL
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.weights import manifest, store


class Observer:
    """What is told of a benchmark while it runs; others override what they listen to."""

    def image(self, measured: Measured, shown: Shown) -> None:
        """One image was restored by one model. May raise ``OSError``."""

    def failed(self, failed: Failed) -> None:
        """One image could not be measured with one model, and is left out."""

    def mean(self, mean: Mean) -> None:
        """A dataset is through with one model."""

    def finish(self, rows: Sequence[table.Row]) -> None:
        """The benchmark is through; these are its table's rows. May raise ``OSError``."""


@dataclass(frozen=True)
class Plan:
    """What is measured: every pair on every dataset, as it is and refined, through every kind of file."""

    datasets: Sequence[Images]
    pairs: Mapping[float, Sequence[Rescaler]]  # by scale
    refinements: Sequence[Refinement | None] = (None,)
    widest_border: int = WIDEST_BORDER
    device: str = "auto"
    keep_grey: bool = False  # as of ``down``
    encodings: Sequence[Encoding] = (LOSSLESS,)  # of the LR files
    thumbnails: Sequence[Thumbnails | None] = (None,)  # restored instead of what the pairs themselves make

    @property
    def images(self) -> int:
        """How many measurements of one image there are in all."""
        images = sum(len(dataset.files) for dataset in self.datasets)
        pairs = sum(len(group) for group in self.pairs.values())
        return images * pairs * len(self.refinements) * len(self.encodings) * len(self.thumbnails)


def pairs_of(
    models: Sequence[str], scale: float, device: str, precision: str, backend: str = TORCH, *, say: Callable[[str], object]
) -> list[Rescaler]:
    """The pairs that names mean at a scale; ``all`` are the classical families and every checkpoint that is here.

    One of several that has none at the scale is left out, and ``say`` is told so. Raises
    ``WeightsError`` otherwise.
    """
    named = set(models)
    if "all" in models:
        here = [entry.id for entry in manifest.entries() if entry.scale == scale and store.state(entry) != "missing"]
        models = list(dict.fromkeys([*here, *CLASSICAL, *(name for name in models if name != "all")]))
    pairs: dict[str, Rescaler] = {}
    for name in models:
        if scale == 1 and name in CLASSICAL:
            say(f"{name} changes nothing at scale 1, and is left out there")
            continue
        try:
            rescaler = load(name, scale, device, precision, backend)
        except UsageError as error:  # of what is asked of all, one does not compute so
            if name in named:
                raise
            say(f"{name} is left out: {error}")
            continue
        except WeightsError as error:
            if len(models) == 1 or "at scale" not in str(error):
                raise
            say(str(error))
            continue
        if pairs.setdefault(rescaler.id, rescaler).digest != rescaler.digest:
            say(f"{name} has the id of another model that is measured, {rescaler.id}, and is left out")
    return list(pairs.values())


def run(plan: Plan, observers: Sequence[Observer]) -> list[table.Row]:
    """Measure everything that can be; returns the table's rows, the published ones among them.

    Raises ``ImageError`` where nothing can be measured, and ``OSError`` as the observers do.
    """
    means: list[Mean] = []
    for dataset in plan.datasets:
        for scale, group in plan.pairs.items():
            bicubic = load("bicubic", scale, plan.device)
            for rescaler in group:
                for refinement, encoding, thumbnails in product(plan.refinements, plan.encodings, plan.thumbnails):
                    setup = Setup(
                        rescaler,
                        bicubic,
                        refinement,
                        plan.widest_border,
                        keep_grey=plan.keep_grey,
                        encoding=encoding,
                        thumbnails=thumbnails,
                    )
                    means += _mean(dataset, setup, observers)
    if not means:
        raise ImageError("none of the images could be measured")
    rows = table.assemble(means)
    for observer in observers:
        observer.finish(rows)
    return rows


def _mean(dataset: Images, setup: Setup, observers: Sequence[Observer]) -> Iterator[Mean]:
    """What a setup reaches on a dataset; nothing where none of its images can be measured."""
    rows = []
    for result in each(dataset, setup):
        for observer in observers:
            if isinstance(result, Failed):
                observer.failed(result)
            else:
                observer.image(*result)
        if not isinstance(result, Failed):
            rows.append(result[0])
    if rows:
        whole = Mean(mean(rows), images=len(rows), of=len(dataset.files))
        for observer in observers:
            observer.mean(whole)
        yield whole
