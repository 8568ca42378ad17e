"""Both halves of a pair over pictures: pixels, alpha and tag, down and up."""

from __future__ import annotations

from dataclasses import replace

import torch

from carcli.errors import ImageError
from carcli.images import grey, profile
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
        for net in pair:
            net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = pair
        self._down, self._up = pair
        self._alpha_down, self._alpha_up = BicubicDown(self.scale), BicubicUp(self.scale)

    def _run(self, network: Network, pixels: Pixels, down: bool, tile: int | None, turn: Turn) -> Pixels:
        return tiling.run(network, pixels, down=down, device=self.device, precision=self.precision, tile=tile, turn=turn)

    @property
    def to_grey(self) -> bool:
        """Whether the LR image of a colour image has one channel, from which ``up`` restores three."""
        return self._down.channels_out == 1

    @property
    def keeps_grey(self) -> bool:
        """Whether a grey image's LR image is grey, and loses nothing by it: nothing is hidden in colours."""
        return self.to_grey or self._down.keeps_grey

    def restore(self, lr: Pixels, tile: int | None = None, turn: Turn = ALONE, was_grey: bool = False) -> Pixels:
        """What LR pixels (h, w, C) uint8 restore to: (s·h, s·w, C) uint8, or three channels where colour comes from grey.

        ``was_grey`` says of the original that it had one channel: then the mean of those restored, C = 1.
        """
        restored = self._run(self._up, lr, False, tile, turn)
        return grey.averaged(restored) if was_grey else restored

    def down_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE, *, keep_grey: bool = False) -> Picture:
        """A picture's LR picture with its tag; ``tile`` in LR pixels a side (the family's own by default).

        A grey picture's LR picture is in colour where the pair puts something into colours, so that ``up`` restores
        as much as of RGB, and grey then, as the tag tells it; with ``keep_grey`` it stays grey, and restores worse.
        Colours beneath transparency are replaced by those beside them first: they never show.
        """
        width, height = picture.size
        alpha = picture.alpha
        hr = filled(picture.pixels, alpha)
        was_grey = hr.shape[2] == 1
        in_colour = was_grey and not (keep_grey or self.keeps_grey)
        pixels = self._run(self._down, grey.in_colour(hr) if in_colour else hr, True, tile, turn)
        if in_colour:
            pixels = grey.collapsed(pixels)
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_down, alpha, True, tile, turn)
        channels = pixels.shape[2]
        icc, notes = profile.in_colour(picture.icc) if was_grey and channels == 3 else profile.fitting(picture.icc, channels)
        tag = Tag(self.id, self.digest, self.scale, width, height, grey=was_grey)
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

    def up_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE, *, was_grey: bool = False) -> Picture:
        """The restored picture, cropped to the size that the tag gives where there is one.

        It is grey where the tag says that of the original, or ``was_grey`` does.

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
        pixels = self.restore(lr, tile, turn, was_grey or (tag is not None and tag.grey))[:height, :width]
        alpha = picture.alpha
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_up, alpha, False, tile, turn)[:height, :width]
        icc, notes = profile.in_grey(picture.icc) if pixels.shape[2] == 1 else profile.fitting(picture.icc, 3)
        return replace(picture, pixels=pixels, alpha=alpha, icc=icc, tag=None, tag_error=None, notes=notes)


def _refuse_if_too_large(lr: Picture, scale: int) -> None:
    """Raise ``ImageError`` where what is made of an LR picture is larger than what would be read."""
    width, height = (n * scale for n in lr.size)
    if width * height > MAX_PIXELS:
        raise ImageError(f"would become {width}x{height}, more than {MAX_PIXELS // 1_000_000} megapixels; restore parts of it")
