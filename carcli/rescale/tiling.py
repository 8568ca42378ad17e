"""Seamless tiles: a network over an image of any size, with only one tile on the device at a time.

The grid depends on the network alone, so the same image always gives the same bytes. Every
tile carries a halo as wide as what its result depends on; at the image's own borders the
tile ends there, and the network pads it just as it would pad the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carcli.models.base import Network
from carcli.ops.quantise import to_float, to_uint8
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import autocast

T = TypeVar("T")
Image = NDArray[Any]  # uint8 levels, or float32 in [0, 1] between the networks of a cascade, and where one is resized


SMALLEST = 16  # LR pixels a side: below that, less memory is no help

AT_ONCE = {"cuda": 4}  # tiles that a device computes together; one where nothing is said


class Span(NamedTuple):
    """One axis of a tile, in pixels of the network's input."""

    start: int  # of the core
    stop: int
    first: int  # of the core with its halo
    last: int


Group = list[tuple[Span, Span]]  # rows and columns of tiles that are computed together


def spans(length: int, tile: int, halo: int) -> list[Span]:
    """Cut ``length`` pixels into cores of ``tile``, each with a halo that ends at the borders."""
    return [
        Span(start, min(start + tile, length), max(start - halo, 0), min(start + tile + halo, length))
        for start in range(0, length, tile)
    ]


def reflected(first: int, last: int, size: int) -> NDArray[np.intp]:
    """Indices [first, last) of a line of ``size`` pixels that is mirrored beyond its end.

    The edge pixel is not repeated, unless it is the only one; the mirroring repeats as often
    as it takes.
    """
    index = np.arange(first, last)
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    index = index % period
    return np.minimum(index, period - index)


