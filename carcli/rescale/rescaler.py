"""A matched pair at a scale: ``down`` makes small images, ``up`` brings the originals back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, TypedDict, cast, overload

import numpy as np
import torch

from carcli.errors import ImageError, UsageError
from carcli.images import codec, exchange
from carcli.images.exchange import Progress
from carcli.images.picture import Picture, Pixels
from carcli.images.tag import MAX_SCALE, Tag
from carcli.models.bicubic import BicubicDown, BicubicUp
from carcli.models.registry import Network, Pair
from carcli.rescale import tiling
from carcli.rescale.progress import Watched
from carcli.rescale.refine import Refinement, down_refined
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import pick_device, pick_precision
from carcli.weights.choose import Choice, choose
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


class Rescaler:
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

    def __init__(self, choice: Choice, pair: Pair, device: torch.device, precision: str = "fp32") -> None:
        self.id = choice.description.id
        self.family = choice.description.family
        self.scale = choice.description.scale
        self.digest = choice.digest
        self.device, self.precision = device, pick_precision(precision)
        for net in pair:
            net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = pair
        self._down, self._up = cast(Network, pair.down), cast(Network, pair.up)
        self._alpha_down, self._alpha_up = BicubicDown(self.scale), BicubicUp(self.scale)

    def __repr__(self) -> str:
        return f"Rescaler({self.id!r}, scale={self.scale}, device={str(self.device)!r}, precision={self.precision!r})"

    def _run(self, network: Network, pixels: Pixels, down: bool, tile: int | None, turn: Turn) -> Pixels:
        return tiling.run(network, pixels, down=down, device=self.device, precision=self.precision, tile=tile, turn=turn)

    @property
    def to_grey(self) -> bool:
        """Whether the LR image of a colour image has one channel, from which ``up`` restores three."""
        return getattr(self._down, "channels_out", 3) == 1

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
        return replace(
            picture,
            pixels=self._run(self._down, picture.pixels, True, tile, turn),
            alpha=alpha,
            tag=tag,
            tag_error=None,
            notes=(),
        )

    def restored_size(self, picture: Picture) -> tuple[int, int]:
        """Width and height that an LR picture restores to."""
        width, height = picture.size
        tag = picture.tag
        return (width * self.scale, height * self.scale) if tag is None else (tag.width, tag.height)

    def up_picture(self, picture: Picture, tile: int | None = None, turn: Turn = ALONE) -> Picture:
        """The restored picture, cropped to the size that the tag gives where there is one.

        Raises ``ImageError`` where the tag was made with other weights, or grey is needed and the picture is not.
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
        pixels = self._run(self._up, picture.pixels, False, tile, turn)[:height, :width]
        if tag is not None and tag.grey:
            pixels = np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8)
        alpha = picture.alpha
        if alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_up, alpha, False, tile, turn)[:height, :width]
        return replace(picture, pixels=pixels, alpha=alpha, tag=None, tag_error=None, notes=())

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
    model: str | os.PathLike[str] = "edsr",
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
