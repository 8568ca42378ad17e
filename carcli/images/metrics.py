"""PSNR and SSIM as the published super-resolution tables compute them, in float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from carcli.images.picture import Pixels
from carcli.ops.blur import gaussian_blur

Plane = NDArray[np.float64]

PEAK = 255.0
SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03


def luma(image: Pixels) -> Plane:
    """Y of ITU-R BT.601 in studio range: (H, W, 3) uint8 → (H, W) float64 in 16..235, not rounded."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return 16 + image.astype(np.float64) @ weights


def cut(image: NDArray[np.generic], border: int) -> NDArray[np.generic]:
    """Without ``border`` pixels on each side; an image too small for that keeps its centre pixel."""
    y, x = (min(border, (n - 1) // 2) for n in image.shape[:2])
    return image[y : image.shape[0] - y, x : image.shape[1] - x]


def psnr(reference: NDArray[np.generic], image: NDArray[np.generic]) -> float:
    """Peak signal-to-noise ratio in dB for values in 0..255; infinite for equal images."""
    error = np.mean((reference.astype(np.float64) - image.astype(np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(PEAK**2 / error))


def psnr_y(reference: Pixels, image: Pixels, border: int) -> float:
    """PSNR in dB on Y of two (H, W, 3) uint8 images, ``border`` pixels cut on each side."""
    return psnr(cut(luma(reference), border), cut(luma(image), border))


def psnr_rgb(reference: Pixels, image: Pixels, border: int) -> float:
    """PSNR in dB over all channels of two (H, W, 3) uint8 images, ``border`` pixels cut on each side."""
    return psnr(cut(reference, border), cut(image, border))


SEEN_SIGMA = 1.0  # LR pixels
SEEN_BLOCK = 32


def _seen(image: Pixels) -> Plane:
    planes = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    return gaussian_blur(planes, SEEN_SIGMA)[0].permute(1, 2, 0).numpy()


def psnr_seen(reference: Pixels, image: Pixels) -> float:
    """PSNR in dB over all channels of two (h, w, 3) uint8 thumbnails, both blurred by a Gaussian of one pixel.

    What differs in the finest noise alone is not seen at arm's length, and hardly counts here.
    """
    return psnr(_seen(reference), _seen(image))


def psnr_seen_worst(reference: Pixels, image: Pixels) -> float:
    """The same in the worst 32x32 block, blocks side by side from the upper left corner."""
    errors = (_seen(reference) - _seen(image)) ** 2
    h, w = errors.shape[:2]
    corners = ((y, x) for y in range(0, h, SEEN_BLOCK) for x in range(0, w, SEEN_BLOCK))
    worst = max(float(errors[y : y + SEEN_BLOCK, x : x + SEEN_BLOCK].mean()) for y, x in corners)
    return math.inf if worst == 0 else float(10 * np.log10(PEAK**2 / worst))


def _blur(plane: Plane) -> Plane:
    """Valid part of the Gaussian window, one axis after the other."""
    position = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    window = np.exp(-(position**2) / (2 * SSIM_SIGMA**2))
    window /= window.sum()
    for _ in range(2):
        rows = plane.shape[0] - SSIM_WINDOW + 1
        total = np.zeros((rows, plane.shape[1]))
        for i, weight in enumerate(window):
            total += weight * plane[i : i + rows]
        plane = total.T
    return plane


def ssim(reference: Plane, image: Plane) -> float:
    """Structural similarity (Wang et al., 2004) of two planes in 0..255, mean over the valid map.

    NaN where an image is smaller than the 11x11 window.
    """
    if min(reference.shape) < SSIM_WINDOW:
        return math.nan
    x, y = reference.astype(np.float64), image.astype(np.float64)
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    mx, my = _blur(x), _blur(y)
    vx, vy, cov = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    score = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(score.mean())


def ssim_y(reference: Pixels, image: Pixels, border: int) -> float:
    """SSIM on Y of two (H, W, 3) uint8 images, ``border`` pixels cut on each side."""
    return ssim(cut(luma(reference), border), cut(luma(image), border))  # type: ignore[arg-type]
