"""Whole batches, files to files: seconds beside those of the networks alone, and memory.

The batch has streams, decoders and encoders that share this machine; the networks alone take one
picture after the other. Memory is that of ``carcli down`` and ``up`` as programs of their own.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carcli.batch.options import Options
from carcli.batch.pipeline import HELD, Pipeline
from carcli.batch.plan import plan
from carcli.batch.workers import Downscaler, Upscaler
from carcli.bench.speed.scene import photograph
from carcli.images import codec
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request
from carcli.runtime.peak import peak_of_program
from carcli.runtime.threads import streams

PICTURES, WIDTH, HEIGHT = 8, 1600, 1200  # of the batch
BYTES_BESIDE = 1.2e9  # of the bound on memory: what a program takes beside the pictures in flight


def _alone(pair: Rescaler, verb: str, folder: Path) -> float:
    """Seconds of a network alone for the pictures of a folder, after one that does not count."""
    pictures = [codec.read(p) for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".png")]
    rescale = pair.down_picture if verb == "down" else pair.up_picture
    rescale(pictures[0])
    began = time.perf_counter()
    for picture in pictures:
        rescale(picture)
    return time.perf_counter() - began


def measure(model: str, scale: int, device: str, workers: int, level: int) -> dict[str, Any]:
    """A batch of files, and the networks alone on the same pictures; ``level`` is that of the PNGs."""
    pair = load(model, scale, device)
    record: dict[str, Any] = {
        "model": pair.id,
        "workers": workers,
        "megapixels": PICTURES * WIDTH * HEIGHT / 1e6,
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "hr").mkdir()
        for i in range(PICTURES):
            pixels = np.roll(photograph(HEIGHT, WIDTH), 97 * i, 1)
            Image.fromarray(pixels).save(folder / "hr" / f"{i}.jpg", quality=92)
        for verb, source, target in (("down", "hr", "lr"), ("up", "lr", "sr")):
            alone = _alone(pair, verb, folder / source)
            worker = Downscaler(pair) if verb == "down" else Upscaler(Request(), lambda model, scale: pair)
            options = Options(workers=workers, compression=level)
            pipeline = Pipeline([worker] * streams(pair.device), options)
            began = time.perf_counter()
            results = list(pipeline.run(plan([folder / source], folder / target)))
            seconds = time.perf_counter() - began
            assert all(result.status == "done" for result in results), results
            record |= {
                f"{verb}_seconds": seconds,
                f"{verb}_networks_alone": alone,
                f"{verb}_of_networks": alone / seconds,
                f"{verb}_stages": {stage: round(spent, 2) for stage, spent in pipeline.pace.seconds.items()},
            }
    return record


def memory(megapixels: int, model: str, scale: int, precision: str = "fp32", pictures: int = 1) -> dict[str, Any]:
    """Bytes of resident memory at most, of ``down`` and ``up`` as programs of their own, and the bound they are held to.

    The bound: 12 bytes a pixel of the pictures in flight, beside 1.2 GB.
    """
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(megapixels * 1e6 / width)
    in_flight = min(pictures, Options().in_flight)
    record: dict[str, Any] = {"megapixels": width * height / 1e6, "pictures": pictures, "model": model}
    record["bound"] = BYTES_BESIDE + HELD * width * height * in_flight
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "hr").mkdir()
        Image.fromarray(photograph(height, width)).save(folder / "hr" / "0.jpg", quality=90)
        for i in range(1, pictures):
            (folder / "hr" / f"{i}.jpg").hardlink_to(folder / "hr" / "0.jpg")
        common = ["--device", "cpu", "--precision", precision, "--quiet", "--png-level", "1"]
        for verb, arguments in (
            ("down", [str(folder / "hr"), "--model", model, "--scale", str(scale), "-o", str(folder / "lr")]),
            ("up", [str(folder / "lr"), "-o", str(folder / "sr")]),
        ):
            began = time.perf_counter()
            record[f"{verb}_bytes"] = peak_of_program("carcli", [verb, *arguments, *common])
            record[f"{verb}_seconds"] = time.perf_counter() - began
    return record
