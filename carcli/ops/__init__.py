"""Differentiable operations: content adaptive resampling and 8-bit quantisation."""

from carcli.ops.quantize import quantize_soft, quantize_ste, to_float, to_uint8
from carcli.ops.resample import resample, smoothing_kernel

__all__ = ["quantize_soft", "quantize_ste", "resample", "smoothing_kernel", "to_float", "to_uint8"]
