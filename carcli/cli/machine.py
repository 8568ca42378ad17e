"""What ``carcli info`` tells of this machine."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from carcli.engines.names import COMPUTED, TORCH, is_installed
from carcli.ops.resample import dispatch
from carcli.runtime.device import has_bf16, pick_device, processor
from carcli.version import __version__
from carcli.weights import manifest, store


def describe() -> dict[str, Any]:
    """Versions, device, kernels and folders that are used here."""
    device = pick_device("auto")
    path = dispatch.path_for(device)
    return {
        "carcli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "resampler": path.name,
        "resampler_note": path.reason,
        "bf16": has_bf16(device),
        "processor": processor(),
        "backends": [name for name in (TORCH, *COMPUTED) if is_installed(name)],
        "checkpoints": [entry.id for entry in manifest.entries() if store.state(entry) != "missing"],
        "manifest": str(manifest.location()),
        "store": str(store.data_folder()),
        "cache": str(store.cache_folder()),
    }
