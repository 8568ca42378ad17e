"""The names of what resizes an image, known without loading what does it."""

from __future__ import annotations

from typing import Literal

Kernel = Literal["dct", "bicubic", "lanczos"]
KERNELS: tuple[Kernel, ...] = ("dct", "bicubic", "lanczos")
