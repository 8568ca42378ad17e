"""3x3 convolutions by Winograd's F(4x4, 3x3) (Lavin and Gray, CVPR 2016), with gradients, for CPUs without bf16.

Where a processor has no bf16 arithmetic, direct fp32 convolution already runs at its peak, and
only fewer multiplications make a step faster: this form needs a quarter of them.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from carcli.runtime.threads import spread

Floats = NDArray[np.float32]

_G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_GG = torch.kron(_G, _G)  # (36, 9): a filter's transform, both axes at once

BAND = 1024  # tiles: 9 MB of 64 channels each way

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "boundscheck": False, "error_model": "numpy"}


@njit(**_OPTIONS)
def _gather(x: Floats, v: Floats, first: int, last: int) -> None:
    """Bᵀ d B of every 6x6 input tile: x (B, H, W, C) zero padded by one, v (36, tiles, C).

    ``first`` and ``last`` count rows of tiles, over all images of the batch.
    """
    _, height, width, channels = x.shape
    rows, columns = (height + 3) // 4, (width + 3) // 4
    half = np.zeros((6, 6, channels), np.float32)
    line = np.zeros((6, channels), np.float32)
    t = 0
    for row_of_tiles in range(first, last):
        b, ty = row_of_tiles // rows, row_of_tiles % rows
        for tx in range(columns):
            for i in range(6):  # along the row
                y = 4 * ty - 1 + i
                if y < 0 or y >= height:
                    half[i] = 0
                    continue
                left = 4 * tx - 1
                for j in range(6):
                    if 0 <= left + j < width:
                        line[j] = x[b, y, left + j]
                    else:
                        line[j] = 0
                for c in range(channels):
                    d0, d1, d2, d3, d4, d5 = line[0, c], line[1, c], line[2, c], line[3, c], line[4, c], line[5, c]
                    p, q = d4 - 4 * d2, d3 - 4 * d1
                    r, s = d4 - d2, 2 * (d3 - d1)
                    half[i, 0, c] = 4 * d0 - 5 * d2 + d4
                    half[i, 1, c] = p + q
                    half[i, 2, c] = p - q
                    half[i, 3, c] = r + s
                    half[i, 4, c] = r - s
                    half[i, 5, c] = 4 * d1 - 5 * d3 + d5
            for j in range(6):
                v0, v1, v2, v3, v4, v5 = v[j, t], v[6 + j, t], v[12 + j, t], v[18 + j, t], v[24 + j, t], v[30 + j, t]
                for c in range(channels):
                    d0, d1, d2 = half[0, j, c], half[1, j, c], half[2, j, c]
                    d3, d4, d5 = half[3, j, c], half[4, j, c], half[5, j, c]
                    p, q = d4 - 4 * d2, d3 - 4 * d1
                    r, s = d4 - d2, 2 * (d3 - d1)
                    v0[c] = 4 * d0 - 5 * d2 + d4
                    v1[c] = p + q
                    v2[c] = p - q
                    v3[c] = r + s
                    v4[c] = r - s
                    v5[c] = 4 * d1 - 5 * d3 + d5
            t += 1


@njit(**_OPTIONS)
def _scatter(v: Floats, x: Floats) -> None:
    """The transpose of ``_gather``: adds B v Bᵀ of every tile to x (B, H, W, C)."""
    batch, height, width, channels = x.shape
    rows, columns = (height + 3) // 4, (width + 3) // 4
    half = np.zeros((6, 6, channels), np.float32)
    line = np.zeros((6, channels), np.float32)
    t = 0
    for b in range(batch):
        for ty in range(rows):
            for tx in range(columns):
                for j in range(6):
                    v0, v1, v2, v3, v4, v5 = v[j, t], v[6 + j, t], v[12 + j, t], v[18 + j, t], v[24 + j, t], v[30 + j, t]
                    for c in range(channels):
                        p, q = v1[c] + v2[c], v1[c] - v2[c]
                        r, s = v3[c] + v4[c], v3[c] - v4[c]
                        half[0, j, c] = 4 * v0[c]
                        half[1, j, c] = -4 * q - 2 * s + 4 * v5[c]
                        half[2, j, c] = -5 * v0[c] - 4 * p - r
                        half[3, j, c] = q + 2 * s - 5 * v5[c]
                        half[4, j, c] = v0[c] + p + r
                        half[5, j, c] = v5[c]
                left = 4 * tx - 1
                for i in range(6):
                    y = 4 * ty - 1 + i
                    if y < 0 or y >= height:
                        continue
                    for c in range(channels):
                        d0, d1, d2 = half[i, 0, c], half[i, 1, c], half[i, 2, c]
                        d3, d4, d5 = half[i, 3, c], half[i, 4, c], half[i, 5, c]
                        p, q = d1 + d2, d1 - d2
                        r, s = d3 + d4, d3 - d4
                        line[0, c] = 4 * d0
                        line[1, c] = -4 * q - 2 * s + 4 * d5
                        line[2, c] = -5 * d0 - 4 * p - r
                        line[3, c] = q + 2 * s - 5 * d5
                        line[4, c] = d0 + p + r
                        line[5, c] = d5
                    for j in range(6):
                        if 0 <= left + j < width:
                            pixel = x[b, y, left + j]
                            for c in range(channels):
                                pixel[c] += line[j, c]
                t += 1


@njit(**_OPTIONS)
def _finish(m: Floats, bias: Floats, y: Floats, first: int, last: int) -> None:
    """Aᵀ m A of every tile, plus the bias: m (36, tiles, K), y (B, H, W, K); rows of tiles as above."""
    _, height, width, channels = y.shape
    rows, columns = (height + 3) // 4, (width + 3) // 4
    half = np.zeros((4, 6, channels), np.float32)
    t = 0
    for row_of_tiles in range(first, last):
        b, ty = row_of_tiles // rows, row_of_tiles % rows
        for tx in range(columns):
            for j in range(6):
                m0, m1, m2, m3, m4, m5 = m[j, t], m[6 + j, t], m[12 + j, t], m[18 + j, t], m[24 + j, t], m[30 + j, t]
                for c in range(channels):
                    p, q = m1[c] + m2[c], m1[c] - m2[c]
                    r, s = m3[c] + m4[c], m3[c] - m4[c]
                    half[0, j, c] = m0[c] + p + r
                    half[1, j, c] = q + 2 * s
                    half[2, j, c] = p + 4 * r
                    half[3, j, c] = q + 8 * s + m5[c]
            full = 4 * tx + 4 <= width
            for i in range(min(4, height - 4 * ty)):
                row = y[b, 4 * ty + i]
                if full:
                    y0, y1, y2, y3 = row[4 * tx], row[4 * tx + 1], row[4 * tx + 2], row[4 * tx + 3]
                    for c in range(channels):
                        p, q = half[i, 1, c] + half[i, 2, c], half[i, 1, c] - half[i, 2, c]
                        r, s = half[i, 3, c] + half[i, 4, c], half[i, 3, c] - half[i, 4, c]
                        y0[c] = half[i, 0, c] + p + r + bias[c]
                        y1[c] = q + 2 * s + bias[c]
                        y2[c] = p + 4 * r + bias[c]
                        y3[c] = q + 8 * s + half[i, 5, c] + bias[c]
                else:
                    for c in range(channels):
                        p, q = half[i, 1, c] + half[i, 2, c], half[i, 1, c] - half[i, 2, c]
                        r, s = half[i, 3, c] + half[i, 4, c], half[i, 3, c] - half[i, 4, c]
                        row[4 * tx, c] = half[i, 0, c] + p + r + bias[c]
                        if 4 * tx + 1 < width:
                            row[4 * tx + 1, c] = q + 2 * s + bias[c]
                        if 4 * tx + 2 < width:
                            row[4 * tx + 2, c] = p + 4 * r + bias[c]
            t += 1


@njit(**_OPTIONS)
def _unfinish(g: Floats, m: Floats) -> None:
    """The transpose of ``_finish``: A g Aᵀ of every 4x4 tile of g (B, H, W, K), into m (36, tiles, K)."""
    batch, height, width, channels = g.shape
    rows, columns = (height + 3) // 4, (width + 3) // 4
    half = np.zeros((4, 6, channels), np.float32)
    line = np.zeros((4, channels), np.float32)
    t = 0
    for b in range(batch):
        for ty in range(rows):
            for tx in range(columns):
                for i in range(4):
                    if 4 * ty + i >= height:
                        half[i] = 0
                        continue
                    for j in range(4):
                        if 4 * tx + j < width:
                            line[j] = g[b, 4 * ty + i, 4 * tx + j]
                        else:
                            line[j] = 0
                    for c in range(channels):
                        g0, g1, g2, g3 = line[0, c], line[1, c], line[2, c], line[3, c]
                        p, q = g0 + g2, g1 + g3
                        r, s = g0 + 4 * g2, 2 * g1 + 8 * g3
                        half[i, 0, c] = g0
                        half[i, 1, c] = p + q
                        half[i, 2, c] = p - q
                        half[i, 3, c] = r + s
                        half[i, 4, c] = r - s
                        half[i, 5, c] = g3
                for j in range(6):
                    m0, m1, m2, m3, m4, m5 = m[j, t], m[6 + j, t], m[12 + j, t], m[18 + j, t], m[24 + j, t], m[30 + j, t]
                    for c in range(channels):
                        g0, g1, g2, g3 = half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c]
                        p, q = g0 + g2, g1 + g3
                        r, s = g0 + 4 * g2, 2 * g1 + 8 * g3
                        m0[c] = g0
                        m1[c] = p + q
                        m2[c] = p - q
                        m3[c] = r + s
                        m4[c] = r - s
                        m5[c] = g3
                t += 1


def _filters(weight: Tensor) -> Tensor:
    """(K, C, 3, 3) → (36, C, K)."""
    outputs, inputs = weight.shape[:2]
    return (_GG @ weight.permute(2, 3, 1, 0).reshape(9, inputs * outputs)).view(36, inputs, outputs)


def _pixels(x: Tensor) -> Floats:
    return cast(Floats, x.permute(0, 2, 3, 1).contiguous().numpy())


def _shares(first: int, last: int) -> list[tuple[int, int]]:
    """Rows of tiles ``first`` to ``last``, in as many parts as torch has threads."""
    parts = min(torch.get_num_threads(), last - first)
    return list(itertools.pairwise(first + (last - first) * i // parts for i in range(parts + 1)))


def _in_bands(pixels: Floats, u: Tensor, bias: Floats, out: Floats) -> None:
    """The convolution, without keeping what a gradient needs: rows of tiles, as many at once as the cache holds."""
    batch, height, width, channels = pixels.shape
    columns = (width + 3) // 4
    rows = batch * ((height + 3) // 4)
    band = max(1, BAND // columns)
    v = torch.empty(36, min(band, rows) * columns, channels)
    m = torch.empty(36, min(band, rows) * columns, u.shape[2])
    for top in range(0, rows, band):
        bottom = min(top + band, rows)
        tiles = (bottom - top) * columns
        here, there = v[:, :tiles], m[:, :tiles]
        now, then = here.numpy(), there.numpy()

        def gather(first: int, last: int, top: int = top, now: Floats = now) -> None:
            _gather(pixels, now[:, (first - top) * columns :], first, last)

        def finish(first: int, last: int, top: int = top, then: Floats = then) -> None:
            _finish(then[:, (first - top) * columns :], bias, out, first, last)

        spread(gather, _shares(top, bottom))
        torch.bmm(here, u, out=there)
        spread(finish, _shares(top, bottom))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        pixels = _pixels(x.detach())
        b, h, w, c = pixels.shape
        rows = b * ((h + 3) // 4)
        u = _filters(weight.detach())
        y = torch.empty((b, weight.shape[0], h, w), memory_format=torch.channels_last)
        out = y.permute(0, 2, 3, 1).numpy()
        v = torch.empty(36, rows * ((w + 3) // 4), c)
        _gather(pixels, v.numpy(), 0, rows)
        _finish(torch.bmm(v, u).numpy(), bias.detach().numpy(), out, 0, rows)
        context.save_for_backward(v, u)
        context.size = pixels.shape
        return y

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        v, u = context.saved_tensors
        g = _pixels(gradients[0])
        m = torch.empty(36, v.shape[1], u.shape[2])
        _unfinish(g, m.numpy())
        x = None
        if context.needs_input_grad[0]:
            pixels = torch.zeros(context.size)
            _scatter(torch.bmm(m, u.transpose(1, 2)).numpy(), pixels.numpy())
            x = pixels.permute(0, 3, 1, 2)
        if not context.needs_input_grad[1]:  # frozen weights
            return x, None, None
        change = (_GG.T @ torch.bmm(v.transpose(1, 2), m).view(36, -1)).view(3, 3, u.shape[1], u.shape[2])
        return x, change.permute(3, 2, 0, 1), torch.from_numpy(g).sum((0, 1, 2))


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution of x (B, C, H, W) float32 with weight (K, C, 3, 3), zero padded by one, stride 1; (B, K, H, W)."""
    if not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad)):
        y = torch.empty((x.shape[0], weight.shape[0], *x.shape[2:]), memory_format=torch.channels_last)
        _in_bands(_pixels(x.detach()), _filters(weight.detach()), bias.detach().numpy(), y.permute(0, 2, 3, 1).numpy())
        return y
    result: Tensor = _Convolution.apply(x, weight, bias)
    return result


class WinogradConv2d(nn.Conv2d):
    """A convolution computed by ``convolve``: same weights, same names."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return convolve(x, self.weight, self.bias)


def use_winograd(network: nn.Module) -> None:
    """Let every 3x3 convolution of ``network`` that can be computed so be computed so, from now on.

    Each stays the module that it is, with its parameters, hooks and name, for whatever holds it: only its class changes,
    to one that differs from ``nn.Conv2d`` in ``forward`` alone.
    """
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and (module.kernel_size, module.stride, module.padding, module.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
            and module.groups == 1
            and module.padding_mode == "zeros"
            and module.bias is not None
            and min(module.in_channels, module.out_channels) >= 16
        ):
            module.__class__ = WinogradConv2d
