"""``python -m carcli.bench.speed resampler|down|networks|batch|memory``: how fast and how lean carcli is on this machine.

``networks``, ``batch``, ``memory``: see ``carcli.bench.throughput``; one JSON object a line.

``down``: seconds of ``carcli down`` on a photograph of 12 megapixels with the default checkpoint
at x4, and the resampler's share of them.

``resampler``, for every size: seconds forwards and forwards + backwards of the fused path and of two torch
compositions (ours, and one of ``grid_sample``, whichever is faster counts), the bytes that
must move (heads, image, LR, and their gradients), what fraction of a large copy's bandwidth
that makes, and the largest extra memory. Prints a table, and with ``--json`` one object a line.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.ops.resample import dispatch
from carcli.ops.resample.definition import Heads, apply_heads, resample, resample_composition
from carcli.rescale.rescaler import load
from carcli.runtime.device import pick_device
from carcli.runtime.memory import give_back_at_once, huge_pages

SIZES = ((256, 256), (512, 384), (1024, 1024), (2048, 1536))  # LR width, height
SCALES = (2, 4)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Timing:
    """One size; times in seconds (medians), memory in bytes, None where not measured."""

    path: str
    device: str
    dtype: str
    width: int  # LR pixels
    height: int
    scale: int
    forward: float
    both: float  # forwards + backwards
    composition_forward: float | None
    composition_both: float | None
    ratio_forward: float | None
    ratio_both: float | None
    forward_bytes: int  # that must move
    both_bytes: int
    copy_bandwidth: float  # bytes read and written a second by a large copy
    bandwidth_forward: float  # fraction of it
    bandwidth_both: float
    output_bytes: int
    extra_forward: int | None  # largest extra memory, the output included
    extra_both: int | None  # with the gradients


def _grid_sample(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads) -> Tensor:
    """The composition that most public ports use: pad, one grid of all taps, ``grid_sample``, weighted sum."""
    weights, off_h, off_v = apply_heads(kernels.float(), offsets_h.float(), offsets_v.float(), scale, heads)
    b, taps, h, w = weights.shape
    k = math.isqrt(taps)
    padded = F.pad(image, (k // 2,) * 4, mode="reflect")
    tap = torch.arange(taps, device=image.device).view(1, -1, 1, 1)
    y = torch.arange(h, device=image.device).view(1, 1, -1, 1) * scale + (scale - 1) / 2
    x = torch.arange(w, device=image.device).view(1, 1, 1, -1) * scale + (scale - 1) / 2
    py = (y + tap // k + off_v * scale) * 2 / (padded.shape[2] - 1) - 1
    px = (x + tap % k + off_h * scale) * 2 / (padded.shape[3] - 1) - 1
    grid = torch.stack((px, py), -1).view(b, taps * h, w, 2)
    samples = F.grid_sample(padded, grid, align_corners=True, padding_mode="border").view(b, 3, taps, h, w)
    return (samples * weights.unsqueeze(1)).sum(2)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        _synchronise(device)
        began = time.perf_counter()
        run()
        _synchronise(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _fastest(runs: list[Callable[[], object]], device: torch.device) -> float | None:
    """Seconds of the fastest that fits in memory; None where none does."""
    times = []
    for run in runs:
        try:
            times.append(_median(run, device, 1))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return min(times, default=None)


def _resident() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
    except (OSError, ValueError):
        return None


def _extra_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Largest extra memory while ``run`` runs for the first time, its result included."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return int(torch.cuda.max_memory_allocated(device) - before)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve again unseen
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    except (OSError, AttributeError):
        return None
    start = _resident()
    kept = run()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    del kept
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return None if start is None else max(peak - start, 0)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read plus bytes written a second by a copy much larger than any cache."""
    source = torch.ones(1 << (28 if device.type == "cuda" else 26), device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median(lambda: target.copy_(source), device, 5)


def measure(
    width: int, height: int, scale: int, device: torch.device, dtype: torch.dtype, copy: float, repeats: int, compositions: bool
) -> Timing:
    """Time one size with ``residual`` heads, channels last on a CPU, channels first on a GPU."""
    generator = torch.Generator().manual_seed(0)
    k = 3 * scale + 1
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    image = torch.rand(1, 3, height * scale, width * scale, generator=generator).to(device)
    joined = torch.randn(1, 3 * k * k, height, width, generator=generator).mul_(0.5).to(device, dtype)
    heads = joined.contiguous(memory_format=layout).chunk(3, 1)
    tracked = tuple(t.detach().requires_grad_() for t in heads)
    del joined

    def forwards(function: Callable[..., Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                return function(image, *heads, scale, heads="residual")

        return run

    def both(function: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> object:
            return torch.autograd.grad(function(image, *tracked, scale, heads="residual").sum(), tracked)

        return run

    extra_forward, extra_both = (_extra_memory(make(resample), device) for make in (forwards, both))
    forward, back = (_median(make(resample), device, repeats) for make in (forwards, both))
    slow_forward = slow_back = None
    if compositions:
        slow_forward = _fastest([forwards(f) for f in (resample_composition, _grid_sample)], device)
        slow_back = _fastest([both(f) for f in (resample_composition, _grid_sample)], device)
    output = 3 * width * height * 4
    must = sum(t.nbytes for t in heads) + image.nbytes + output
    must_both = 2 * must + sum(t.nbytes for t in heads)  # the backward pass reads all of it again and writes gradients
    return Timing(
        dispatch.path_for(device).name, str(device), str(dtype).removeprefix("torch."), width, height, scale,
        forward, back, slow_forward, slow_back,
        slow_forward / forward if slow_forward else None, slow_back / back if slow_back else None,
        must, must_both, copy, must / forward / copy, must_both / back / copy, output,
        extra_forward, extra_both,
    )  # fmt: skip


def measure_down(device: torch.device) -> tuple[float, float]:
    """Seconds that ``down`` takes for 4000x3000 pixels, and the fraction of them spent in ``resample``."""
    from carcli.models import resampler_net

    pair = load("edsr", 4, str(device))
    photograph = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    spent = 0.0

    def timed(*arguments: Any, **options: Any) -> Tensor:
        nonlocal spent
        _synchronise(device)
        began = time.perf_counter()
        out = resample(*arguments, **options)
        _synchronise(device)
        spent += time.perf_counter() - began
        return out

    pair.down(photograph[:64, :64])
    vars(resampler_net)["resample"] = timed
    try:
        began = time.perf_counter()
        pair.down(photograph)
        total = time.perf_counter() - began
    finally:
        vars(resampler_net)["resample"] = resample
    return total, spent / total


def _show(rows: list[Timing]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"resampler: {rows[0].path} on {rows[0].device}, {rows[0].dtype}, copy {rows[0].copy_bandwidth / 1e9:.1f} GB/s"
    )
    for name in ("LR", "scale", "fwd ms", "MB moved", "of copy", "ratio", "extra/output",
                 "fwd+bwd ms", "of copy", "ratio", "extra MB"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    for r in rows:
        table.add_row(
            f"{r.width}x{r.height}", f"x{r.scale}", f"{r.forward * 1e3:.1f}", f"{r.forward_bytes / 1e6:.0f}",
            f"{r.bandwidth_forward:.1%}", number(r.ratio_forward, ".1f"),
            number(r.extra_forward / r.output_bytes if r.extra_forward is not None else None, ".2f"),
            f"{r.both * 1e3:.1f}", f"{r.bandwidth_both:.1%}", number(r.ratio_both, ".1f"),
            number(r.extra_both / 1e6 if r.extra_both is not None else None, ".0f"),
        )  # fmt: skip
    Console(width=max(Console().width, 130)).print(table)


def main() -> None:
    huge_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["resampler", "down", "networks", "batch", "memory"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32", help="of the heads")
    parser.add_argument("--size", action="append", help="LR size as WIDTHxHEIGHT; repeatable")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-composition", action="store_true", help="time the fused path alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", action="append", help="networks, batch, memory: families or checkpoints; repeatable")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--workers", type=int, default=0, help="batch: images in flight")
    parser.add_argument("--png-level", type=int, default=6)
    parser.add_argument("--megapixels", type=int, default=200, help="memory: of a picture")
    parser.add_argument("--pictures", type=int, default=1, help="memory: how many of them there are")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    if arguments.what in ("networks", "batch", "memory"):
        from carcli.bench.speed import throughput

        if arguments.what == "batch":
            give_back_at_once()  # as carcli down and up do
        models = arguments.model or ["edsr", "tad"]
        if arguments.what == "networks":
            peak = throughput.peaks(device, arguments.precision)
            throughput.show({"peak_multiplications_per_second": peak, "device": str(device), "precision": arguments.precision})
        for model in models:
            if arguments.what == "networks":
                throughput.show(throughput.networks(load(model, arguments.scale, str(device), arguments.precision), peak))
            elif arguments.what == "batch":
                throughput.show(throughput.batch(model, arguments.scale, str(device), arguments.workers, arguments.png_level))
            else:
                found = throughput.memory(arguments.megapixels, model, arguments.scale, arguments.precision, arguments.pictures)
                throughput.show(found)
        return
    sizes = [tuple(map(int, s.split("x"))) for s in arguments.size] if arguments.size else SIZES
    if arguments.what == "down":
        total, share = measure_down(device)
        print(json.dumps({"seconds": total, "resampler_share": share}))
        return
    copy = copy_bandwidth(device)
    measure(16, 16, 2, device, DTYPES[arguments.dtype], copy, 1, False)  # compiles, and starts the threads
    rows = []
    for width, height in sizes:
        for scale in SCALES:
            small = width * height * (3 * scale + 1) ** 2 <= 512 * 384 * 169 or device.type == "cuda"
            compositions = small and not arguments.no_composition  # larger ones do not fit in memory
            rows.append(measure(width, height, scale, device, DTYPES[arguments.dtype], copy, arguments.repeats, compositions))
            if arguments.json:
                print(json.dumps(asdict(rows[-1])), flush=True)
            else:
                print(f"{width}x{height} x{scale} done", file=sys.stderr, flush=True)
    if not arguments.json:
        _show(rows)
