"""Which resampling path runs on a device: decided once, by trying it.

The first use of a fast path solves a tiny problem with it and with the torch composition. A
path that cannot be compiled, or that disagrees, is given up with one warning and the reason.
"""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from carcli.ops.resample import Heads

TOLERANCE = 1e-4  # of the tiny problem's LR values and gradients, relative to their size
COMPOSITION = "composition"
NUMBA = "numba"


@dataclass(frozen=True)
class Path:
    """A resampling path and, where it is not the fastest there could be, why."""

    name: str  # numba or composition
    reason: str = ""


_lock = threading.RLock()
_paths: dict[str, Path] = {}


def _disagreement(heads: Heads) -> float:
    """Largest relative difference between the fused kernel and the composition on a tiny problem."""
    from carcli.ops import resample_cpu
    from carcli.ops.resample import resample_composition

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 20, 12, generator=generator)
    a, b, c = (torch.randn(1, 49, 10, 6, generator=generator, requires_grad=True) for _ in range(3))
    expected = resample_composition(image, a, b, c, 2, heads)
    towards = torch.rand(expected.shape, generator=generator)
    expected_grads = torch.autograd.grad(expected, (a, b, c), towards)
    got = resample_cpu.forward(image, a, b, c, 2, heads)
    got_grads = resample_cpu.backward(towards, image, a, b, c, 2, heads, False)[1:]
    worst = 0.0
    for ours, theirs in zip((got, *got_grads), (expected.detach(), *expected_grads), strict=True):
        assert ours is not None
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _try_numba() -> Path:
    if os.environ.get("CARCLI_RESAMPLER") == COMPOSITION:
        return Path(COMPOSITION, "CARCLI_RESAMPLER=composition")
    try:
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            worst = max(_disagreement("clamp"), _disagreement("residual"))
    except Exception as error:  # numba can be missing, or fail to compile, in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    else:
        if worst <= TOLERANCE:
            return Path(NUMBA)
        reason = f"its results differ from the definition by {worst:.1e}"
    warnings.warn(f"the fused CPU resampler is not used ({reason}); resampling will be slower", RuntimeWarning, stacklevel=2)
    return Path(COMPOSITION, reason)


def path_for(device: torch.device) -> Path:
    """The path that resampling takes on a device; tries the fast one on first use."""
    with _lock:
        if device.type not in _paths:
            _paths[device.type] = _try_numba() if device.type == "cpu" else Path(COMPOSITION, f"no kernel for {device.type} yet")
        return _paths[device.type]


def use_fused_cpu(image: Tensor, *heads: Tensor) -> bool:
    """Whether the fused CPU kernel takes this problem: three channels, everything on the CPU."""
    if image.shape[1] != 3 or any(t.device.type != "cpu" for t in (image, *heads)):
        return False
    if any(not t.is_floating_point() for t in heads):
        return False
    return path_for(torch.device("cpu")).name == NUMBA
