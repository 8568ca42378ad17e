"""What engines are called, and what each of them can do: told without loading any."""

from __future__ import annotations

from importlib.util import find_spec

from carcli.errors import UsageError
from carcli.runtime.device_names import AUTO, check_device, pick_precision
from carcli.weights.choose import Choice

TORCH, ONNX, OPENVINO = "torch", "onnx", "openvino"
BACKENDS = (AUTO, TORCH, ONNX, OPENVINO)
COMPUTED = {ONNX: ("fp32", "fp16"), OPENVINO: ("fp32", "bf16")}  # precisions; torch has all of them
PACKAGES = {
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    OPENVINO: ("onnx", "onnxscript", "openvino"),
}  # the first two make the graph


def is_installed(backend: str) -> bool:
    """Whether the packages of an engine are here."""
    return all(find_spec(package) is not None for package in PACKAGES.get(backend, ()))


def check_backend(backend: str, precision: str = AUTO, device: str = AUTO) -> None:
    """Raise ``UsageError`` for what is no engine, or is not installed, and for a precision or device that it does not have."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; use {', '.join(BACKENDS)}")
    pick_precision(precision)
    check_device(device)
    if backend not in COMPUTED:
        return
    if precision not in (AUTO, *COMPUTED[backend]):
        raise UsageError(f"backend {backend} computes in {' or '.join(COMPUTED[backend])}, not {precision}; torch has them all")
    if device.partition(":")[0] not in (AUTO, "cpu"):
        raise UsageError(f"backend {backend} computes on the CPU, not on {device}; leave one of them out")
    if not is_installed(backend):
        extra = "onnx" if backend == ONNX else "onnx,openvino"
        raise UsageError(f"backend {backend} needs more packages: pip install 'carcli[{extra}]'")


def check_computes(backend: str, choice: Choice) -> None:
    """Raise ``UsageError`` where an engine that is named does not compute what is chosen."""
    if backend in COMPUTED and choice.torch_alone:
        raise UsageError(f"{choice.description.id} is computed by torch alone, not by backend {backend}; leave one of them out")
