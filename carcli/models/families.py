"""Families that are meant without being named, known without loading any network library."""

DEFAULT = "edsr"  # where none is named
ALSO = {"car": "edsr"}  # a family's other name: the paper's
FOREIGN = "zoo"  # networks of other makers, which only enlarge
CLASSICAL = ("bicubic", "lanczos")  # without weights, at any scale
