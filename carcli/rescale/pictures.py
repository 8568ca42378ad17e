"""Both halves of a pair over pictures: pixels, alpha and tag, down and up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from carcli.errors import ImageError, UsageError
from carcli.images import profile
from carcli.images.alpha import filled
from carcli.images.formats import MAX_PIXELS
from carcli.images.picture import Picture, Pixels
from carcli.images.tag import Tag
from carcli.models.base import Network, Pair
from carcli.models.bicubic import BicubicDown, BicubicUp
from carcli.rescale import tiling
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import pick_precision
from carcli.weights.choose import Choice


class PictureRescaler:
    """Both networks of a checkpoint on a device; what batches, refinement and ``Rescaler`` work with."""

    def __init__(self, choice: Choice, pair: Pair, device: torch.device, precision: str = "fp32") -> None:
        self.id = choice.description.id
        self.family = choice.description.family
        self.scale = choice.description.scale
        self.digest = choice.digest
        self.device, self.precision = device, pick_precision(precision)
        self.only_up = choice.only_up
        for net in pair:
            if precision not in net.precisions:
                raise UsageError(f"{self.id} does not compute in {precision}; use {' or '.join(net.precisions)}")
            net.to(device)
            if net.channels_last:
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = pair
        self._down, self._up = pair
        self._alpha_down, self._alpha_up = BicubicDown(self.scale), BicubicUp(self.scale)

    def _run(self, network: Network, pixels: Pixels, down: bool, tile: int | None, turn: Turn) -> Pixels:
        return tiling.run(network, pixels, down=down, device=self.device, precision=self.precision, tile=tile, turn=turn)

    def refuse_to_shrink(self) -> None:
        """Raise ``UsageError`` where there is nothing here that shrinks images so that they can be brought back."""
        if self.only_up:
            raise UsageError(f"{self.id} only enlarges images; shrink them with another model, edsr or tad")

    @property
    def to_grey(self) -> bool:
        """Whether the LR image of a colour image has one channel, from which ``up`` restores three."""
        return self._down.channels_out == 1

    def restore(self, lr: Pixels, tile: int | None = None, turn: Turn = ALONE) -> Pixels:
        """What LR pixels (h, w, C) uint8 restore to: (s·h, s·w, C) uint8, or three channels where colour comes from grey."""
        return self._run(self._up, lr, False, tile, turn)

    def down_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE) -> Picture:
        """A picture's LR picture with its tag; ``tile`` in LR pixels a side (the family's own by default).

        Colours beneath transparency are replaced by those beside them first: they never show.
        """
        width, height = picture.size
        alpha = picture.alpha
        pixels = self._run(self._down, filled(picture.pixels, alpha), True, tile, turn)
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_down, alpha, True, tile, turn)
        icc, notes = profile.fitting(picture.icc, pixels.shape[2])
        tag = Tag(self.id, self.digest, self.scale, width, height, grey=self.to_grey and picture.pixels.shape[2] == 1)
        return replace(
            picture,
            pixels=pixels,
            alpha=alpha,
            icc=icc,
            tag=tag,
            tag_error=None,
            notes=notes,
        )

    def restored_size(self, picture: Picture) -> tuple[int, int]:
        """Width and height that an LR picture restores to."""
        width, height = picture.size
        tag = picture.tag
        return (width * self.scale, height * self.scale) if tag is None else (tag.width, tag.height)

    def up_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE) -> Picture:
        """The restored picture, cropped to the size that the tag gives where there is one.

        Raises ``ImageError`` where the tag was made with other weights, grey is needed and the picture is not, or the
        result would be larger than what is read.
        """
        tag = picture.tag
        if tag is not None and (tag.checkpoint, tag.scale) != (self.id, self.scale):
            raise ImageError(
                f"was made with {tag.checkpoint} at scale {tag.scale}, not {self.id} at scale {self.scale}; restore it with "
                "that model, or ignore its tag to restore it as an ordinary image"
            )
        if tag is not None and tag.digest != self.digest:
            raise ImageError(
                f"was made with another version of {tag.checkpoint} ({tag.digest[:12] or 'none'}, here {self.digest[:12]}); "
                "restore it with the carcli or the .safetensors file that made it, "
                "or ignore its tag to restore it as an ordinary image"
            )
        if self.to_grey and picture.pixels.shape[2] != 1:
            raise ImageError(f"has three channels; {self.id} restores the colours of grey images")
        width, height = self.restored_size(picture)
        _refuse_if_too_large(picture, self.scale)
        lr = filled(picture.pixels, picture.alpha, seen=1)  # somebody may have blackened what down had filled
        pixels = self._run(self._up, lr, False, tile, turn)[:height, :width]
        if tag is not None and tag.grey:
            pixels = np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8)
        alpha = picture.alpha
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_up, alpha, False, tile, turn)[:height, :width]
        icc, notes = profile.fitting(picture.icc, pixels.shape[2])
        return replace(picture, pixels=pixels, alpha=alpha, icc=icc, tag=None, tag_error=None, notes=notes)


def _refuse_if_too_large(lr: Picture, scale: int) -> None:
    """Raise ``ImageError`` where what is made of an LR picture is larger than what would be read."""
    width, height = (n * scale for n in lr.size)
    if width * height > MAX_PIXELS:
        raise ImageError(f"would become {width}x{height}, more than {MAX_PIXELS // 1_000_000} megapixels; restore parts of it")
