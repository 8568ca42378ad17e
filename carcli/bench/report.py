"""``--report``: one HTML page that needs nothing else: table, charts, and images to compare with a slider."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import jinja2

from carcli.bench import rate_table
from carcli.bench.chart import Chart, scatter
from carcli.bench.compare import Measured, Shown
from carcli.bench.excerpt import GAIN, QUALITY, Excerpt, embedded, error, fitting, overview
from carcli.bench.rate import Rate
from carcli.bench.table import COLUMNS, LEGEND, Row, cells, used
from carcli.runtime import text
from carcli.runtime.files import write_whole
from carcli.version import __version__

BUDGET = 10_000_000  # characters of embedded images in a page
MOST = 320  # restored images in a page; with more, photographs are left out of it evenly
LEAST_SHOWN = 160  # pixels: a narrower image is magnified to about that

Name = tuple[str, str | None]  # dataset and image


def _part(name: str, package: str = "carcli.bench") -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")


SCRIPT, STYLE = _part("pages/slider.js", "carcli") + _part("report.js"), _part("report.css")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


def _decibels(value: float) -> str:
    return "∞ dB" if math.isinf(value) else f"{value:.2f} dB"


PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
PAGE.filters |= {"shown": text.shown, "dB": _decibels, "known": lambda value: not math.isnan(value)}
TEMPLATE = PAGE.from_string(_part("report.html"))


@dataclass(frozen=True)
class Restored:
    """What a model made of an excerpt: its figures, and its pictures as addresses that hold them."""

    measured: Measured
    sr: str
    lr: str
    error: str

    @classmethod
    def of(cls, measured: Measured, shown: Shown, excerpt: Excerpt) -> Restored:
        return cls(
            measured=measured,
            sr=embedded(excerpt.hr.of(shown.sr), QUALITY),
            lr=embedded(excerpt.lr.of(shown.lr)),
            error=embedded(error(shown, excerpt), QUALITY),
        )

    @property
    def size(self) -> int:
        return len(self.sr) + len(self.lr) + len(self.error)


@dataclass(frozen=True)
class Part:
    """What is shown of an image at a scale, and what the models made of it."""

    scale: float
    excerpt: Excerpt
    size: tuple[int, int]  # of the whole photograph, as it was measured
    lr_size: tuple[int, int]
    hr: str
    overview: str  # empty where the excerpt is all of it
    restored: list[Restored] = field(default_factory=list)

    @classmethod
    def of(cls, shown: Shown, scale: float, excerpt: Excerpt, overview: str) -> Part:
        return cls(
            scale=scale,
            excerpt=excerpt,
            size=(shown.hr.shape[1], shown.hr.shape[0]),
            lr_size=(shown.lr.shape[1], shown.lr.shape[0]),
            hr=embedded(excerpt.hr.of(shown.hr), QUALITY),
            overview="" if excerpt.whole else overview,
        )

    @property
    def zoom(self) -> int:
        """How many times as large as it is the excerpt is shown."""
        return max(1, LEAST_SHOWN // max(self.excerpt.hr.width, self.excerpt.hr.height))


class Report:
    """Collects what a benchmark shows; ``write`` makes the page.

    ``images`` are all that are measured, ``models`` how many times each: they share the bytes of the page.
    """

    def __init__(self, images: Sequence[Name], models: int, command: str = "") -> None:
        self._command = command
        count = max(1, min(len(images), MOST // max(1, models)))
        self._wanted = {images[i * len(images) // count] for i in range(count)} if images else set()
        self._all = len(set(images))
        self._share = BUDGET // (count * max(1, models))  # of a restored image
        self._models = max(1, models)
        self._parts: dict[Name, dict[float, Part]] = {}

    def keep(self, measured: Measured, shown: Shown) -> None:
        """Take in one restored image, if its photograph is among those that the page has."""
        name = (measured.dataset, measured.image)
        if name not in self._wanted:
            return
        parts = self._parts.setdefault(name, {})
        if measured.scale not in parts:
            parts[measured.scale] = self._begin(measured, shown)
        part = parts[measured.scale]
        part.restored.append(Restored.of(measured, shown, part.excerpt))

    def _begin(self, measured: Measured, shown: Shown) -> Part:
        """The largest excerpt that keeps to its share of bytes, if every model's took as many as this one's."""
        small = overview(shown.hr)

        def size(excerpt: Excerpt) -> float:
            part = Part.of(shown, measured.scale, excerpt, small)
            return (len(part.hr) + len(part.overview)) / self._models + Restored.of(measured, shown, excerpt).size

        return Part.of(shown, measured.scale, fitting(shown, size, self._share), small)

    def write(self, path: Path, rows: Sequence[Row], rates: Sequence[Rate] = ()) -> None:
        """Write the page, whole or not at all. Raises ``OSError``."""
        page = TEMPLATE.render(
            version=__version__,
            policy=POLICY,
            script=SCRIPT,
            style=STYLE,
            command=self._command,
            legend=LEGEND,
            columns={key: COLUMNS[key].title for key in used(rows)},
            rows=[(row["published"], cells(row)) for row in rows],
            charts=list(_charts(rows)),
            rates=rate_table.cells(rates),
            rate_titles=rate_table.TITLES,
            rate_legend=rate_table.LEGEND,
            rate_charts=list(rate_table.charts(rates)),
            images=[(f"{dataset}/{image}", list(parts.values())) for (dataset, image), parts in self._parts.items()],
            all_images=self._all,
            gain=GAIN,
            quality=QUALITY,
        )
        write_whole(path, lambda file: file.write(page.encode("utf-8", "backslashreplace")))


def _charts(rows: Sequence[Row]) -> Iterator[Chart]:
    """For each dataset and scale: fidelity over bytes, over time, and over likeness where several models have one."""
    for dataset, scale in dict.fromkeys((row["dataset"], row["scale"]) for row in rows):
        group = [row for row in rows if (row["dataset"], row["scale"]) == (dataset, scale) and "psnr_y" in row]
        lines = [(row["model"].removeprefix("published: "), row["psnr_y"]) for row in group if row["published"]]
        ours = [row for row in group if not row["published"] and math.isfinite(row["psnr_y"])]
        if not ours:
            continue
        title = f"{text.shown(dataset)} x{scale}"
        sizes = [(row["model"], row["lr_bytes"] / 1000, row["psnr_y"]) for row in ours]
        yield scatter(title, "kB an LR file", sizes, lines)
        seconds = [(row["model"], row["seconds_down"] + row["seconds_up"], row["psnr_y"]) for row in ours]
        yield scatter(title, "seconds an image, down and up", seconds, lines)
        likeness = [
            (row["model"], row["lr_psnr_rgb"], row["psnr_y"]) for row in ours if math.isfinite(row.get("lr_psnr_rgb", math.inf))
        ]
        if len(likeness) > 1:  # the TAD paper's figure 4
            yield scatter(title, "LR PSNR against bicubic, RGB, dB", likeness, lines)
