"""The figures of ``--rate`` as a table, for a terminal, Markdown, CSV or JSON, and as charts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from carcli.bench.chart import Chart, scatter
from carcli.bench.rate import NAMES, Rate
from carcli.bench.table import ESCAPED, inert
from carcli.runtime.schema import plain
from carcli.runtime.text import shown

TITLES = ("dataset", "scale", "what", "images", "bits/px", "PSNR-Y", "PSNR-RGB", "quality")
TEXTS = ("dataset", "what")
LEGEND = (
    "Means over each dataset. bits/px: bits of the whole file for each pixel of the full-size picture. Below each LR file, "
    "codecs of the full-size picture, each image at the best quality whose file is not larger than that LR file "
    "(at the worst, where every file is)."
)


def _cells(rate: Rate) -> tuple[str, ...]:
    what = _ours(rate) if rate.codec is None else f"  {rate.codec.upper()}"
    quality = "" if rate.quality is None else f"{rate.quality:.0f}"
    figures = (f"{rate.bpp:.2f}", *("∞" if math.isinf(psnr) else f"{psnr:.2f}" for psnr in (rate.psnr_y, rate.psnr_rgb)))
    return shown(rate.dataset), f"x{rate.scale}", what, str(rate.images), *figures, quality


def _ours(rate: Rate) -> str:
    """A model and the file of its LR images, which its name says where that was asked for."""
    model, file = shown(rate.model or ""), rate.file or ""
    return model if file in model.split() else f"{model}, LR as {file.upper()}"


def compared(rates: Sequence[Rate]) -> list[Rate]:
    """Without the codecs' curves."""
    return [rate for rate in rates if rate.model is not None]


def cells(rates: Sequence[Rate]) -> list[tuple[bool, tuple[str, ...]]]:
    """Whether a row is a codec's, and its text."""
    return [(rate.codec is not None, _cells(rate)) for rate in compared(rates)]


def rich(rates: Sequence[Rate]) -> Table:
    table = Table(caption=LEGEND, caption_justify="left")
    for title in TITLES:
        table.add_column(title, justify="left" if title in TEXTS else "right", no_wrap=True)
    rows = cells(rates)
    for (codec, row), following in zip(rows, [*rows[1:], (False, ())], strict=True):
        table.add_row(*map(Text, row), style="dim" if codec else "", end_section=not following[0])
    return table


def markdown(rates: Sequence[Rate]) -> str:
    lines = ["| " + " | ".join(TITLES) + " |", "|" + "|".join("---" if t in TEXTS else "---:" for t in TITLES) + "|"]
    for codec, row in cells(rates):
        text = [ESCAPED.sub(r"\\\g<0>", cell.strip()) for cell in row]
        lines.append("| " + " | ".join(f"*{cell}*" if codec and cell else cell for cell in text) + " |")
    return "\n".join([*lines, "", LEGEND])


def comma_separated(rates: Sequence[Rate]) -> str:
    """CSV with every figure unrounded, the codecs' curves among them."""
    out = io.StringIO()
    writer = csv.DictWriter(out, NAMES, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: inert(v) if isinstance(v, str) else v for k, v in asdict(rate).items()} for rate in rates)
    return out.getvalue().rstrip("\n")


def as_json(rates: Sequence[Rate]) -> str:
    """One JSON array, the codecs' curves among it."""
    return json.dumps(plain([asdict(rate) for rate in rates]), indent=1)


def charts(rates: Sequence[Rate]) -> Iterator[Chart]:
    """For each dataset and scale: our LR files as points, codecs of the full-size picture as curves."""
    for dataset, scale in dict.fromkeys((rate.dataset, rate.scale) for rate in rates):
        group = [rate for rate in rates if (rate.dataset, rate.scale) == (dataset, scale) and math.isfinite(rate.psnr_y)]
        ours = [rate for rate in group if rate.codec is None]
        if not ours:
            continue
        points = [(_ours(rate), rate.bpp, rate.psnr_y) for rate in ours]
        curves: dict[str, list[tuple[float, float]]] = {}
        for rate in group:
            if rate.model is None and rate.codec is not None:
                curves.setdefault(rate.codec.upper(), []).append((rate.bpp, rate.psnr_y))
        title = f"{shown(dataset)} x{scale}"
        yield scatter(title, "bits of the file a full-size pixel", points, (), curves=curves)
