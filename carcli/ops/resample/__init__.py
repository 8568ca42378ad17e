"""Content adaptive resampling: the definition, fused kernels tried against it, and the choice between them."""
