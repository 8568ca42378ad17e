"""The resampler's kernels: seconds, bytes moved and memory beside those of two torch compositions.

For every size: seconds forwards and forwards + backwards of the path that ``resample`` takes and of two
compositions (ours, and one of ``grid_sample``, whichever is faster counts), the bytes that
must move (heads, image, LR, and their gradients), what fraction of a large copy's bandwidth
that makes, and the largest extra memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from carcli.bench.speed import clock
from carcli.ops.resample import dispatch, resample
from carcli.ops.resample.definition import Heads, apply_heads, resample_composition
from carcli.runtime.peak import largest_extra

SIZES = ((256, 256), (512, 384), (1024, 1024), (2048, 1536))  # LR width, height
SCALES = (2, 4)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COMPOSABLE = 512 * 384 * 169  # taps of an image: on a CPU, larger compositions do not fit in memory


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


@dataclass(frozen=True)
class Case:
    """What is timed."""

    width: int  # LR pixels
    height: int
    scale: int
    device: torch.device
    dtype: torch.dtype  # of the heads

    @property
    def composable(self) -> bool:
        """Whether the compositions fit in memory."""
        taps = self.width * self.height * (3 * self.scale + 1) ** 2
        return taps <= COMPOSABLE or self.device.type == "cuda"


def grid_sample_composition(
    image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads
) -> Tensor:
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


def _fastest(runs: Iterable[Callable[[], object]], device: torch.device) -> float | None:
    """Seconds of the fastest that fits in memory; None where none does."""
    seconds = []
    for run in runs:
        try:
            seconds.append(clock.median(run, device, 1))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return min(seconds, default=None)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read plus bytes written a second by a copy much larger than any cache."""
    source = torch.ones(1 << (28 if device.type == "cuda" else 26), device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / clock.median(lambda: target.copy_(source), device, 5)


class _Problem:
    """A case's tensors: ``residual`` heads, channels last on a CPU, channels first on a GPU."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(0)
        taps = (3 * case.scale + 1) ** 2
        layout = torch.channels_last if case.device.type == "cpu" else torch.contiguous_format
        image = torch.rand(1, 3, case.height * case.scale, case.width * case.scale, generator=generator)
        joined = torch.randn(1, 3 * taps, case.height, case.width, generator=generator).mul_(0.5)
        self.scale = case.scale
        self.image = image.to(case.device)
        self.heads = joined.to(case.device, case.dtype).contiguous(memory_format=layout).chunk(3, 1)
        self.tracked = tuple(t.detach().requires_grad_() for t in self.heads)
        self.output_bytes = 3 * case.width * case.height * 4
        self.forward_bytes = sum(t.nbytes for t in self.heads) + self.image.nbytes + self.output_bytes
        # the backward pass reads all of it again and writes the heads' gradients
        self.both_bytes = 2 * self.forward_bytes + sum(t.nbytes for t in self.heads)

    def forwards(self, function: Callable[..., Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                lr: Tensor = function(self.image, *self.heads, self.scale, heads="residual")
                return lr

        return run

    def both(self, function: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> object:
            lr = function(self.image, *self.tracked, self.scale, heads="residual")
            return torch.autograd.grad(lr.sum(), self.tracked)

        return run


def measure(case: Case, copy: float, repeats: int, compositions: bool) -> Timing:
    """Time one case; ``copy`` is the ``copy_bandwidth`` of its device."""
    problem, device = _Problem(case), case.device
    forwards, both = problem.forwards(resample), problem.both(resample)
    extra_forward, extra_both = (largest_extra(run, device) for run in (forwards, both))
    forward, back = (clock.median(run, device, repeats) for run in (forwards, both))
    slow_forward = slow_back = None
    if compositions:
        functions = (resample_composition, grid_sample_composition)
        slow_forward = _fastest(map(problem.forwards, functions), device)
        slow_back = _fastest(map(problem.both, functions), device)
    return Timing(
        path=dispatch.path_for(device).name,
        device=str(device),
        dtype=str(case.dtype).removeprefix("torch."),
        width=case.width,
        height=case.height,
        scale=case.scale,
        forward=forward,
        both=back,
        composition_forward=slow_forward,
        composition_both=slow_back,
        ratio_forward=slow_forward / forward if slow_forward else None,
        ratio_both=slow_back / back if slow_back else None,
        forward_bytes=problem.forward_bytes,
        both_bytes=problem.both_bytes,
        copy_bandwidth=copy,
        bandwidth_forward=problem.forward_bytes / forward / copy,
        bandwidth_both=problem.both_bytes / back / copy,
        output_bytes=problem.output_bytes,
        extra_forward=extra_forward,
        extra_both=extra_both,
    )


def show(timings: list[Timing]) -> None:
    """A table, where there is something to show."""
    from rich.console import Console
    from rich.table import Table

    of = timings[0]
    table = Table(title=f"resampler: {of.path} on {of.device}, {of.dtype}, copy {of.copy_bandwidth / 1e9:.1f} GB/s")
    forwards = ("fwd ms", "MB moved", "of copy", "ratio", "extra/output")
    for name in ("LR", "scale", *forwards, "fwd+bwd ms", "of copy", "ratio", "extra MB"):
        table.add_column(name, justify="right", no_wrap=True)

    def number(value: float | None, form: str, unit: float = 1.0) -> str:
        return "-" if value is None else format(value / unit, form)

    for timing in timings:
        table.add_row(
            f"{timing.width}x{timing.height}",
            f"x{timing.scale}",
            f"{timing.forward * 1e3:.1f}",
            f"{timing.forward_bytes / 1e6:.0f}",
            f"{timing.bandwidth_forward:.1%}",
            number(timing.ratio_forward, ".1f"),
            number(timing.extra_forward, ".2f", timing.output_bytes),
            f"{timing.both * 1e3:.1f}",
            f"{timing.bandwidth_both:.1%}",
            number(timing.ratio_both, ".1f"),
            number(timing.extra_both, ".0f", 1e6),
        )
    Console(width=max(Console().width, 130)).print(table)
