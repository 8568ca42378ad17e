"""``python tools/bundle.py RUN ID --data TEXT``: a finished run as a bundled checkpoint.

Copies the run's best checkpoint into the package, measures it, and prints the manifest entry
with its model card for weights.toml.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from carcli.bench.compare import compare
from carcli.bench.datasets import find
from carcli.rescale.rescaler import load
from carcli.weights import checkpoint, manifest, store
from carcli.weights.manifest import Card, Entry, Figures


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    return json.dumps(value)  # TOML and JSON write strings, numbers and booleans alike


def to_toml(entry: Entry) -> str:
    """A manifest entry as it stands in weights.toml."""
    fields = asdict(entry)
    card, figures = fields.pop("card"), fields.pop("figures")
    lines = ["[[checkpoint]]", *(f"{k} = {_value(v)}" for k, v in fields.items() if v not in ("", 0, (), {}))]
    if card:
        lines += ["[checkpoint.card]", *(f"{k} = {_value(v)}" for k, v in card.items())]
    for row in figures:
        lines += ["[[checkpoint.figures]]", *(f"{k} = {_value(v)}" for k, v in row.items() if v)]
    return "\n".join(lines) + "\n"


def _figures(path: Path, own: int, names: list[str], scales: list[int]) -> tuple[Figures, ...]:
    found = []
    for scale in scales:
        rescaler, bicubic = load(str(path), scale, "cpu"), load("bicubic", scale, "cpu")
        for name in names:
            *_, mean = compare(find(name), [rescaler], bicubic)
            found.append(
                Figures(
                    dataset=mean.dataset,
                    psnr_y=round(mean.psnr_y, 3),
                    ssim_y=round(mean.ssim_y, 4),
                    lr_psnr_y=round(mean.lr_psnr_y, 2),
                    lr_psnr_rgb=round(mean.lr_psnr_rgb, 2),
                    lr_psnr_seen=round(mean.lr_psnr_seen, 2),
                    lr_bpp=round(mean.lr_bpp, 2),
                    command=f"carcli bench --dataset {mean.dataset} --scale {scale} --model {path.stem}",
                    psnr_rgb=round(mean.psnr_rgb, 3) if rescaler.to_grey else 0.0,
                    scale=0 if scale == own else scale,
                )
            )
    return tuple(found)


def export(run: Path, name: str, data: str, datasets: list[str], notes: str = "", scales: list[int] | None = None) -> Entry:
    """Put a run's best checkpoint into the package under the id ``name``; returns its manifest entry.

    It is measured at ``scales``: its own, and powers of that by being applied again and again.
    """
    source = run / "best.safetensors"
    trained = checkpoint.describe(source)
    description = replace(trained, id=name)
    pair = checkpoint.read(source, description)
    target = manifest.PACKAGE / "weights" / "bundled" / f"{name}.safetensors"
    checkpoint.write(target, description, pair.down, pair.up)
    digest = store.file_digest(target)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [record for record in log if record["event"] == "validation"][-1]
    devices = list(dict.fromkeys(f"{r['processes']} × {r['device']}, {r['precision']}" for r in log if r["event"] == "start"))
    card = Card(trained.id, data, last["step"], last["minutes"], "; ".join(devices).replace("1 × ", ""), notes)
    figures = _figures(target, description.scale, datasets, scales or [description.scale])
    return Entry(
        name, description.family, description.scale, target.name, "MIT",
        sum(p.numel() for net in pair for p in net.parameters()), digest, target.stat().st_size,
        dict(description.down), dict(description.up), card=card, figures=figures,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("id")
    parser.add_argument("--data", required=True, help="what it was trained on")
    parser.add_argument("--datasets", nargs="*", default=["set5", "set14"], help="folders or names to measure on")
    parser.add_argument("--scales", nargs="*", type=int, help="to measure at; default: its own")
    parser.add_argument("--notes", default="")
    arguments = parser.parse_args()
    print(to_toml(export(arguments.run, arguments.id, arguments.data, arguments.datasets, arguments.notes, arguments.scales)))


if __name__ == "__main__":
    main()
