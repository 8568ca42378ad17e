"""Which resampling path runs on a device: decided once, by trying it.

The first use of a fast path solves a tiny problem with it and with the definition. A
path that cannot be imported or compiled, or that disagrees, is given up with one warning and
the reason. ``CARCLI_RESAMPLER=composition`` gives every fast path up from the start.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from carcli.ops.resample.definition import Heads, Resampling, resample_composition

TOLERANCE = 1e-4  # of the tiny problem's LR values and gradients, relative to their size
COMPOSITION = "composition"
NUMBA = "numba"
TRITON = "triton"
MODULES = {NUMBA: "carcli.ops.resample.cpu", TRITON: "carcli.ops.resample.triton"}
FAST = {"cpu": NUMBA, "cuda": TRITON, "xpu": TRITON}  # CUDA and ROCm are both "cuda" to torch


class Kernel(Protocol):
    """What a module of fused kernels offers, for images of three channels."""

    SUMS: int  # planes that ``forward`` keeps of the sums over the taps, for ``backward``

    def is_compiled(self) -> bool:
        """Whether their machine code is at hand, as far as that is known: else whoever waits for it is told."""

    def forward(self, problem: Resampling, *, rounded: bool = False) -> tuple[Tensor, Tensor]:
        """The LR image (B, 3, h, w), uint8 where ``rounded``, and the sums (B, SUMS, h, w)."""

    def backward(
        self, problem: Resampling, grad: Tensor, lr: Tensor, sums: Tensor, *, want_image: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of the image (empty unless wanted), kernels, offsets_h and offsets_v.

        ``grad`` (B, 3, h, w) is that of ``lr``, which ``forward`` returned with ``sums``.
        """

    def empty_gradients(self, problem: Resampling) -> list[Tensor]:
        """What ``backward`` fills for kernels, offsets_h and offsets_v: shapes, dtypes and strides."""


@dataclass(frozen=True)
class Path:
    """A resampling path and, where it is not the fastest there could be, why."""

    name: str  # numba, triton or composition
    reason: str = ""


paths: dict[str, Path] = {}  # what was decided, by device
_lock = threading.RLock()
_log = logging.getLogger("carcli")


def kernel(name: str) -> Kernel:
    """The module of fused kernels behind a path's name."""
    module: Kernel = importlib.import_module(MODULES[name])
    return module


def _disagreement(fused: Kernel, device: torch.device, heads: Heads) -> float:
    """Largest relative difference between fused kernels and the composition on a tiny problem."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 20, 12, generator=generator).to(device)
    a, b, c = (torch.randn(1, 49, 10, 6, generator=generator).to(device).requires_grad_() for _ in range(3))
    expected = resample_composition(image, a, b, c, 2, heads)
    towards = torch.rand(expected.shape, generator=generator).to(device)
    expected_grads = torch.autograd.grad(expected, (a, b, c), towards)
    problem = Resampling(image, kernels=a, offsets_h=b, offsets_v=c, scale=2, heads=heads)
    lr, sums = fused.forward(problem)
    grads = fused.backward(problem, towards, lr, sums, want_image=False)[1:]
    worst = 0.0
    for ours, theirs in zip((lr, *grads), (expected.detach(), *expected_grads), strict=True):
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        worst = max(worst, math.inf if math.isnan(difference) else difference)
    return worst


def _fault(name: str, device: torch.device) -> str:
    """Why a fast path cannot be used; empty where it can."""
    try:
        fused = kernel(name)
        if not fused.is_compiled():
            _log.info("compiling the resampling kernels for this processor: a few seconds, once")
        worst = max(_disagreement(fused, device, "clamp"), _disagreement(fused, device, "residual"))
    except Exception as error:  # a compiler can be missing, or fail, in any way
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "" if worst <= TOLERANCE else f"its results differ from the definition by {worst:.1e}"


def _choose(device: torch.device) -> Path:
    if os.environ.get("CARCLI_RESAMPLER") == COMPOSITION:
        return Path(COMPOSITION, "CARCLI_RESAMPLER=composition")
    if device.type not in FAST:
        return Path(COMPOSITION, f"there is no fused kernel for {device.type}")
    name = FAST[device.type]
    # On a thread of its own nothing that the caller is just doing (tracing with fake tensors, autocast,
    # no-grad or inference mode) reaches the trial, whose outcome is the whole process's.
    with ThreadPoolExecutor(1, thread_name_prefix="resampler-trial") as thread:
        fault = thread.submit(_fault, name, device).result()
    if not fault:
        return Path(name)
    warnings.warn(
        f"the fused {name} resampler is not used ({fault}); resampling will be slower",
        RuntimeWarning,
        stacklevel=3,
    )
    return Path(COMPOSITION, fault)


def path_for(device: torch.device) -> Path:
    """The path that resampling takes on a device; tries the fast one on first use."""
    key = str(device)
    with _lock:
        if key not in paths:
            paths[key] = _choose(device)
        return paths[key]


# torch.compile is to call it while it traces, and to go on with the answer. This is all that
# torch.compiler.assume_constant_result does, but for importing the compiler at every start.
vars(path_for)["_dynamo_marked_constant"] = True


def is_fused(image: Tensor, *heads: Tensor) -> bool:
    """Whether the fused kernels of their device take these tensors."""
    device = image.device
    if image.shape[1] != 3 or image.numel() == 0:
        return False
    if any(t.device != device or not t.is_floating_point() for t in heads):
        return False
    name = path_for(device).name
    in_double = any(t.dtype == torch.float64 for t in (image, *heads))
    return name != COMPOSITION and not (name == TRITON and in_double)


def kernel_for(device: torch.device) -> Kernel:
    """The fused kernels of a device.

    Raises RuntimeError where it has none: a program exported elsewhere would need them here.
    """
    path = path_for(device)
    if path.name == COMPOSITION:
        raise RuntimeError(
            f"no fused resampler runs on {device} ({path.reason}); "
            "export the network with CARCLI_RESAMPLER=composition in the environment"
        )
    return kernel(path.name)
