"""The benchmark's table: our means and the published rows, for a terminal, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from carcli.bench import published
from carcli.bench.compare import Mean
from carcli.runtime.schema import plain
from carcli.runtime.text import shown

Row = dict[str, Any]  # column → value; missing where there is none


class Column(NamedTuple):
    """How a figure is shown."""

    title: str
    digits: int = 2


COLUMNS = {
    "dataset": Column("dataset"),
    "images": Column("images"),
    "scale": Column("scale"),
    "model": Column("model"),
    "psnr_y": Column("PSNR-Y"),
    "ssim_y": Column("SSIM-Y", digits=4),
    "psnr_rgb": Column("PSNR-RGB"),
    "ahead_of_car": Column("vs CAR"),
    "ahead_of_irn": Column("vs IRN"),
    "lr_psnr_y": Column("LR-Y"),
    "lr_psnr_rgb": Column("LR-RGB"),
    "lr_psnr_seen": Column("seen"),
    "lr_psnr_seen_worst": Column("worst"),
    "lr_bpp": Column("b/px LR"),
    "lr_bpp_webp": Column("b/px WebP"),
    "lr_bpp_jpegls": Column("b/px JPEG-LS"),
    "bytes": Column("LR/HR bytes"),
    "seconds_down": Column("s down"),
    "seconds_up": Column("s up"),
    "peak_mb": Column("MB", digits=0),
}
LEGEND = (
    "Means over each dataset, PSNR in dB, on Y with a border of `scale` pixels cut (8 at most). vs: dB ahead of the published "
    "CAR & EDSR (released) and IRN. LR: PSNR of the LR image against the bicubic one; seen: over RGB with "
    "both blurred by a Gaussian of one pixel, and in the worst 32x32 block. b/px: bits per LR pixel, "
    "of the file that down writes, a PNG unless the row says another, tag and profile included, and as lossless WebP and JPEG-LS."
)
TAD = ("dataset", "images", "scale", "model", "psnr_rgb", "lr_psnr_rgb", "lr_bpp", "seconds_down", "seconds_up")
TAD_LEGEND = "Means over each dataset, PSNR in dB over RGB, no border cut. LR: PSNR of the LR image against the bicubic one."
NAMES = ("dataset", "model")  # columns of text
ESCAPED = re.compile(r"[\\`*\[\]<>&|~]")  # what Markdown takes for more than text
DISPENSABLE = (  # the first goes first
    "peak_mb",
    "lr_bpp_webp",
    "lr_bpp_jpegls",
    "psnr_rgb",
    "lr_psnr_seen_worst",
    "lr_psnr_rgb",
    "bytes",
    "images",
    "scale",
    "lr_bpp",
    "ahead_of_irn",
    "ssim_y",
)


def assemble(means: Sequence[Mean]) -> list[Row]:
    """Rows in the order of datasets and scales, ours first, then what is published for the same."""
    rows: list[Row] = []
    for dataset, scale in dict.fromkeys((mean.measured.dataset, mean.measured.scale) for mean in means):
        group = [mean for mean in means if (mean.measured.dataset, mean.measured.scale) == (dataset, scale)]
        rows += [_ours(mean) for mean in group]
        for name, reached in published.rows(dataset, scale):
            row: Row = {"dataset": dataset, "scale": scale, "model": f"published: {name}", "published": True}
            rows.append(row | reached.model_dump(exclude_none=True))
    return rows


def _ours(mean: Mean) -> Row:
    measured = mean.measured
    row: Row = {"images": mean.images, "of": mean.of, "published": False}
    row |= {k: v for k, v in asdict(measured).items() if k != "image" and not (isinstance(v, float) and math.isnan(v))}
    for key, name in (("ahead_of_car", published.CAR), ("ahead_of_irn", published.IRN)):
        ahead = published.ahead(measured.psnr_y, measured.dataset, measured.scale, name)
        if ahead is not None and mean.whole:  # other images are another dataset
            row[key] = ahead
    return row


def whole(row: Row) -> bool:
    """Whether a row is of all images of its dataset."""
    return bool(row.get("images") == row.get("of"))


def cells(row: Row) -> dict[str, str]:
    """A row as text, column by column; empty where there is no value."""
    return {key: _cell(row, key) for key in COLUMNS}


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if key == "bytes":
        return f"{row['lr_bytes'] / row['hr_bytes']:.0%}" if row.get("hr_bytes") else ""
    if value is None:
        return ""
    if key == "scale":
        return f"x{value}"
    if key == "images" and not whole(row):
        return f"{value} of {row['of']}"
    if not isinstance(value, float):
        return shown(value)
    sign = "+" if key.startswith("ahead") and value >= 0 else ""
    return "∞" if math.isinf(value) else f"{sign}{value:.{COLUMNS[key].digits}f}"


def used(rows: Sequence[Row], tad: bool = False) -> list[str]:
    """The columns in which any row has a value; ``tad``: of those that the TAD paper gives."""
    return [key for key in (TAD if tad else COLUMNS) if any(_cell(row, key) for row in rows)]


def _fitting(rows: Sequence[Row], keys: list[str], width: int) -> list[str]:
    """What is left of the columns where the most dispensable go until ``width`` characters suffice."""
    kept = () if all(whole(row) for row in rows) else ("images",)  # it says which means are not of all images
    for dispensable in ("", *(key for key in DISPENSABLE if key not in kept)):
        keys = [key for key in keys if key != dispensable]
        longest = [max(len(COLUMNS[key].title), *(len(_cell(row, key)) for row in rows)) for key in keys]
        if sum(longest) + 3 * len(keys) + 1 <= width:
            break
    return keys


def _with_ends(rows: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """Each row, and whether it is the last one of its dataset and scale."""
    groups = [(row["dataset"], row["scale"]) for row in rows]
    return ((row, group != following) for row, group, following in zip(rows, groups, [*groups[1:], None], strict=True))


def rich(rows: Sequence[Row], width: int, tad: bool = False) -> Table:
    """The table for a terminal of ``width`` characters: the most dispensable columns go where it is too narrow.

    ``tad``: the figures that the TAD paper gives.
    """
    keys = _fitting(rows, used(rows, tad), width)
    table = Table(caption=TAD_LEGEND if tad else LEGEND, caption_justify="left")
    for key in keys:
        table.add_column(COLUMNS[key].title, justify="left" if key in NAMES else "right", no_wrap=True)
    for row, last in _with_ends(rows):
        table.add_row(*(Text(_cell(row, key)) for key in keys), style="dim" if row["published"] else "", end_section=last)
    return table


def markdown(rows: Sequence[Row], tad: bool = False) -> str:
    """The table in Markdown, published rows in italics, with its legend."""
    keys = used(rows, tad)
    lines = ["| " + " | ".join(COLUMNS[key].title for key in keys) + " |"]
    lines.append("|" + "|".join("---" if key in NAMES else "---:" for key in keys) + "|")
    for row in rows:
        text = [ESCAPED.sub(r"\\\g<0>", _cell(row, key)) for key in keys]
        lines.append("| " + " | ".join(f"*{cell}*" if row["published"] and cell else cell for cell in text) + " |")
    return "\n".join([*lines, "", TAD_LEGEND if tad else LEGEND])


def comma_separated(rows: Sequence[Row]) -> str:
    """CSV with every figure unrounded. A name that a spreadsheet would take for a formula has an apostrophe before it."""
    out = io.StringIO()
    fields = ["published", *[key for key in COLUMNS if key != "bytes"], "carrier", "quality", "of", "lr_bytes", "hr_bytes"]
    writer = csv.DictWriter(out, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: inert(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")


def inert(text: str) -> str:
    """A text for a spreadsheet, which takes it for no formula."""
    text = shown(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def as_json(rows: Sequence[Row]) -> str:
    """One JSON array; infinite figures are null."""
    return json.dumps(plain(rows), indent=1)
