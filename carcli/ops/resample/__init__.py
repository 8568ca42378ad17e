"""Content adaptive resampling: the definition, fused kernels tried against it, and the choice between them."""

from carcli.ops.resample.operation import resample

__all__ = ["resample"]
