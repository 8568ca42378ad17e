"""What options may be, where that is one of a few words: help and completion list them."""

from __future__ import annotations

from enum import Enum


class Precision(str, Enum):
    """How the networks compute."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class FixedPrecision(str, Enum):
    """How they compute where nothing is left to carcli."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Backend(str, Enum):
    """What computes them."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class FixedBackend(str, Enum):
    """What computes them where nothing is left to carcli."""

    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class StoredPrecision(str, Enum):
    """How weights are stored."""

    fp32 = "fp32"
    fp16 = "fp16"


class FileFormat(str, Enum):
    """What image files are written as."""

    png = "png"
    webp = "webp"
    jpeg = "jpeg"
    avif = "avif"


class RefineMethod(str, Enum):
    """How LR images are refined."""

    fast = "fast"
    hcd = "hcd"


class Executor(str, Enum):
    """Who computes a batch."""

    threads = "threads"
    ray = "ray"
