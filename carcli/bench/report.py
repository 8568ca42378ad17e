"""``--report``: one HTML page that needs nothing else: table, charts, and every image to compare with a slider."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from carcli.bench import rate_table
from carcli.bench.chart import Chart, scatter
from carcli.bench.compare import Measured, Shown
from carcli.bench.rate import Rate
from carcli.bench.table import COLUMNS, LEGEND, Row, cells, used
from carcli.images.metrics import luma
from carcli.images.picture import Pixels
from carcli.runtime import text
from carcli.runtime.files import write_whole

GAIN = 8  # errors are shown so many times as strong

PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    (resources.files("carcli.bench") / "report.html").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Figure:
    """One restored image of the page: its figures, and its pictures as addresses that hold them."""

    measured: Measured
    hr: str
    sr: str
    lr: str
    error: str


class Report:
    """Collects what a benchmark shows; ``write`` makes the page."""

    def __init__(self) -> None:
        self._figures: dict[str, list[Figure]] = {}  # by image
        self._originals: dict[tuple[str, float], str] = {}  # by image and scale, which decides how much is cut

    def keep(self, measured: Measured, shown: Shown) -> None:
        """Take in one restored image."""
        name = text.shown(f"{measured.dataset}/{measured.image}")
        if (name, measured.scale) not in self._originals:
            self._originals[name, measured.scale] = _embedded(shown.hr)
        figure = Figure(
            measured=measured,
            hr=self._originals[name, measured.scale],
            sr=_embedded(shown.sr),
            lr=_embedded(shown.lr, lossless=True),
            error=_embedded(_error(shown)),
        )
        self._figures.setdefault(name, []).append(figure)

    def write(self, path: Path, rows: Sequence[Row], rates: Sequence[Rate] = ()) -> None:
        """Write the page, whole or not at all. Raises ``OSError``."""
        page = PAGE.render(
            legend=LEGEND,
            columns={key: COLUMNS[key].title for key in used(rows)},
            rows=[(row["published"], cells(row)) for row in rows],
            charts=list(_charts(rows)),
            rates=rate_table.cells(rates),
            rate_titles=rate_table.TITLES,
            rate_legend=rate_table.LEGEND,
            rate_charts=list(rate_table.charts(rates)),
            images=self._figures,
            gain=GAIN,
        )
        write_whole(path, lambda file: file.write(page.encode("utf-8", "backslashreplace")))


def _embedded(pixels: Pixels, lossless: bool = False) -> str:
    """An address that holds the image itself: a PNG, or WebP of quality 90."""
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if lossless:
        image.save(out, "png")
    else:
        image.save(out, "webp", quality=90)
    return f"data:image/{'png' if lossless else 'webp'};base64,{base64.b64encode(out.getvalue()).decode()}"


def _error(shown: Shown) -> Pixels:
    return (128 + GAIN * (luma(shown.sr) - luma(shown.hr))).round().clip(0, 255).astype(np.uint8)


def _charts(rows: Sequence[Row]) -> Iterator[Chart]:
    """For each dataset and scale: fidelity over time, over bytes, and over likeness where several models have one."""
    for dataset, scale in dict.fromkeys((row["dataset"], row["scale"]) for row in rows):
        group = [row for row in rows if (row["dataset"], row["scale"]) == (dataset, scale)]
        published = [row for row in group if row["published"] and "psnr_y" in row]
        lines = [(row["model"].removeprefix("published: "), row["psnr_y"]) for row in published]
        ours = [row for row in group if not row["published"] and math.isfinite(row["psnr_y"])]
        if not ours:
            continue
        title = f"{dataset} x{scale}: PSNR-Y, dB"
        seconds = [(row["model"], row["seconds_down"] + row["seconds_up"], row["psnr_y"]) for row in ours]
        yield scatter(title, "seconds an image, down and up", seconds, lines)
        sizes = [(row["model"], row["lr_bytes"] / 1000, row["psnr_y"]) for row in ours]
        yield scatter(title, "kB an LR image", sizes, lines)
        likeness = [(row["model"], row["lr_psnr_rgb"], row["psnr_y"]) for row in ours if math.isfinite(row["lr_psnr_rgb"])]
        if len(likeness) > 1:  # the TAD paper's figure 4
            yield scatter(title, "LR PSNR against bicubic, RGB, dB", likeness, lines, from_zero=False)
