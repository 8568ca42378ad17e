"""The families without weights, at any scale; known without loading any network library."""

CLASSICAL = ("bicubic", "lanczos")
