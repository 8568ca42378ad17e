"""How one half of a pair is computed: by which engine, and with which numbers. What ``auto`` becomes is decided here."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from carcli.engines.names import COMPUTED, OPENVINO, TORCH, check_backend, is_installed
from carcli.models.base import Half, Network
from carcli.runtime.device import has_bf16, pick_device
from carcli.runtime.device_names import AUTO


@dataclass(frozen=True)
class Computing:
    """An engine and a precision, neither of them ``auto``."""

    backend: str = TORCH
    precision: str = "fp32"

    def __str__(self) -> str:
        return self.precision if self.backend == TORCH else f"{self.backend} {self.precision}"


def computing(backend: str, precision: str, half: Half, device: torch.device, network: Network | None = None) -> Computing:
    """What a request becomes on a device: for any network that keeps its fidelity, or for this one.

    LR images are to be the same bytes wherever they are made: ``auto`` is torch in fp32 for ``down``. For ``up`` it is bf16
    where the device computes in it and the network keeps its fidelity; else fp32, by OpenVINO on a CPU where it is installed.
    """
    if half == "down":
        return Computing(TORCH if backend == AUTO else backend, "fp32" if precision == AUTO else precision)
    in_half = has_bf16(device) and (network is None or (network.keeps_in_half and "bf16" in network.precisions))
    if backend == AUTO:
        plain = precision == "fp32" or (precision == AUTO and not in_half)
        backend = OPENVINO if plain and device.type == "cpu" and is_installed(OPENVINO) else TORCH
    if precision == AUTO:
        precision = "bf16" if in_half and backend == TORCH else "fp32"
    return Computing(backend, precision)


def device_of(backend: str, precision: str, device: str | torch.device) -> torch.device:
    """Where an engine computes. Raises ``UsageError`` for what it is not, does not do, or what this machine has not."""
    check_backend(backend, precision, str(device))
    return pick_device("cpu" if backend in COMPUTED else device)
