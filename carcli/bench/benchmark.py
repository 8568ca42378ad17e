"""A benchmark: several datasets, scales, pairs and refinements, one after another, before observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from carcli.bench import table
from carcli.bench.compare import WIDEST_BORDER, Measured, Setup, Shown, compare
from carcli.bench.datasets import Images
from carcli.errors import WeightsError
from carcli.models.families import CLASSICAL
from carcli.rescale.refine import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.weights import manifest, store


class Observer:
    """What is told of a benchmark while it runs; others override what they listen to."""

    def image(self, measured: Measured, shown: Shown) -> None:
        """One image was restored by one model. May raise ``OSError``."""

    def mean(self, measured: Measured) -> None:
        """A dataset is through with one model."""

    def finish(self, rows: Sequence[table.Row]) -> None:
        """The benchmark is through; these are its table's rows. May raise ``OSError``."""


@dataclass(frozen=True)
class Plan:
    """What is measured: every pair on every dataset, as it is and refined."""

    datasets: Sequence[Images]
    pairs: Mapping[int, Sequence[Rescaler]]  # by scale
    refinements: Sequence[Refinement | None] = (None,)
    widest_border: int = WIDEST_BORDER
    device: str = "auto"

    @property
    def images(self) -> int:
        """How many measurements of one image there are in all."""
        pairs = sum(len(group) for group in self.pairs.values())
        return sum(len(dataset.files) for dataset in self.datasets) * pairs * len(self.refinements)


def pairs_of(models: Sequence[str], scale: int, device: str, precision: str, say: Callable[[str], object]) -> list[Rescaler]:
    """The pairs that names mean at a scale; ``all`` are the classical families and every checkpoint that is here.

    One of several that has none at the scale is left out, and ``say`` is told so. Raises
    ``WeightsError`` otherwise.
    """
    if "all" in models:
        here = [entry.id for entry in manifest.entries() if entry.scale == scale and store.state(entry) != "missing"]
        models = list(dict.fromkeys([*here, *CLASSICAL, *(name for name in models if name != "all")]))
    pairs: dict[str, Rescaler] = {}
    for name in models:
        if scale == 1 and name in CLASSICAL:
            say(f"{name} changes nothing at scale 1, and is left out there")
            continue
        try:
            rescaler = load(name, scale, device, precision)
        except WeightsError as error:
            if len(models) == 1 or "at scale" not in str(error):
                raise
            say(str(error))
            continue
        pairs.setdefault(rescaler.id, rescaler)
    return list(pairs.values())


def run(plan: Plan, observers: Sequence[Observer]) -> list[table.Row]:
    """Measure everything; returns the table's rows, the published ones among them.

    Raises ``ImageError`` that names the file, and ``OSError`` as the observers do.
    """

    def keep(measured: Measured, shown: Shown) -> None:
        for observer in observers:
            observer.image(measured, shown)

    means: list[Measured] = []
    for dataset in plan.datasets:
        for scale, group in plan.pairs.items():
            bicubic = load("bicubic", scale, plan.device)
            for rescaler in group:
                for refinement in plan.refinements:
                    mean = compare(dataset, Setup(rescaler, bicubic, refinement, plan.widest_border), keep)
                    means.append(mean)
                    for observer in observers:
                        observer.mean(mean)
    rows = table.assemble(means, {dataset.name: len(dataset.files) for dataset in plan.datasets})
    for observer in observers:
        observer.finish(rows)
    return rows
