"""A matched pair at a scale: ``down`` makes small images, ``up`` brings the originals back."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import numpy as np
import torch
from PIL import Image

from carcli.errors import ImageError, UsageError
from carcli.images.codec import Picture, Pixels
from carcli.images.tag import Tag
from carcli.models.base import Network, Pair
from carcli.models.bicubic import BicubicDown, BicubicUp
from carcli.models.families import DEFAULT
from carcli.rescale import tiling
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import PRECISIONS
from carcli.weights.choose import Choice, choose
from carcli.weights.choose import load as load_pair

AnyImage = Picture | Image.Image | Pixels


def pick_device(name: str) -> torch.device:
    """``auto`` (the best there is), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises ``UsageError`` where this machine has no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or mps") from error
    present = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count(), "mps": mps}
    if device.type not in present:
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or mps")
    if not present[device.type]:
        raise UsageError(f"this machine has no device {name!r}; use --device cpu")
    return device


class Rescaler:
    """Both networks of a checkpoint on a device.

    ``down`` and ``up`` take and return ``Picture``, ``PIL.Image`` (RGB or L) or uint8 arrays
    (H, W, 3) or (H, W, 1), the same kind out as in.
    """

    def __init__(self, choice: Choice, pair: Pair, device: torch.device, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision {precision!r}; use {', '.join(PRECISIONS)}")
        self.id = choice.description.id
        self.family = choice.description.family
        self.scale = choice.description.scale
        self.digest = choice.digest
        self.device, self.precision = device, precision
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

    def restore(self, lr: Pixels, tile: int | None = None, turn: Turn = ALONE) -> Pixels:
        """What LR pixels (h, w, C) uint8 restore to: (s·h, s·w, C) uint8, or three channels where colour comes from grey."""
        return self._run(self._up, lr, False, tile, turn)

    def down_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE) -> Picture:
        """A picture's LR picture with its tag; ``tile`` in LR pixels a side (the family's own by default)."""
        width, height = picture.size
        alpha = picture.alpha
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_down, alpha, True, tile, turn)
        tag = Tag(self.id, self.digest, self.scale, width, height, grey=self.to_grey and picture.pixels.shape[2] == 1)
        pixels = self._run(self._down, picture.pixels, True, tile, turn)
        return replace(picture, pixels=pixels, alpha=alpha, tag=tag, tag_error=None, notes=())

    def up_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE) -> Picture:
        """The restored picture, cropped to the size that the tag gives where there is one.

        Raises ``ImageError`` where the tag was made with other weights, or grey is needed and the picture is not.
        """
        tag = picture.tag
        if tag is not None and (tag.checkpoint, tag.scale) != (self.id, self.scale):
            raise ImageError(f"was made with {tag.checkpoint} at scale {tag.scale}; restore it with that model")
        if tag is not None and tag.digest != self.digest:
            raise ImageError(
                f"was made with another version of {tag.checkpoint} ({tag.digest[:12] or 'none'}, here {self.digest[:12]}); "
                "restore it with the carcli or the .safetensors file (--model FILE) that made it, "
                "or as an ordinary image with --ignore-tag"
            )
        if self.to_grey and picture.pixels.shape[2] != 1:
            raise ImageError(f"has three channels; {self.id} restores the colours of grey images")
        width, height = (tag.width, tag.height) if tag else (n * self.scale for n in picture.size)
        pixels = self._run(self._up, picture.pixels, False, tile, turn)[:height, :width]
        if tag is not None and tag.grey:
            pixels = np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8)
        alpha = picture.alpha
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_up, alpha, False, tile, turn)[:height, :width]
        return replace(picture, pixels=pixels, alpha=alpha, tag=None, tag_error=None, notes=())

    @overload
    def down(self, image: Picture) -> Picture: ...
    @overload
    def down(self, image: Image.Image) -> Image.Image: ...
    @overload
    def down(self, image: Pixels) -> Pixels: ...
    def down(self, image: AnyImage) -> AnyImage:
        """Downscale an image by ``scale``: (H, W) → (ceil(H / s), ceil(W / s)), 8-bit.

        >>> import carcli, numpy as np
        >>> carcli.load("bicubic", scale=4).down(np.zeros((10, 7, 3), np.uint8)).shape
        (3, 2, 3)
        """
        if isinstance(image, Picture):
            return self.down_picture(image)
        return _as(image, self.down_picture(_picture(image)))

    @overload
    def up(self, image: Picture, size: tuple[int, int] | None = None) -> Picture: ...
    @overload
    def up(self, image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image: ...
    @overload
    def up(self, image: Pixels, size: tuple[int, int] | None = None) -> Pixels: ...
    def up(self, image: AnyImage, size: tuple[int, int] | None = None) -> AnyImage:
        """Restore an LR image: (h, w) → (s·h, s·w), or what is left of it at ``size`` (width, height).

        A ``Picture`` that carries a tag comes back at its original size by itself.
        """
        picture = image if isinstance(image, Picture) else _picture(image)
        restored = self.up_picture(picture)
        if size is not None:
            width, height = size
            alpha = restored.alpha[:height, :width] if restored.alpha is not None else None
            restored = replace(restored, pixels=restored.pixels[:height, :width], alpha=alpha)
        return restored if isinstance(image, Picture) else _as(image, restored)


def _picture(image: Image.Image | Pixels) -> Picture:
    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L")
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
        return Picture(pixels[..., None] if grey else pixels)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ImageError(f"expected a uint8 array (H, W, 3) or (H, W, 1), not {image.dtype} {image.shape}")
    return Picture(image)


def _as(like: Image.Image | Pixels, picture: Picture) -> Image.Image | Pixels:
    pixels = picture.pixels
    if isinstance(like, Image.Image):
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return pixels


def load(model: str = DEFAULT, scale: int | None = None, device: str = "auto", precision: str = "fp32") -> Rescaler:
    """The pair of networks that ``model`` means: a family, a checkpoint id, or a .safetensors file.

    Parameters
    ----------
    model : e.g. ``edsr``, ``best``, ``bicubic``, ``edsr-base-x4`` or the path of a trained checkpoint.
    scale : the factor; where None, the checkpoint's own, or 4 for a family.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : ``fp32``, ``bf16`` or ``fp16``.

    Raises
    ------
    WeightsError
        where there is no such checkpoint, or it is damaged.
    UsageError
        where this machine has no such device.
    """
    chosen = pick_device(device)
    choice = choose(model, scale)
    return Rescaler(choice, load_pair(choice), chosen, precision)
