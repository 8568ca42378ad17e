"""Which resampling path runs on a device: decided once, by trying it.

The first use of a fast path solves a tiny problem with it and with the torch composition. A
path that cannot be imported or compiled, or that disagrees, is given up with one warning and
the reason. ``CARCLI_RESAMPLER=composition`` gives every fast path up from the start.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from carcli.ops.resample.definition import Heads

TOLERANCE = 1e-4  # of the tiny problem's LR values and gradients, relative to their size
COMPOSITION = "composition"
NUMBA = "numba"
TRITON = "triton"
MODULES = {NUMBA: "carcli.ops.resample.cpu", TRITON: "carcli.ops.resample.triton"}
FAST = {"cpu": NUMBA, "cuda": TRITON, "xpu": TRITON}  # CUDA and ROCm are both "cuda" to torch


class Kernel(Protocol):
    """What a module of fused kernels offers; (B, k², h, w) heads and (B, 3, H, W) images."""

    def forward(
        self, image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str, rounded: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...]]: ...

    def backward(
        self, grad: Tensor, image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, kept: tuple[Tensor, ...],
        scale: int, heads: str, want_image: bool,
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor]: ...  # fmt: skip


@dataclass(frozen=True)
class Path:
    """A resampling path and, where it is not the fastest there could be, why."""

    name: str  # numba, triton or composition
    reason: str = ""


_lock = threading.RLock()
_paths: dict[str, Path] = {}


def kernel(name: str) -> Kernel:
    """The module of fused kernels behind a path's name."""
    module: Kernel = importlib.import_module(MODULES[name])
    return module


def _disagreement(fused: Kernel, device: torch.device, heads: Heads) -> float:
    """Largest relative difference between fused kernels and the composition on a tiny problem."""
    from carcli.ops.resample.definition import resample_composition

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 20, 12, generator=generator).to(device)
    a, b, c = (torch.randn(1, 49, 10, 6, generator=generator).to(device).requires_grad_() for _ in range(3))
    expected = resample_composition(image, a, b, c, 2, heads)
    towards = torch.rand(expected.shape, generator=generator).to(device)
    expected_grads = torch.autograd.grad(expected, (a, b, c), towards)
    got, kept = fused.forward(image, a, b, c, 2, heads)
    got_grads = fused.backward(towards, image, a, b, c, kept, 2, heads, False)[1:]
    worst = 0.0
    for ours, theirs in zip((got, *got_grads), (expected.detach(), *expected_grads), strict=True):
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _try(device: torch.device) -> Path:
    if os.environ.get("CARCLI_RESAMPLER") == COMPOSITION:
        return Path(COMPOSITION, "CARCLI_RESAMPLER=composition")
    if device.type not in FAST:
        return Path(COMPOSITION, f"there is no fused kernel for {device.type}")
    name = FAST[device.type]
    try:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            fused = kernel(name)
            worst = max(_disagreement(fused, device, "clamp"), _disagreement(fused, device, "residual"))
    except Exception as error:  # a compiler can be missing, or fail, in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    else:
        if worst <= TOLERANCE:
            return Path(name)
        reason = f"its results differ from the definition by {worst:.1e}"
    warnings.warn(f"the fused {name} resampler is not used ({reason}); resampling will be slower", RuntimeWarning, stacklevel=3)
    return Path(COMPOSITION, reason)


def path_for(device: torch.device) -> Path:
    """The path that resampling takes on a device; tries the fast one on first use."""
    with _lock:
        key = str(device)
        if key not in _paths:
            _paths[key] = _try(device)
        return _paths[key]


def fused_for(image: Tensor, *heads: Tensor) -> Kernel | None:
    """The fused kernels for this problem; None where it is for the composition."""
    device = image.device
    if image.shape[1] != 3 or image.numel() == 0 or any(t.device != device or not t.is_floating_point() for t in heads):
        return None
    path = path_for(device)
    if path.name == COMPOSITION or (path.name == TRITON and any(t.dtype == torch.float64 for t in (image, *heads))):
        return None
    return kernel(path.name)
