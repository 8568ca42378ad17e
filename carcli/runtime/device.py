"""Which device computes, and with which number formats."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch

from carcli.errors import UsageError
from carcli.runtime.device_names import check_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str | torch.device) -> torch.device:
    """``auto`` (the best there is), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises ``UsageError`` where this machine has no such device.
    """
    name = str(name)
    check_device(name)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    device = torch.device(name)
    present = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count(), "mps": mps}
    if not present[device.type]:
        raise UsageError(f"this machine has no device {name!r}; use cpu, or auto for the best there is")
    return device


@lru_cache
def _cpu() -> dict[str, Any]:
    query = getattr(torch.cpu, "get_capabilities", None)  # torch 2.11 and newer
    if query is not None:
        return dict(query())
    return {"avx512_bf16": getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()}


def processor() -> str:
    """The CPU's name, as far as it is known."""
    return str(_cpu().get("cpu_name") or platform.processor() or platform.machine())


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed by the device itself: elsewhere it is emulated, many times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(_cpu().get("avx512_bf16") or _cpu().get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context in which a network computes at ``precision`` (fp32, bf16 or fp16)."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])
