"""Engines and precisions beside each other: seconds, and what each costs against torch in fp32."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from carcli.bench.speed import clock
from carcli.engines.computing import Computing
from carcli.engines.names import COMPUTED, TORCH, is_installed
from carcli.images import metrics
from carcli.images.picture import Pixels
from carcli.rescale.rescaler import Rescaler, load
from carcli.runtime.device import has_bf16, pick_device

REFERENCE = Computing()


def ways(device: str) -> list[Computing]:
    """Every engine that is installed, in every precision that this machine computes in; the reference is the first."""
    half = has_bf16(pick_device(device))
    every = {TORCH: ("fp32", "bf16"), **COMPUTED}
    return [
        Computing(backend, precision)
        for backend, precisions in every.items()
        for precision in precisions
        if is_installed(backend) and (half or precision != "bf16") and (backend == TORCH or pick_device(device).type == "cpu")
    ]


def measure(model: str, scale: int | None, device: str, hr: Pixels, repeats: int = 3) -> Iterator[dict[str, Any]]:
    """``up`` of a picture (H, W, 3) uint8, by each way in turn, so often; of each the fastest counts.

    Of each way: seconds a megapixel of HR, seconds that the first use takes (tracing and compiling), by how many dB it
    restores the picture better than the reference, and by how many levels it differs from that at most.
    """
    reference = load(model, scale, device)
    height, width = (n // reference.scale * reference.scale for n in hr.shape[:2])
    hr = hr[:height, :width]
    lr = reference.down(hr, keep_grey=False)
    pairs: dict[Computing, Rescaler] = {}
    first: dict[Computing, float] = {}
    results: dict[Computing, Pixels] = {}
    for way in ways(device):
        pairs[way] = load(model, scale, device, way.precision, way.backend)
        began = time.perf_counter()
        results[way] = pairs[way].up(lr)
        first[way] = time.perf_counter() - began
    seconds = dict.fromkeys(pairs, math.inf)
    for _ in range(repeats):
        for way, pair in pairs.items():  # in turn, so that whatever else the machine does meets them all
            clock.synchronise(pair.device)
            began = time.perf_counter()
            pair.up(lr)
            clock.synchronise(pair.device)
            seconds[way] = min(seconds[way], time.perf_counter() - began)
    kept = metrics.psnr(hr, results[REFERENCE])
    for way, pair in pairs.items():
        yield {
            "model": pair.id,
            "backend": way.backend,
            "precision": way.precision,
            "seconds_per_megapixel": seconds[way] / (height * width / 1e6),
            "times_the_reference": seconds[REFERENCE] / seconds[way],
            "seconds_first": first[way],
            "db_against_reference": metrics.psnr(hr, results[way]) - kept,
            "levels": int(np.abs(results[way].astype(int) - results[REFERENCE]).max()),
        }
