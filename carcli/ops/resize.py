"""An image at any other size: by its cosine transform, or with one of Pillow's kernels, in floats.

The cosine transform of a larger image begins with that of the smaller one, so enlarging and then shrinking
by it gives the same image back, and of whatever a network changed in between the nearest one. No kernel does that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carcli.ops.kernels import Kernel

BAND = 1 << 20  # values that are transformed at once, in double precision
LEVELS = 255
_PILLOWS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def resize(
    image: NDArray[Any],
    size: tuple[int, int],
    kernel: Kernel,
    *,
    rounded: bool = False,
    before_band: Callable[[], object] = lambda: None,
) -> NDArray[Any]:
    """An image (H, W, C), uint8 levels or floats in [0, 1], at ``size`` (width, height).

    Returns (h, w, C) float32, not clamped, or, where ``rounded``, uint8 levels. Works on one channel after another and on
    bands of lines, in one thread: beside image and result it holds one channel. The same bytes on every device.
    ``before_band`` is called now and then, and may raise.
    """
    width, height = size
    out = np.empty((height, width, image.shape[2]), np.uint8 if rounded else np.float32)
    for channel in range(image.shape[2]):
        plane = image[..., channel]
        lines = _by_transform(plane, width, before_band) if kernel == "dct" else _by_pillow(plane, size, kernel)
        columns = out[..., channel].T
        for start, band in _bands(lines.T):
            before_band()
            values = _transformed(band, height) if kernel == "dct" else band
            columns[start : start + len(band)] = np.rint(np.clip(values, 0, 1) * LEVELS) if rounded else values
    return out


def _in_unit(plane: NDArray[Any]) -> NDArray[Any]:
    return plane / np.float32(LEVELS) if plane.dtype == np.uint8 else plane


def _bands(plane: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
    """Lines of a plane, so many that a band has ``BAND`` values, with the place of the first."""
    count = max(1, BAND // plane.shape[1])
    return [(start, plane[start : start + count]) for start in range(0, len(plane), count)]


def _by_pillow(plane: NDArray[Any], size: tuple[int, int], kernel: Kernel) -> NDArray[Any]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(_in_unit(plane), np.float32)).resize(size, _PILLOWS[kernel]))


def _by_transform(plane: NDArray[Any], length: int, before_band: Callable[[], object]) -> NDArray[np.float32]:
    """Every line of a plane at another length."""
    out = np.empty((len(plane), length), np.float32)
    for start, band in _bands(plane):
        before_band()
        out[start : start + len(band)] = _transformed(_in_unit(band), length)
    return out


def _transformed(lines: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Lines (n, N) at another length (n, M), by what their cosine transforms have in common."""
    before = lines.shape[1]
    if before == length:
        return lines.astype(np.float64)
    coefficients = np.zeros((len(lines), length))
    common = min(before, length)
    coefficients[:, :common] = _cosines(lines)[:, :common] * (length / before)
    return _from_cosines(coefficients)


def _twiddles(length: int) -> NDArray[np.complex128]:
    turns: NDArray[np.complex128] = np.exp(-0.5j * np.pi * np.arange(length // 2 + 1) / length)
    return turns


def _cosines(lines: NDArray[Any]) -> NDArray[np.float64]:
    """Σ x[j] cos(π (2j + 1) k / 2N), by one real Fourier transform of N values (Makhoul, 1980)."""
    length = lines.shape[1]
    turned = np.concatenate([lines[:, ::2], lines[:, 1::2][:, ::-1]], 1).astype(np.float64)
    spectrum = np.fft.rfft(turned) * _twiddles(length)
    out = np.empty((len(lines), length))
    out[:, : length // 2 + 1] = spectrum.real
    half = (length - 1) // 2  # those that have a mirror image
    out[:, length - half :] = -spectrum.imag[:, half:0:-1]
    return out


def _from_cosines(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ``_cosines``."""
    length = coefficients.shape[1]
    mirrored = np.zeros((len(coefficients), length // 2 + 1))
    mirrored[:, 1:] = coefficients[:, : length - length // 2 - 1 : -1]
    spectrum = (coefficients[:, : length // 2 + 1] - 1j * mirrored) / _twiddles(length)
    turned = np.fft.irfft(spectrum, length)
    out = np.empty_like(coefficients)
    out[:, ::2] = turned[:, : (length + 1) // 2]
    out[:, 1::2] = turned[:, (length + 1) // 2 :][:, ::-1]
    return out
