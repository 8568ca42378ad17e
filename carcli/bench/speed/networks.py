"""How much of this machine the networks use.

For every pair: megapixels of HR a second down and up, and the multiplications that makes as a fraction
of what the fastest of several 3x3 convolutions of 64 channels reaches here. And the resampler's
share of ``carcli down``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carcli.bench.speed import clock
from carcli.bench.speed.scene import photograph
from carcli.models.resampler_net import ContentAdaptiveResampler
from carcli.rescale.rescaler import Rescaler
from carcli.runtime.device import autocast

SIDE = 1536  # HR pixels of the picture that networks are timed on
SIDES = (64, 96, 128, 192, 256, 384)  # pixels that convolutions are timed on: within caches, and beyond
TWELVE_MEGAPIXELS = 3000, 4000


def peak_convolution(device: torch.device, precision: str, repeats: int = 5) -> float:
    """Multiplications (and as many additions) a second of 3x3 convolutions of 64 channels, over as many pixels as suits best."""
    weight = torch.rand(64, 64, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    rates = []
    for side in SIDES:
        x = torch.rand(1, 64, side, side, device=device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(device, precision):
            seconds = clock.fastest(partial(F.conv2d, x, weight, padding=1), device, repeats)
        rates.append(9 * 64 * 64 * side**2 / seconds)
    return max(rates)


def median_peak(device: torch.device, precision: str) -> float:
    """The median of three measurements of ``peak_convolution``."""
    return statistics.median(peak_convolution(device, precision) for _ in range(3))


@contextmanager
def counted_multiplications(*nets: nn.Module) -> Iterator[list[int]]:
    """Collect the multiplications of every convolution."""
    count: list[int] = []

    def hook(layer: nn.Conv2d, _: tuple[Tensor, ...], out: Tensor) -> None:
        count.append(out[:, 0].numel() * layer.weight.numel())

    layers = [m for net in nets for m in net.modules() if isinstance(m, nn.Conv2d)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def measure(pair: Rescaler, peak: float, repeats: int = 3) -> dict[str, Any]:
    """Megapixels of HR a second each way, and the fraction of ``peak`` that the convolutions make."""
    hr = photograph(SIDE, SIDE)
    lr = pair.down(hr)
    record: dict[str, Any] = {"model": pair.id, "scale": pair.scale}
    for name, run in (("down", lambda: pair.down(hr)), ("up", lambda: pair.up(lr))):
        with counted_multiplications(*pair.networks) as count:
            run()
        seconds = clock.fastest(run, pair.device, repeats)
        record[f"{name}_megapixels_per_second"] = hr.shape[0] * hr.shape[1] / 1e6 / seconds
        record[f"{name}_of_peak"] = sum(count) / seconds / peak
    return record


class _Stopwatch:
    """Seconds that a module's calls take together."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.seconds, self._began, self._device = 0.0, 0.0, device
        self._handles = (
            module.register_forward_pre_hook(lambda *_: self._start()),
            module.register_forward_hook(lambda *_: self._stop()),
        )

    def _start(self) -> None:
        clock.synchronise(self._device)
        self._began = time.perf_counter()

    def _stop(self) -> None:
        clock.synchronise(self._device)
        self.seconds += time.perf_counter() - self._began

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def measure_down(pair: Rescaler, shape: tuple[int, int] = TWELVE_MEGAPIXELS) -> dict[str, float]:
    """Seconds that ``down`` takes for a picture of noise, and the resampler's share of them.

    The share is what a ``ContentAdaptiveResampler`` takes beside the network that predicts its heads.
    """
    down = pair.networks.down
    assert isinstance(down, ContentAdaptiveResampler), f"{pair.id} has no resampler"
    hr = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pair.down(hr[:64, :64])
    whole, heads = _Stopwatch(down, pair.device), _Stopwatch(down.net, pair.device)
    try:
        began = time.perf_counter()
        pair.down(hr)
        seconds = time.perf_counter() - began
    finally:
        whole.remove()
        heads.remove()
    return {"seconds": seconds, "resampler_share": (whole.seconds - heads.seconds) / seconds}
