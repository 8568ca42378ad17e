"""Observers of a benchmark that write files: its images, mean spectra, drawings of offsets, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carcli.bench import analysis
from carcli.bench.benchmark import Observer, Plan
from carcli.bench.compare import Measured, Shown
from carcli.bench.names import Names, plain
from carcli.bench.rate import Rates
from carcli.bench.report import Report
from carcli.bench.table import Row
from carcli.errors import UsageError
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.rescale.rescaler import Rescaler
from carcli.runtime.files import remove_leftovers, write_whole


def _model(measured: Measured) -> str:
    """A row's model and scale as part of a file name."""
    return f"{measured.model.replace(' ', '')}-x{measured.scale}"


class _Output:
    """Folders that PNGs are written to, whole or not at all; what a killed run was writing there is cleared away."""

    def __init__(self) -> None:
        self._cleared: set[Path] = set()

    def write(self, folder: Path, name: str, picture: Image.Image) -> None:
        """Raises ``OSError``."""
        if folder not in self._cleared:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers([folder])
            self._cleared.add(folder)
        write_whole(folder / name, lambda file: picture.save(file, "PNG"))


class _Stems:
    """Names of images as parts of file names: two that differ in their suffix alone have two."""

    def __init__(self) -> None:
        self._names: dict[str, Names] = {}  # by dataset

    def of(self, measured: Measured) -> str:
        image = str(measured.image)
        return self._names.setdefault(measured.dataset, Names()).of(image, Path(image).stem)


class SavedImages(Observer):
    """Every LR and SR image, in a folder of its dataset and model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._output, self._datasets, self._stems = _Output(), Names(), _Stems()

    def image(self, measured: Measured, shown: Shown) -> None:
        folder = self._folder / self._datasets.of(measured.dataset, measured.dataset) / plain(_model(measured))
        for kind, pixels in (("lr", shown.lr), ("sr", shown.sr)):
            self._output.write(folder, f"{self._stems.of(measured)}.{kind}.png", Image.fromarray(pixels.copy()))


class Spectra(Observer):
    """Each model's mean spectrum of its LR images (CAR, figure 6)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._output, self._names = _Output(), Names()
        self._spectra: dict[str, list[NDArray[np.float64]]] = {}

    def image(self, measured: Measured, shown: Shown) -> None:
        model = _model(measured)
        name = self._names.of((measured.dataset, model), f"{measured.dataset}-{model}")
        self._spectra.setdefault(name, []).append(analysis.spectrum(shown.lr))

    def finish(self, rows: Sequence[Row]) -> None:
        for name, spectra in self._spectra.items():
            self._output.write(self._folder, f"{name}.spectrum.png", analysis.draw_spectrum(spectra))


class Offsets(Observer):
    """Where each resampler samples (CAR, figure 4); ``pairs`` are those that are measured, by scale.

    A pair that reaches its scale by a resize is left out: it samples in what that makes. An image without such a region is
    passed over, unless it is the first. Raises ``UsageError`` then, and where none of the pairs samples at offsets.
    """

    def __init__(self, folder: Path, region: analysis.Region | None, pairs: Mapping[float, Sequence[Rescaler]]) -> None:
        self._folder, self._region, self._drawn = folder, region, False
        self._output, self._names = _Output(), Names()
        every = {(pair.id, scale): pair for scale, group in pairs.items() for pair in group if pair.target is None}
        self._pairs = {key: pair for key, pair in every.items() if isinstance(pair.networks.down, ContentAdaptiveResampler)}
        if not self._pairs:
            raise UsageError("none of the models samples at offsets of its own; name edsr-base-x4, say, and its scale")

    def image(self, measured: Measured, shown: Shown) -> None:
        rescaler = self._pairs.get((measured.model.split(" ")[0], measured.scale))
        if rescaler is None:
            return
        try:
            drawing = analysis.draw_offsets(rescaler, shown.hr, self._region)
        except UsageError:
            if self._region is not None and not self._drawn:
                raise
            return
        stem, model = Path(str(measured.image)).stem, _model(measured)
        name = self._names.of((measured.dataset, measured.image, model), f"{measured.dataset}-{stem}-{model}")
        self._output.write(self._folder, f"{name}.offsets.png", drawing)
        self._drawn = True


class Page(Observer):
    """The report, written in the end; with what ``rates`` has measured by then, and the command that it all came of."""

    def __init__(self, path: Path, plan: Plan, rates: Rates | None = None, command: str = "") -> None:
        images = [(dataset.name, file.name) for dataset in plan.datasets for file in dataset.files]
        self._path, self._rates = path, rates
        self._report = Report(images, plan.images // max(1, len(images)), command)

    def image(self, measured: Measured, shown: Shown) -> None:
        self._report.keep(measured, shown)

    def finish(self, rows: Sequence[Row]) -> None:
        self._report.write(self._path, rows, self._rates.rates if self._rates is not None else ())


def region(text: str) -> analysis.Region | None:
    """LEFT,TOP,WIDTH,HEIGHT in LR pixels; None where the text is empty. Raises ``UsageError``."""
    if not text:
        return None
    try:
        left, top, width, height = (int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"--region {text!r}: give LEFT,TOP,WIDTH,HEIGHT in LR pixels") from error
    return left, top, width, height
