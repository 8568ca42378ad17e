"""The version, for all who would otherwise import the package for it."""

__version__ = "0.1.0"
