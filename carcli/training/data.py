"""Training images: decoded once, kept as 8-bit pixels on the device that trains, cropped there at random.

They are decoded as ``carcli down`` decodes them, by the same image policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from carcli.errors import ImageError, UsageError
from carcli.images.codec import read
from carcli.images.formats import SUFFIXES, advice
from carcli.images.picture import Pixels
from carcli.runtime.paths import reason

HELD_OUT = 10  # every tenth image, in order of name, is for validation


@dataclass(frozen=True)
class Photographs:
    """Images (H, W, 3) uint8 to train on and to validate with, and the files that could not be read."""

    train: list[Pixels]
    held_out: list[Pixels]
    skipped: Sequence[tuple[Path, str]]


def find_images(sources: Iterable[Path]) -> list[Path]:
    """All image files below the given folders (or the files themselves), in order of name.

    Raises ``UsageError`` for a source that is not there or cannot be read.
    """
    found: set[Path] = set()
    for source in sources:
        try:
            if not source.exists():
                raise UsageError(f"{source}: no such file or folder of training images")
            candidates = source.rglob("*") if source.is_dir() else [source]
            found.update(p for p in candidates if _is_image(p.suffix.lower()) and p.is_file())
        except OSError as error:
            raise UsageError(f"{error.filename or source}: {reason(error)}") from error
    return sorted(found, key=lambda p: (p.name, str(p)))


def _is_image(suffix: str) -> bool:
    """Whether files of a suffix are images, read here or not: those that are not are told when they are left out."""
    return suffix in SUFFIXES or advice(suffix) is not None


def _decode(path: Path) -> Pixels | str:
    """An image's pixels (H, W, 3) uint8, grey as RGB and without its alpha, or the reason why there are none."""
    try:
        pixels = read(path).pixels
    except ImageError as error:
        return str(error)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def load(sources: Iterable[Path], minimum: int) -> Photographs:
    """Decode every image of at least ``minimum`` pixels a side.

    Raises ``UsageError`` where fewer than two usable images remain.
    """
    paths = find_images(sources)
    train: list[Pixels] = []
    held_out: list[Pixels] = []
    skipped: list[tuple[Path, str]] = []
    with ThreadPoolExecutor() as pool:
        for index, (path, image) in enumerate(zip(paths, pool.map(_decode, paths), strict=True)):
            if isinstance(image, str):
                skipped.append((path, image))
            elif min(image.shape[:2]) < minimum:
                skipped.append((path, f"smaller than a patch of {minimum} pixels"))
            else:
                (held_out if index % HELD_OUT == HELD_OUT - 1 else train).append(image)
    if len(train) + len(held_out) < 2:
        raise UsageError(f"need at least two training images of {minimum} pixels or more, found {len(train) + len(held_out)}")
    if not held_out:
        held_out.append(train.pop())
    return Photographs(train, held_out, skipped)


class PatchSampler:
    """Random square patches with flips and transposes; the batch of a step depends on seed and step alone.

    All images lie end to end in one uint8 tensor on ``device``, and a batch is one gather from
    it. A GPU that cannot spare the memory leaves them on the CPU.
    """

    def __init__(self, images: list[Pixels], patch: int, batch: int, seed: int, device: torch.device) -> None:
        self.patch, self.batch, self.seed, self.device = patch, batch, seed, device
        self.sizes = np.array([image.shape[:2] for image in images], dtype=np.int64)
        room = (self.sizes - patch + 1).prod(1).astype(np.float64)
        self.share = np.cumsum(room / room.sum())
        ends = np.cumsum([image.size for image in images])
        self.starts = np.concatenate([[0], ends[:-1]])
        flat = np.empty(ends[-1], np.uint8)
        for i, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            flat[start:end] = images[i].reshape(-1)
            images[i] = flat[start:end].reshape(images[i].shape)  # so that no image is held twice
        self.pixels = torch.from_numpy(flat)
        if device.type == "cuda" and flat.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self.pixels = self.pixels.to(device)
        self.line = torch.arange(patch, device=self.pixels.device)
        self.channels = torch.arange(3, device=self.pixels.device)

    def __call__(self, step: int, rank: int = 0, ranks: int = 1) -> Tensor:
        """(B, 3, patch, patch) float32 in [0, 1], channels last in memory: every ``ranks``-th patch of the batch."""
        rng = np.random.default_rng((self.seed, step))
        image = np.minimum(np.searchsorted(self.share, rng.random(self.batch)), len(self.sizes) - 1)
        top, left = rng.integers(self.sizes[image] - self.patch + 1).T
        flip_y, flip_x, transpose = rng.integers(2, size=(3, self.batch))
        # Byte c of the pixel in row y and column x of a crop lies at
        #     start + 3 · ((top + y) · width + left + x) + c.
        # A patch shows there in row i and column j: y = i, or last - i where flipped, and x likewise from j; transposed,
        # i and j change places. In all eight cases that is linear in i and j:
        #     origin + i · by_row + j · by_column + c.
        width, last = self.sizes[image, 1], self.patch - 1
        origin = self.starts[image] + 3 * ((top + flip_y * last) * width + left + flip_x * last)
        by_y, by_x = 3 * width * (1 - 2 * flip_y), 3 * (1 - 2 * flip_x)
        by_row, by_column = np.where(transpose, [by_x, by_y], [by_y, by_x])
        terms = torch.from_numpy(np.stack([origin, by_row, by_column])[:, rank::ranks].copy())
        first, rows, columns = terms.to(self.pixels.device)[:, :, None, None, None]  # (B, 1, 1, 1) each
        index = first + rows * self.line[:, None, None] + columns * self.line[:, None] + self.channels
        return self.pixels[index].permute(0, 3, 1, 2).to(self.device).float().div_(255)


def validation_crops(images: Sequence[Pixels], side: int, count: int, multiple: int) -> list[Tensor]:
    """Central crops of up to ``count`` held-out images, (1, 3, h, w) float32 in [0, 1], sizes multiples of ``multiple``."""
    crops = []
    for image in images[:: max(1, len(images) // count)][:count]:
        h, w = (min(side, n) // multiple * multiple for n in image.shape[:2])
        y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
        crop = torch.from_numpy(image[y : y + h, x : x + w].copy())
        crops.append(crop.permute(2, 0, 1)[None].float() / 255)
    return crops
