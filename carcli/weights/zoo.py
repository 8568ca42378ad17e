"""Networks of other makers, by spandrel: told by their tensors' names and shapes alone, and nothing of a file is executed.

Files are read here, bounded and as plain tensors; spandrel is given those, and its own architectures only, which are under
permissive licences.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from carcli.errors import WeightsError
from carcli.images.tag import MAX_SCALE
from carcli.models.foreign import Foreign
from carcli.weights import state_dicts
from carcli.weights.header import SAFETENSORS, Header
from carcli.weights.store import MAX_BYTES

INSTALL = "pip install 'carcli[zoo]'"
GREY, RGB = 1, 3
WIDEST = 64  # pixels of a window to which tiles are laid


def identity(path: Path) -> str:
    """What a network is called: its file's name, in the letters that ids have."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.name.lower()).strip("-._")[-64:].lstrip("-._") or "unnamed"


def network(data: bytes, source: str) -> Foreign:
    """The network whose weights a file's bytes are, not tried yet.

    Raises ``WeightsError``, which names ``source``, where spandrel is not here or does not know it, the file is damaged or
    holds more than tensors, and for a network that does something else than enlarge or clean an image.
    """
    spandrel = _spandrel(source)
    tensors = _tensors(data, source)
    registry = spandrel.ArchRegistry()
    registry.add(*(a for a in spandrel.MAIN_REGISTRY.architectures("detection") if _is_its_own(a.architecture)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what their code will have to change some day
            model = spandrel.ModelLoader("cpu", registry).load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(f"{source}: of no architecture that spandrel {spandrel.__version__} knows") from error
    except Exception as error:  # each architecture has its own ways to find that weights do not fit
        raise WeightsError(f"{source}: its weights do not fit together ({_line(error)})") from error
    return _wrapped(model, source)


def tried(network: Foreign, source: str) -> Foreign:
    """The network once its halo is measured, which runs it on small images. Raises ``WeightsError`` where it does not run."""
    network.eval().requires_grad_(False)
    try:
        network.halo = network.measure_halo()
    except Exception as error:
        raise WeightsError(f"{source}: does not run ({_line(error)})") from error
    return network


def _spandrel(source: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("spandrel")
    except ModuleNotFoundError as error:
        if error.name != "spandrel":
            raise WeightsError(f"{source}: spandrel, which reads it, lacks {error.name}; {INSTALL}") from error
        raise WeightsError(f"{source}: networks of other makers are read by spandrel, which is not here; {INSTALL}") from error
    except Exception as error:  # torchvision beside a torch that it was not made for
        raise WeightsError(f"{source}: spandrel, which reads it, cannot be loaded ({_line(error)}); {INSTALL}") from error


def _is_its_own(architecture: object) -> bool:
    """Whether an architecture is spandrel's own: those that other packages add may have other licences."""
    return type(architecture).__module__.startswith("spandrel.")


def _tensors(data: bytes, source: str) -> dict[str, Tensor]:
    """A state dict with no more in it than a file of that kind can hold."""
    if PurePath(source).suffix.lower() == SAFETENSORS:
        Header.parse(data, source)
        try:
            tensors = safetensors.load(data)
        except SafetensorError as error:
            raise WeightsError(f"{source}: a damaged safetensors file") from error
    else:
        tensors = state_dicts.parse_nested(io.BytesIO(data), source)
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > MAX_BYTES:  # a view repeats its storage
        raise WeightsError(f"{source}: its tensors are larger than the file")
    for name, tensor in tensors.items():
        if not tensor.numel():
            raise WeightsError(f"{source}: tensor {name[:80]!r} is empty")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: tensor {name[:80]!r} holds values that are not finite")
    return tensors


def _wrapped(model: Any, source: str) -> Foreign:
    name, channels = model.architecture.name, (model.input_channels, model.output_channels)
    if model.purpose == "Inpainting":
        raise WeightsError(f"{source}: {name} fills holes in images, and enlarges none")
    if model.purpose == "FaceSR":
        raise WeightsError(f"{source}: {name} restores faces that were cut out and aligned, and no other images")
    if channels not in ((GREY, GREY), (RGB, RGB)):
        raise WeightsError(f"{source}: {name} makes {channels[1]} channels of {channels[0]}; only 1 of 1 and 3 of 3 are taken")
    if not 1 <= model.scale <= MAX_SCALE:
        raise WeightsError(f"{source}: {name} is for scale {model.scale}; scales from 1 to {MAX_SCALE} are taken")
    size, precisions = model.size_requirements, ["fp32"]
    precisions += ["bf16"] * model.supports_bfloat16 + ["fp16"] * model.supports_half
    return Foreign(
        model.model,
        model,
        model.scale,
        channels=channels[0],
        multiple_of=size.multiple_of,
        minimum=size.minimum,
        window=_window(model.model),
        whole=size.square or model.tiling.name == "INTERNAL",
        precisions=precisions,
    )


def _window(module: object) -> int:
    """The side of the windows that a network says it has; 1 where it says nothing that can be used."""
    window = getattr(module, "window_size", 1)
    window = max(window, default=1) if isinstance(window, list | tuple) and all(isinstance(n, int) for n in window) else window
    return window if isinstance(window, int) and 1 <= window <= WIDEST else 1


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
