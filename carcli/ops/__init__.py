"""Differentiable operations: content adaptive resampling, 8-bit quantisation, and a blur."""
