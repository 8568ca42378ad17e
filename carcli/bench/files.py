"""Observers of a benchmark that write files: its images, mean spectra, drawings of offsets, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carcli.bench import analysis
from carcli.bench.benchmark import Observer
from carcli.bench.compare import Measured, Shown
from carcli.bench.report import Report
from carcli.bench.table import Row
from carcli.errors import UsageError
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.rescale.rescaler import Rescaler


def _model(measured: Measured) -> str:
    """A row's model and scale as part of a file name."""
    return f"{measured.model.replace(' ', '')}-x{measured.scale}"


def _stem(measured: Measured) -> str:
    return Path(str(measured.image)).stem


class SavedImages(Observer):
    """Every LR and SR image, in a folder of its dataset and model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def image(self, measured: Measured, shown: Shown) -> None:
        folder = self._folder / measured.dataset / _model(measured)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, pixels in (("lr", shown.lr), ("sr", shown.sr)):
            Image.fromarray(pixels.copy()).save(folder / f"{_stem(measured)}.{kind}.png")


class Spectra(Observer):
    """Each model's mean spectrum of its LR images (CAR, figure 6)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spectra: dict[str, list[NDArray[np.float64]]] = {}

    def image(self, measured: Measured, shown: Shown) -> None:
        name = f"{measured.dataset}-{_model(measured)}"
        self._spectra.setdefault(name, []).append(analysis.spectrum(shown.lr))

    def finish(self, rows: Sequence[Row]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, spectra in self._spectra.items():
            analysis.draw_spectrum(spectra).save(self._folder / f"{name}.spectrum.png")


class Offsets(Observer):
    """Where each resampler samples (CAR, figure 4); ``pairs`` are those that are measured, by scale.

    Raises ``UsageError`` where none of them does so at offsets.
    """

    def __init__(self, folder: Path, region: analysis.Region | None, pairs: Mapping[int, Sequence[Rescaler]]) -> None:
        self._folder, self._region = folder, region
        self._pairs = {(pair.id, scale): pair for scale, group in pairs.items() for pair in group}
        if not any(isinstance(pair.networks.down, ContentAdaptiveResampler) for pair in self._pairs.values()):
            raise UsageError("none of the models samples at offsets of its own; name edsr-base-x4, say, with --model")

    def image(self, measured: Measured, shown: Shown) -> None:
        rescaler = self._pairs[measured.model.split(" ")[0], measured.scale]
        if isinstance(rescaler.networks.down, ContentAdaptiveResampler):
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{measured.dataset}-{_stem(measured)}-{measured.model}.offsets.png"
            analysis.draw_offsets(rescaler, shown.hr, self._region).save(self._folder / name)


class Page(Observer):
    """The report, written in the end."""

    def __init__(self, path: Path) -> None:
        self._path, self._report = path, Report()

    def image(self, measured: Measured, shown: Shown) -> None:
        self._report.keep(measured, shown)

    def finish(self, rows: Sequence[Row]) -> None:
        self._report.write(self._path, rows)


def region(text: str) -> analysis.Region | None:
    """LEFT,TOP,WIDTH,HEIGHT in LR pixels; None where the text is empty. Raises ``UsageError``."""
    if not text:
        return None
    try:
        left, top, width, height = (int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"--region {text!r}: give LEFT,TOP,WIDTH,HEIGHT in LR pixels") from error
    return left, top, width, height
