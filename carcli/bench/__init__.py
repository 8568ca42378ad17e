"""Measuring: metrics, datasets, and comparisons of families."""
