"""Differentiable operations: content adaptive resampling and 8-bit quantisation."""

from carcli.ops.quantise import quantise_soft, quantise_ste, to_float, to_uint8
from carcli.ops.resample.definition import resample, smoothing_kernel

__all__ = ["quantise_soft", "quantise_ste", "resample", "smoothing_kernel", "to_float", "to_uint8"]
