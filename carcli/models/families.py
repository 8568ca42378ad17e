"""Families that are meant without being named, known without loading any network library."""

DEFAULT = "edsr"  # where none is named
CLASSICAL = ("bicubic", "lanczos")  # without weights, at any scale