def padded(size: int, multiple: int, minimum: int) -> int:
    """The smallest size a network takes that is no smaller than ``size``."""
    return -(-max(size, minimum) // multiple) * multiple


def cut(image: Image, rows: Span, columns: Span) -> Image:
    """A tile's pixels with its halo, mirrored beyond the image's end."""
    height, width = image.shape[:2]
    inside = image[rows.first : min(rows.last, height), columns.first : min(columns.last, width)]
    if rows.last > height:
        inside = image[reflected(rows.first, rows.last, height)][:, columns.first : min(columns.last, width)]
    if columns.last > width:
        y = reflected(rows.first, rows.last, height)
        x = reflected(columns.first, columns.last, width)
        inside = image[y[:, None], x[None, :]]
    return inside


def tiles(image: Image, network: Network, tile: int, down: bool) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of every tile of an image, in input pixels; ``tile`` in LR pixels, and larger where the network must.

    A network without a halo sees the whole image as one tile.
    """
    height, width = (padded(n, network.multiple_of, network.minimum) for n in image.shape[:2])
    if network.halo is None:
        yield spans(height, height, 0)[0], spans(width, width, 0)[0]
        return
    side = padded(tile * network.scale if down else tile, network.multiple_of, 1)
    if network.halo % network.multiple_of:
        raise ValueError(f"a halo of {network.halo} is no multiple of {network.multiple_of}")
    for rows in spans(height, side, network.halo):
        for columns in spans(width, side, network.halo):
            yield rows, columns


def _alike(every: Iterable[tuple[Span, Span]], most: int) -> Iterator[Group]:
    """Neighbouring tiles of one size, so many at once at most."""
    group: Group = []
    for tile in every:
        if group and (
            len(group) == most or any(a.last - a.first != b.last - b.first for a, b in zip(tile, group[0], strict=True))
        ):
            yield group
            group = []
        group.append(tile)
    if group:
        yield group


def _leaving(y: Tensor) -> tuple[Tensor, Callable[[], object]]:
    """A result on its way to host memory, and what waits for its arrival.

    A CUDA device copies into pinned memory, and goes on with what it is given next meanwhile.
    """
    if y.device.type != "cuda":
        return y.cpu(), lambda: None
    host = torch.empty_like(y, device="cpu", pin_memory=True).copy_(y, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(y.device))
    return host, arrived.synchronize


def _one_behind(items: Iterable[T]) -> Iterator[T]:
    """Every item once the next one has been made, or there is none: a device works on that meanwhile."""
    before: list[T] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


@dataclass(frozen=True)
class _Way:
    """Which way an image goes, where and how it is computed, and in whose turn."""

    down: bool
    device: torch.device
    precision: str
    turn: Turn


def _step(network: Network, image: Image, way: _Way, *, tile: int, last: bool, batch: int) -> Image:
    """One network over an image of 8-bit levels or of floats in [0, 1]; where it is ``last``, the result is rounded to 8 bits."""
    down, device = way.down, way.device
    height, width, channels = image.shape
    scale = network.scale
    size = (-(-height // scale), -(-width // scale)) if down else (height * scale, width * scale)
    out = np.empty((*size, network.channels_of(channels)), np.uint8 if last else np.float32)

    def at(n: int) -> int:
        return n // scale if down else n * scale

    def computed() -> Iterator[tuple[Group, Tensor, Callable[[], object]]]:
        for group in _alike(tiles(image, network, tile, down), batch):
            way.turn.begin()
            cuts = torch.from_numpy(np.stack([cut(image, rows, columns).transpose(2, 0, 1) for rows, columns in group]))
            x = (cuts.pin_memory() if device.type == "cuda" else cuts).to(device, non_blocking=True)
            x = to_float(x) if x.dtype == torch.uint8 else x
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.no_grad(), autocast(device, way.precision):
                y = network.over(x)
            yield group, *_leaving((to_uint8(y) if last else y).permute(0, 2, 3, 1))

    for group, results, arrive in _one_behind(computed()):
        arrive()
        for (rows, columns), result in zip(group, results.numpy(), strict=True):
            top, left = at(rows.start), at(columns.start)
            bottom, right = min(at(rows.stop), size[0]), min(at(columns.stop), size[1])
            skip_y, skip_x = top - at(rows.first), left - at(columns.first)
            out[top:bottom, left:right] = result[skip_y : skip_y + bottom - top, skip_x : skip_x + right - left]
    return out


def run(
    network: Network,
    image: Image,
    *,
    down: bool,
    device: torch.device,
    precision: str = "fp32",
    tile: int | None = None,
    turn: Turn = ALONE,
    rounded: bool = True,
) -> Image:
    """Run one half of a pair over an image.

    Parameters: ``image`` (H, W, C) uint8, or float32 in [0, 1]; ``rounded``, whether the result is uint8, or float32 that is
    not clamped; ``tile``, LR pixels a side, the network's own by
    default. Grey images (C = 1) are shown to colour networks as RGB and averaged afterwards. The
    networks of a cascade work one after another, each over the whole image in its own tiles, on
    floats that are rounded in the end only. Where tiles do not fit into memory together, they are
    computed one by one, and where one does not, it is halved, unless the network must see the whole image. Each
    begins by asking ``turn`` whether it is still wanted, and how many threads it may use.

    Returns (ceil(H / s), ceil(W / s), C) uint8 for ``down``, (s·H, s·W, C) for up; where the
    network makes grey of colour or colour of grey, C is what it makes. Raises ``Abandoned``
    once ``turn`` is cancelled.
    """
    steps = network.steps
    way = _Way(down=down, device=device, precision=precision, turn=turn)
    result: Image = image
    for number, step in enumerate(steps, 1):
        side, batch = tile or step.tile, AT_ONCE.get(device.type, 1)
        while True:
            try:
                result = _step(step, result, way, tile=side, last=rounded and number == len(steps), batch=batch)
                break
            except (torch.OutOfMemoryError, MemoryError):
                if step.halo is None or (side, batch) == (min(side, SMALLEST), 1):
                    raise
                side, batch = (side, 1) if batch > 1 else (max(side // 2, SMALLEST), 1)
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    return result


def begun(network: Network, size: tuple[int, int], *, down: bool, device: torch.device, tile: int | None = None) -> int:
    """How often ``run`` begins a tile, or tiles that are computed together, of an image of ``size`` (height, width)."""
    total, (height, width) = 0, size
    for step in network.steps:
        image = np.broadcast_to(np.uint8(0), (height, width, 1))  # of which only the shape is looked at
        total += sum(1 for _ in _alike(tiles(image, step, tile or step.tile, down), AT_ONCE.get(device.type, 1)))
        height, width = (-(-n // step.scale) if down else n * step.scale for n in (height, width))
    return total
