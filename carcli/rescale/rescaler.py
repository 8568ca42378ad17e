"""A matched pair at a scale: ``down`` makes small images, ``up`` brings the originals back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
import torch

from carcli.errors import ImageError, UsageError
from carcli.images import codec, exchange
from carcli.images.exchange import Progress
from carcli.images.picture import Picture
from carcli.images.tag import MAX_SCALE
from carcli.models.families import DEFAULT
from carcli.rescale import tiling
from carcli.rescale.pictures import PictureRescaler
from carcli.rescale.progress import Watched
from carcli.rescale.refine import Refinement, down_refined
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import pick_device, pick_precision
from carcli.weights.choose import choose
from carcli.weights.choose import load as load_pair

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from carcli.images.exchange import AnyImage, File, Kept

Cancelled = Callable[[], bool]  # a ``Cancel``, or anything else that says whether the result is no longer wanted


class DownOptions(TypedDict, total=False):
    """Keywords of ``Rescaler.down``."""

    tile: int | None
    refinement: Refinement | int | None
    progress: Progress | None
    cancel: Cancelled | None


class UpOptions(TypedDict, total=False):
    """Keywords of ``Rescaler.up``."""

    size: tuple[int, int] | None
    tile: int | None
    ignore_tag: bool
    progress: Progress | None
    cancel: Cancelled | None


class Rescaler(PictureRescaler):
    """Both networks of a checkpoint on a device.

    ``down`` and ``up`` take any one image, or several of them, and give the same kind back:
    ``PIL.Image`` of any mode, arrays (H, W) or (H, W, 1|2|3|4), tensors (C, H, W) or
    (1, C, H, W), ``Picture``; for paths, bytes and binary files a ``Picture``, which has
    ``save``. Arrays and tensors are uint8, or floats in [0, 1]. See ``carcli.images.exchange``.

    What ``down`` gives carries a tag: saved as PNG, by Pillow's ``save`` too, ``carcli up``
    restores it with the right model and crops it to the original's size. Arrays and tensors
    cannot carry one; give ``up`` of the same pair the ``size`` then.

    >>> import carcli
    >>> carcli.load("bicubic", scale=4, device="cpu")
    Rescaler('bicubic', scale=4, device='cpu', precision='fp32')
    """

    def __repr__(self) -> str:
        return f"Rescaler({self.id!r}, scale={self.scale}, device={str(self.device)!r}, precision={self.precision!r})"

    def _turn(self, picture: Picture, *, down: bool, tile: int | None, cancel: Cancelled | None, tell: Progress) -> Turn:
        """The turn of one picture through one half and, where it has alpha, through that of the alpha plane."""
        halves = [self._down if down else self._up]
        if picture.alpha is not None and self.scale > 1:
            halves.append(self._alpha_down if down else self._alpha_up)
        height, width = picture.pixels.shape[:2]
        tiles = sum(tiling.begun(half, (height, width), down=down, device=self.device, tile=tile) for half in halves)
        return Watched(cancel or ALONE.cancelled, tell=tell, tiles=tiles)

    @overload
    def down(self, image: Kept, **options: Unpack[DownOptions]) -> Kept: ...  # type: ignore[overload-overlap]
    @overload
    def down(self, image: File, **options: Unpack[DownOptions]) -> Picture: ...  # type: ignore[overload-overlap]
    @overload
    def down(self, image: Iterable[Kept], **options: Unpack[DownOptions]) -> list[Kept]: ...
    @overload
    def down(self, image: Iterable[File], **options: Unpack[DownOptions]) -> list[Picture]: ...
    def down(
        self,
        image: AnyImage | Iterable[AnyImage],
        *,
        tile: int | None = None,
        refinement: Refinement | int | None = None,
        progress: Progress | None = None,
        cancel: Cancelled | None = None,
    ) -> Any:
        """Downscale an image by ``scale``: (H, W) → (ceil(H / s), ceil(W / s)), 8-bit.

        Parameters
        ----------
        image : one image of any kind, or an iterable of images, of which a list is returned.
        tile : LR pixels a side of what is computed at once, 16 or more; where None, the model's own.
        refinement : iterations (30, say), or a ``Refinement``: time spent so that ``up`` restores better.
        progress : hears the share done, from 0 to 1.
        cancel : a ``Cancel``; ``Abandoned`` is raised soon after its ``request()``.

        Raises
        ------
        ImageError
            where an image cannot be used; of several, it says which.
        UsageError
            where an argument makes no sense.

        >>> import carcli, numpy as np
        >>> carcli.load("bicubic", scale=4).down(np.zeros((10, 7, 3), np.uint8)).shape
        (3, 2, 3)
        """
        self.refuse_to_shrink()
        tile = _whole("tile", tile, tiling.SMALLEST)
        refinement = _refinement(refinement)

        def work(picture: Picture, tell: Progress) -> Picture:
            if refinement is None:
                return self.down_picture(picture, tile, self._turn(picture, down=True, tile=tile, cancel=cancel, tell=tell))

            def observe(done: float, gain: float) -> None:
                tell(done)  # of the refinement, beside which the rest takes no time

            return down_refined(self, picture, refinement, tile, observe, Turn(cancel or ALONE.cancelled))[0]

        return exchange.convert(image, work, progress)

    @overload
    def up(self, image: Kept, **options: Unpack[UpOptions]) -> Kept: ...  # type: ignore[overload-overlap]
    @overload
    def up(self, image: File, **options: Unpack[UpOptions]) -> Picture: ...  # type: ignore[overload-overlap]
    @overload
    def up(self, image: Iterable[Kept], **options: Unpack[UpOptions]) -> list[Kept]: ...
    @overload
    def up(self, image: Iterable[File], **options: Unpack[UpOptions]) -> list[Picture]: ...
    def up(
        self,
        image: AnyImage | Iterable[AnyImage],
        size: tuple[int, int] | None = None,
        *,
        tile: int | None = None,
        ignore_tag: bool = False,
        progress: Progress | None = None,
        cancel: Cancelled | None = None,
    ) -> Any:
        """Restore an LR image: (h, w) → (s·h, s·w), or what is left of it at the original's size.

        An image that carries a tag comes back at its original's size by itself.

        Parameters
        ----------
        image : one image of any kind, or an iterable of images, of which a list is returned.
        size : width and height to crop to, for what carries no tag.
        tile, progress, cancel : as for ``down``.
        ignore_tag : whether an image with a tag is taken for an ordinary one.

        Raises
        ------
        ImageError
            where an image cannot be used, or was made with another model: ``carcli.up`` takes the right one.
        UsageError
            where an argument makes no sense.

        >>> import carcli, numpy as np
        >>> carcli.load("bicubic", scale=4).up(np.zeros((3, 2, 3), np.uint8), size=(7, 10)).shape
        (10, 7, 3)
        """
        tile = _whole("tile", tile, tiling.SMALLEST)
        crop = None if size is None else _size(size)

        def work(picture: Picture, tell: Progress) -> Picture:
            if ignore_tag:
                picture = replace(picture, tag=None, tag_error=None)
            if picture.tag_error is not None:
                raise ImageError(picture.tag_error)
            if crop is not None:
                _check_inside(crop, self.restored_size(picture))
            turn = self._turn(picture, down=False, tile=tile, cancel=cancel, tell=tell)
            restored = self.up_picture(picture, tile, turn)
            return restored if crop is None else restored.cropped(*crop)

        return exchange.convert(image, work, progress)

    def down_bytes(self, data: bytes, **options: Unpack[DownOptions]) -> bytes:
        """An image file's bytes → its LR image as a PNG's bytes, tag and all; keywords as for ``down``."""
        return codec.to_bytes(self.down(data, **options))

    def up_bytes(self, data: bytes, **options: Unpack[UpOptions]) -> bytes:
        """An LR image file's bytes → the restored image as a PNG's bytes; keywords as for ``up``."""
        return codec.to_bytes(self.up(data, **options))


def _whole(name: str, value: object, low: int, high: int | None = None) -> int | None:
    """An argument that is a whole number from ``low`` to ``high``, or None."""
    if value is None:
        return None
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"
    try:
        if isinstance(value, bool | np.bool_) or not low <= (number := index(value)) <= (high or number):  # type: ignore[arg-type]
            raise TypeError
    except TypeError:
        raise UsageError(f"{name} is a whole number {bounds}, not {value!r}") from None
    return number


def _refinement(refinement: Refinement | int | None) -> Refinement | None:
    if isinstance(refinement, Refinement):
        return refinement
    iterations = _whole("refinement", refinement, 0)
    return Refinement(iterations) if iterations else None


def _size(size: object) -> tuple[int, int]:
    """An argument that is a width and a height."""
    try:
        width, height = (index(n) for n in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise UsageError(f"size is (width, height) in pixels, not {size!r}") from None
    if min(width, height) < 1:
        raise UsageError(f"size is (width, height), each at least 1, not {size!r}")
    return width, height


def _check_inside(size: tuple[int, int], restored: tuple[int, int]) -> None:
    if size[0] > restored[0] or size[1] > restored[1]:
        raise UsageError(
            f"size {size[0]}x{size[1]} is beyond the restored image, which is {restored[0]}x{restored[1]} (width x height)"
        )


def load(
    model: str | os.PathLike[str] = DEFAULT,
    scale: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
) -> Rescaler:
    """The pair of networks that ``model`` means: a family, a checkpoint id, or a .safetensors file.

    Parameters
    ----------
    model : e.g. ``edsr``, ``best``, ``bicubic``, ``edsr-base-x4`` or the path of a trained checkpoint.
    scale : the factor, 1 to 128; where None, the checkpoint's own, or 4 for a family.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : ``fp32``, ``bf16`` or ``fp16``.

    Raises
    ------
    WeightsError
        where there is no such checkpoint, it is damaged, or has no such scale.
    UsageError
        where this machine has no such device, or an argument makes no sense.
    """
    if not isinstance(model, str | os.PathLike):
        raise UsageError(f"model is a family, a checkpoint id or the path of a .safetensors file, not {model!r}")
    scale = _whole("scale", scale, 1, MAX_SCALE)
    chosen = pick_device(device)
    pick_precision(precision)  # before anything is loaded
    choice = choose(os.fspath(model), scale)
    return Rescaler(choice, load_pair(choice), chosen, precision)
