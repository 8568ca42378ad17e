"""The benchmark's table: our means and the published rows, for a terminal, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from carcli.bench.compare import Measured
from carcli.bench.published import CAR, IRN, ahead, rows

Row = dict[str, Any]  # column → value; missing where there is none

COLUMNS = {
    "dataset": "dataset",
    "images": "images",
    "scale": "scale",
    "model": "model",
    "psnr_y": "PSNR-Y",
    "ssim_y": "SSIM-Y",
    "psnr_rgb": "PSNR-RGB",
    "ahead_of_car": "vs CAR",
    "ahead_of_irn": "vs IRN",
    "lr_psnr_y": "LR-Y",
    "lr_psnr_rgb": "LR-RGB",
    "lr_psnr_seen": "seen",
    "lr_psnr_seen_worst": "worst",
    "lr_bpp": "b/px PNG",
    "lr_bpp_webp": "b/px WebP",
    "bytes": "LR/HR bytes",
    "seconds_down": "s down",
    "seconds_up": "s up",
    "peak_mb": "MB",
}
DIGITS = {
    "psnr_y": 2, "ssim_y": 4, "psnr_rgb": 2, "ahead_of_car": 2, "ahead_of_irn": 2, "lr_psnr_y": 2, "lr_psnr_rgb": 2,
    "lr_psnr_seen": 2, "lr_psnr_seen_worst": 2,
    "lr_bpp": 2, "lr_bpp_webp": 2, "seconds_down": 2, "seconds_up": 2, "peak_mb": 0,
}  # fmt: skip
LEGEND = (
    "Means over each dataset, PSNR in dB, on Y with a border of `scale` pixels cut (8 at most). vs: dB ahead of the published "
    "CAR & EDSR (released) and IRN. LR: PSNR of the LR image against the bicubic one; seen: over RGB with "
    "both blurred by a Gaussian of one pixel, and in the worst 32x32 block. b/px: bits per LR pixel."
)


def assemble(means: Sequence[Measured], counts: Mapping[str, int]) -> list[Row]:
    """Rows in the order of datasets and scales, ours first, then what is published for the same."""
    made: list[Row] = []
    for dataset, scale in dict.fromkeys((m.dataset, m.scale) for m in means):
        for one in means:
            if (one.dataset, one.scale) != (dataset, scale):
                continue
            row: Row = {"images": counts[dataset], "published": False}
            row |= {k: v for k, v in asdict(one).items() if k != "image" and not (isinstance(v, float) and math.isnan(v))}
            for key, name in (("ahead_of_car", CAR), ("ahead_of_irn", IRN)):
                if (value := ahead(one.psnr_y, dataset, scale, name)) is not None:
                    row[key] = value
            made.append(row)
        for other in rows(dataset, scale):
            row = {"dataset": dataset, "scale": scale, "model": f"published: {other.name}", "published": True}
            figures = {"psnr_y": other.psnr_y, "ssim_y": other.ssim_y, "psnr_rgb": other.psnr_rgb}
            row |= {key: value for key, value in figures.items() if value is not None}
            made.append(row)
    return made


def cells(row: Row) -> dict[str, str]:
    """A row as text, column by column."""
    found: dict[str, str] = {}
    for key in COLUMNS:
        value = row.get(key)
        if key == "bytes":
            found[key] = f"{row['lr_bytes'] / row['hr_bytes']:.0%}" if row.get("hr_bytes") else ""
        elif value is None:
            found[key] = ""
        elif key == "scale":
            found[key] = f"x{value}"
        elif isinstance(value, float):
            sign = "+" if key.startswith("ahead") and value >= 0 else ""
            found[key] = "∞" if math.isinf(value) else f"{sign}{value:.{DIGITS[key]}f}"
        else:
            found[key] = str(value)
    return found


TAD = ("dataset", "images", "scale", "model", "psnr_rgb", "lr_psnr_rgb", "lr_bpp", "seconds_down", "seconds_up")
TAD_LEGEND = "Means over each dataset, PSNR in dB over RGB, no border cut. LR: PSNR of the LR image against the bicubic one."


def _used(made: Sequence[Row], tad: bool = False) -> list[str]:
    return [key for key in (TAD if tad else COLUMNS) if any(cells(row)[key] for row in made)]


DISPENSABLE = (
    "peak_mb",
    "lr_bpp_webp",
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


def rich(made: Sequence[Row], width: int, tad: bool = False) -> Table:
    """The table for a terminal of ``width`` characters: the most dispensable columns go where it is too narrow.

    ``tad``: the figures that the TAD paper gives.
    """
    used = _used(made, tad)
    for key in ("", *DISPENSABLE):
        used = [one for one in used if one != key]
        longest = [max(len(COLUMNS[one]), *(len(cells(row)[one]) for row in made)) for one in used]
        if sum(longest) + 3 * len(used) + 1 <= width:
            break
    table = Table(caption=TAD_LEGEND if tad else LEGEND, caption_justify="left")
    for key in used:
        table.add_column(COLUMNS[key], justify="left" if key in ("dataset", "model") else "right", no_wrap=True)
    for i, row in enumerate(made):
        last = i + 1 == len(made) or (made[i + 1]["dataset"], made[i + 1]["scale"]) != (row["dataset"], row["scale"])
        table.add_row(*(cells(row)[key] for key in used), style="dim" if row["published"] else "", end_section=last)
    return table


def markdown(made: Sequence[Row], tad: bool = False) -> str:
    used = _used(made, tad)
    lines = ["| " + " | ".join(COLUMNS[key] for key in used) + " |"]
    lines.append("|" + "|".join("---" if key in ("dataset", "model") else "---:" for key in used) + "|")
    for row in made:
        text = cells(row)
        lines.append("| " + " | ".join(f"*{text[k]}*" if row["published"] and text[k] else text[k] for k in used) + " |")
    return "\n".join([*lines, "", TAD_LEGEND if tad else LEGEND])


def comma_separated(made: Sequence[Row]) -> str:
    """CSV with every figure unrounded."""
    out = io.StringIO()
    fields = ["published", *[k for k in COLUMNS if k != "bytes"], "lr_bytes", "hr_bytes"]
    writer = csv.DictWriter(out, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    return out.getvalue().rstrip("\n")


def as_json(made: Sequence[Row]) -> str:
    """One JSON array; infinite figures are null."""
    finite = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in made]
    return json.dumps(finite, indent=1)
