"""What content adaptive resampling is (CAR, arXiv 1907.12904, section 3.2), in plain torch operations.

Every LR pixel is a weighted sum of k x k bilinear samples of the HR image around its
projected centre; weights and sample offsets are predicted per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Heads = Literal["plain", "clamp", "residual"]
HEADS: tuple[Heads, ...] = ("plain", "clamp", "residual")

KERNEL_MIN = 1e-6  # the authors' clamp of kernel scores, and of their sum
CHUNK_ELEMENTS = 1 << 22  # taps times pixels that the composition keeps in flight


@dataclass(frozen=True, eq=False)
class Resampling:
    """One problem: what is resampled, by which heads, and how these are meant."""

    image: Tensor  # (B, C, s·h, s·w), floating point in [0, 1] or uint8 in 0..255
    kernels: Tensor  # this and the offsets: (B, k², h, w) floating point, k odd; tap t = k·ky + kx
    offsets_h: Tensor
    offsets_v: Tensor
    scale: int  # s
    heads: Heads

    @property
    def taps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Kernels and offsets, in this order."""
        return self.kernels, self.offsets_h, self.offsets_v


@lru_cache(maxsize=16)
def _smoothing_taps(kernel_size: int, scale: int) -> tuple[float, ...]:
    def cubic(x: float) -> float:  # Keys' cubic convolution, a = -0.5
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    centre = kernel_size // 2
    row = [cubic((tap - centre) / scale) for tap in range(kernel_size)]
    total = sum(row)
    return tuple(a * b / total**2 for a in row for b in row)


def smoothing_kernel(kernel_size: int, scale: int) -> Tensor:
    """The fixed kernel that ``residual`` heads correct: bicubic, widened by ``scale``.

    Returns (k²,) float32, row by row, with sum 1.
    """
    return torch.tensor(_smoothing_taps(kernel_size, scale), dtype=torch.float32)


def residual_gain(kernel_size: int) -> float:
    """What one unit of a ``residual`` kernel head adds to a tap.

    With 1/k² a unit step of all weight heads moves an LR pixel about as far as a unit step
    of the offset heads does, so that one learning rate suits both.
    """
    return 1.0 / kernel_size**2


def apply_heads(kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """Raw network heads to normalised kernels (sum 1 over taps) and offsets in [-1, 1] units.

    All tensors (B, k², h, w). ``plain``: kernels as they are, offsets clamped. ``clamp``: the
    authors' semantics, scores clamped to [1e-6, 1] and divided by their sum, tanh of the
    offsets. ``residual``: the smoothing kernel plus a zero-mean signed correction, tanh of
    the offsets.
    """
    if heads == "plain":
        return kernels, offsets_h.clamp(-1, 1), offsets_v.clamp(-1, 1)
    if heads == "clamp":
        kernels = kernels.clamp(KERNEL_MIN, 1.0)
        kernels = kernels / kernels.sum(1, keepdim=True).clamp(min=KERNEL_MIN)
    else:
        size = math.isqrt(kernels.shape[1])
        smooth = smoothing_kernel(size, scale).to(kernels).view(1, -1, 1, 1)
        kernels = smooth + residual_gain(size) * (kernels - kernels.mean(1, keepdim=True))
    return kernels, torch.tanh(offsets_h), torch.tanh(offsets_v)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror indices into [0, size) without repeating the edge, as often as it takes."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = torch.remainder(index, period)
    return torch.minimum(index, period - index)


def _lattice(offset: Tensor, base: Tensor, scale: int, size: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two neighbouring lattice lines and the fraction between them, for every tap.

    ``base`` holds the integer part y·s + ky of the padded coordinate; keeping it apart from
    the fraction makes the result independent of the position in a large image. The first
    line is clamped to the padded image before the second is taken, as the authors do.
    """
    last = size + 2 * pad - 1
    moved = offset * scale + (scale - 1) / 2
    floor = moved.floor()
    first = (base + floor.long()).clamp(0, last)
    second = (first + 1).clamp(max=last)
    return _reflect(first - pad, size), _reflect(second - pad, size), moved - floor


def compose(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, first_row: int = 0) -> Tensor:
    """LR rows from ``first_row`` on, as many as ``kernels`` and offsets (as ``apply_heads`` makes them) have."""
    b, c, height, width = image.shape
    taps, rows, w = kernels.shape[1:]
    k = math.isqrt(taps)
    tap = torch.arange(taps, device=image.device)
    y = torch.arange(first_row, first_row + rows, device=image.device) * scale
    x = torch.arange(w, device=image.device) * scale
    base_y = (tap // k).view(1, -1, 1, 1) + y.view(1, 1, -1, 1)
    base_x = (tap % k).view(1, -1, 1, 1) + x.view(1, 1, 1, -1)
    y0, y1, fy = _lattice(offsets_v, base_y, scale, height, k // 2)  # (B, k², rows, w)
    x0, x1, fx = _lattice(offsets_h, base_x, scale, width, k // 2)
    flat = image.reshape(b, c, height * width)

    def sample(line: Tensor, column: Tensor) -> Tensor:
        index = (line * width + column).reshape(b, 1, -1).expand(-1, c, -1)
        return flat.gather(2, index).view(b, c, taps, rows, w)

    fx, fy = fx.unsqueeze(1), fy.unsqueeze(1)
    top = torch.lerp(sample(y0, x0), sample(y0, x1), fx)
    bottom = torch.lerp(sample(y1, x0), sample(y1, x1), fx)
    return (torch.lerp(top, bottom, fy) * kernels.unsqueeze(1)).sum(2)  # (B, C, rows, w)


def resample_composition(
    image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads = "plain"
) -> Tensor:
    """The definition, and the path of last resort; arguments and result are those of ``resample``.

    It works through bands of LR rows, so that no more than a few million samples exist at a
    time; for gradients every band but a lone one is computed again in the backward pass.
    """
    work = kernels.dtype if kernels.dtype == torch.float64 else torch.float32
    image = image.to(work) / 255 if image.dtype == torch.uint8 else image.to(work)
    inputs = (kernels, offsets_h, offsets_v)
    tracked = torch.is_grad_enabled() and any(t.requires_grad for t in (image, *inputs))
    b, taps, h, w = kernels.shape
    rows = max(1, CHUNK_ELEMENTS // (b * taps * w))

    def band(y: int) -> Tensor:
        k, o_h, o_v = (t[:, :, y : y + rows].to(work) for t in inputs)
        return compose(image, *apply_heads(k, o_h, o_v, scale, heads), scale, y)

    again = tracked and rows < h
    return torch.cat([checkpoint(band, y, use_reentrant=False) if again else band(y) for y in range(0, h, rows)], 2)
