"""``--report``: one HTML page that needs nothing else: table, charts, and every image to compare with a slider."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from carcli.bench.compare import Measured, Shown
from carcli.bench.table import COLUMNS, LEGEND, Row, cells
from carcli.images.picture import Pixels
from carcli.runtime.files import write_whole

COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#475569")
GAIN = 8  # errors are shown so many times as strong

PAGE = Template((resources.files("carcli.bench") / "report.html").read_text(encoding="utf-8"))


def _embed(pixels: Pixels, lossless: bool = False) -> str:
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if lossless:
        image.save(out, "png")
    else:
        image.save(out, "webp", quality=90)
    return f"data:image/{'png' if lossless else 'webp'};base64,{base64.b64encode(out.getvalue()).decode()}"


def _error(shown: Shown) -> Pixels:
    from carcli.images.metrics import luma

    return (128 + GAIN * (luma(shown.sr) - luma(shown.hr))).round().clip(0, 255).astype(np.uint8)


def _table(made: Sequence[Row]) -> str:
    used = [key for key in COLUMNS if any(cells(row)[key] for row in made)]
    head = "".join(f"<th>{COLUMNS[key]}</th>" for key in used)
    lines = []
    for row in made:
        text = cells(row)
        inner = "".join(f"<td{' class=name' if k == 'model' else ''}>{html.escape(text[k])}</td>" for k in used)
        lines.append(f"<tr{' class=published' if row['published'] else ''}>{inner}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 7)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _chart(
    points: Sequence[tuple[str, float, float]], lines: Sequence[tuple[str, float]], title: str, label: str, near_zero: bool = True
) -> str:
    """A scatter plot as SVG: named points (cost, dB), and published figures as lines across; costs from zero or the least on."""
    width, height, left, bottom = 560, 340, 52, 44
    xs, ys = [p[1] for p in points], [p[2] for p in points] + [y for _, y in lines]
    low, high = math.floor(min(ys) - 0.5), math.ceil(max(ys) + 0.5)
    least = 0.0 if near_zero else math.floor(min(xs) - 0.5)
    most = max(xs) * 1.15 or 1.0 if near_zero else math.ceil(max(xs) + 0.5)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (width - left - 10) * (x - least) / (most - least), 24 + (height - 24 - bottom) * (high - y) / (high - low)

    out = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{html.escape(title)}">']
    out.append(f'<text x="{left}" y="14" font-weight="600">{html.escape(title)}</text>')
    for y in _ticks(low, high):
        px, py = at(least, y)
        out.append(f'<line x1="{px}" x2="{width - 10}" y1="{py:.1f}" y2="{py:.1f}" stroke="currentColor" opacity=".12"/>')
        out.append(f'<text x="{left - 6}" y="{py + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in _ticks(least, most):
        px, py = at(x, low)
        out.append(f'<text x="{px:.1f}" y="{py + 16:.1f}" text-anchor="middle">{x:g}</text>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">{html.escape(label)}</text>')
    taken: list[float] = []
    for name, y in sorted(lines, key=lambda one: -one[1]):
        px, py = at(least, y)
        across = f'x1="{px}" x2="{width - 10}" y1="{py:.1f}" y2="{py:.1f}"'
        out.append(f'<line {across} stroke="currentColor" stroke-dasharray="4 4" opacity=".5"/>')
        if all(abs(py - other) > 12 for other in taken):
            out.append(f'<text x="{width - 12}" y="{py - 4:.1f}" text-anchor="end" opacity=".7">{html.escape(name)}</text>')
            taken.append(py)
    for i, (name, x, y) in enumerate(points):
        px, py = at(x, y)
        out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="6" fill="{COLOURS[i % len(COLOURS)]}"/>')
        anchor, dx = ("end", -10) if px > width * 0.7 else ("start", 10)
        out.append(f'<text x="{px + dx:.1f}" y="{py + 4:.1f}" text-anchor="{anchor}">{html.escape(name)}</text>')
    return "".join([*out, "</svg>"])


def _charts(made: Sequence[Row]) -> str:
    charts = []
    for dataset, scale in dict.fromkeys((row["dataset"], row["scale"]) for row in made):
        group = [row for row in made if (row["dataset"], row["scale"]) == (dataset, scale)]
        ours = [row for row in group if not row["published"]]
        lines = [
            (row["model"].removeprefix("published: "), row["psnr_y"]) for row in group if row["published"] and "psnr_y" in row
        ]
        shown = [row for row in ours if math.isfinite(row["psnr_y"])]
        if not shown:
            continue
        seconds = [(row["model"], row["seconds_down"] + row["seconds_up"], row["psnr_y"]) for row in shown]
        sizes = [(row["model"], row["lr_bytes"] / 1000, row["psnr_y"]) for row in shown]
        charts.append(_chart(seconds, lines, f"{dataset} x{scale}: PSNR-Y, dB", "seconds an image, down and up"))
        charts.append(_chart(sizes, lines, f"{dataset} x{scale}: PSNR-Y, dB", "kB an LR image, PNG"))
        likeness = [(row["model"], row["lr_psnr_rgb"], row["psnr_y"]) for row in shown if math.isfinite(row["lr_psnr_rgb"])]
        if len(likeness) > 1:  # the TAD paper's figure 4
            label = "LR PSNR against bicubic, RGB, dB"
            charts.append(_chart(likeness, lines, f"{dataset} x{scale}: PSNR-Y, dB", label, near_zero=False))
    return "".join(charts)


class Report:
    """Collects what a benchmark shows; ``write`` makes the page."""

    def __init__(self) -> None:
        self._shown: list[tuple[Measured, str]] = []
        self._originals: dict[tuple[str, str, int], str] = {}

    def keep(self, measured: Measured, shown: Shown) -> None:
        """Take in one restored image."""
        key = (measured.dataset, str(measured.image), measured.scale)
        if key not in self._originals:
            self._originals[key] = _embed(shown.hr)
        figure = (
            f"<div class=pair><figure><div class=slide><img src='{_embed(shown.sr)}' alt=''><div class=top>"
            f"<img src='{self._originals[key]}' alt=''></div></div><input type=range value=50 aria-label='original'>"
            f"<figcaption>{html.escape(measured.model)} x{measured.scale}: {measured.psnr_y:.2f} dB, SSIM {measured.ssim_y:.4f}"
            f"</figcaption></figure><figure><img src='{_embed(shown.lr, lossless=True)}' alt=''>"
            f"<figcaption>LR, {measured.lr_bytes / 1000:.1f} kB</figcaption></figure>"
            f"<figure><img src='{_embed(_error(shown))}' alt='' style='max-width:min(100%,360px)'>"
            f"<figcaption>error on Y, {GAIN}×</figcaption></figure></div>"
        )
        self._shown.append((measured, figure))

    def write(self, path: Path, made: Sequence[Row]) -> None:
        """Write the page, whole or not at all. Raises ``OSError``."""
        parts: list[str] = []
        for dataset, image in dict.fromkeys((m.dataset, m.image) for m, _ in self._shown):
            inner = "".join(figure for m, figure in self._shown if (m.dataset, m.image) == (dataset, image))
            title = html.escape(f"{dataset}/{image}")
            parts.append(f"<details{' open' if not parts else ''}><summary>{title}</summary>{inner}</details>")
        page = PAGE.substitute(
            legend=html.escape(LEGEND), table=_table(made), charts=_charts(made), images="".join(parts), gain=GAIN
        )
        write_whole(path, lambda file: file.write(page.encode()))
