"""What every network is, whichever way it works, and what two of them are together.

Tiling, refinement, batches and training know of a network only what stands here: it says itself
what sizes it takes, how far it sees, and what may be done with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """One half of a pair: an image (B, C, H, W) in [0, 1] → one ``scale`` times smaller or larger.

    The result is not clamped. A network gives its ``scale`` to this constructor, says in its class
    or its own constructor what differs from the defaults below, and defines ``forward``. Its constructor
    works on torch's ``meta`` device too: it looks at no value of a tensor.
    """

    scale: int
    multiple_of: int = 1  # pixels of its input: height and width are multiples of it
    minimum: int = 1  # pixels of its input, a side
    halo: int | None = None  # pixels around a tile of its input that the tile's result depends on;
    # a multiple of multiple_of, or None: only what it makes of the whole image is right
    tile: int = 512  # LR pixels a side of the default tile: activations take a few hundred MB
    channels_in: int = 3
    channels_out: int = 3
    keeps_grey: bool = False  # whether it makes equal channels of equal ones: of grey it then makes one
    precisions: Sequence[str] = ("fp32", "bf16", "fp16")  # that it computes well in
    keeps_in_half: bool = True  # whether bf16 costs it less than 0.02 dB, as measured, and is worth it
    channels_last: bool = True  # whether its weights may lie in memory that way, which is faster
    differentiable: bool = True  # whether a gradient flows from its result to its input
    adds: tuple[str, ...] = ()  # parts of it, by name, that change nothing until they are trained

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    if TYPE_CHECKING:

        def __call__(self, image: Tensor, /) -> Tensor: ...

    def forward(self, image: Tensor, /) -> Tensor:
        raise NotImplementedError

    @property
    def steps(self) -> Sequence[Network]:
        """What it is made of, in order and as often as it works; each may finish the image before the next."""
        return (self,)

    def shows_as_rgb(self, channels: int) -> bool:
        """Whether an image of so many channels is grey that a colour network is to work on."""
        return channels == 1 and self.channels_in == 3

    def over(self, image: Tensor) -> Tensor:
        """The result, in float32, for an image that may be grey.

        A colour network is shown grey (B, 1, H, W) as RGB, and its result averaged: grey stays grey, and whatever the
        network has put into the differences of channels is lost.
        """
        if not self.shows_as_rgb(image.shape[1]):
            return self(image).float()
        rgb = image.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        return self(rgb).float().mean(1, keepdim=True)

    def channels_of(self, channels: int) -> int:
        """How many channels ``over`` makes of so many."""
        return 1 if self.shows_as_rgb(channels) else self.channels_out

    def penalised(self, image: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """The result, and the weighted sum (a scalar) of what training is to keep this network from.

        ``weights`` are those of a recipe's regularisers, by name. A network takes the ones that it
        has; a weight of its own can be an argument of its architecture.
        """
        return self(image), image.new_zeros(())

    def match(self, down: Network) -> None:
        """Of an upscaler: take what it shares with the downscaler that it is built beside; ``ValueError`` where there is none."""

    def can_start_from(self, other: Network) -> bool:
        """Whether the other's weights may begin this one: it is its kind, or it but for what it ``adds``."""
        return type(other) is type(self)


class ByChannel(Network):
    """A network that works on every channel by itself and in the same way: on one, or on any number of them."""

    keeps_grey = True
    keeps_in_half = False  # it computes in float32 whatever it is told

    def shows_as_rgb(self, channels: int) -> bool:
        return False

    def channels_of(self, channels: int) -> int:
        return channels


Half = Literal["down", "up"]  # of a pair


class Pair(NamedTuple):
    """A downscaler and the upscaler that was trained with it."""

    down: Network
    up: Network
