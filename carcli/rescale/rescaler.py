"""A matched pair at a scale: ``down`` makes small images, ``up`` brings the originals back."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
import torch

from carcli.engines.computing import device_of
from carcli.engines.names import TORCH
from carcli.errors import ImageError, UsageError
from carcli.images import codec, exchange, written
from carcli.images.exchange import Progress
from carcli.images.kept import kept
from carcli.images.picture import Picture
from carcli.images.tag import MAX_SCALE, natural_size
from carcli.images.written import Encoding
from carcli.models.families import DEFAULT
from carcli.rescale import tiling
from carcli.rescale.pictures import PictureRescaler
from carcli.rescale.progress import Watched
from carcli.rescale.refine import down_refined
from carcli.rescale.refinement import Refinement
from carcli.rescale.sizes import Target, number, scale_for, sides
from carcli.rescale.turn import ALONE, Turn
from carcli.weights.choose import choose, scales_of
from carcli.weights.loading import load as load_pair

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from carcli.images.exchange import AnyImage, File, Kept

Cancelled = Callable[[], bool]  # a ``Cancel``, or anything else that says whether the result is no longer wanted


class DownOptions(TypedDict, total=False):
    """Keywords of ``Rescaler.down``."""

    size: tuple[int, int] | None
    tile: int | None
    refinement: Refinement | int | None
    keep_grey: bool | None
    progress: Progress | None
    cancel: Cancelled | None


class UpOptions(TypedDict, total=False):
    """Keywords of ``Rescaler.up``."""

    size: tuple[int, int] | None
    tile: int | None
    ignore_tag: bool
    grey: bool
    ensemble: bool
    progress: Progress | None
    cancel: Cancelled | None


class Rescaler(PictureRescaler):
    """Both networks of a checkpoint on a device.

    ``down`` and ``up`` take any one image, or several of them, and give the same kind back:
    ``PIL.Image`` of any mode, arrays (H, W) or (H, W, 1|2|3|4), tensors (C, H, W) or
    (1, C, H, W), ``Picture``; for paths, bytes and binary files a ``Picture``, which has
    ``save``. Arrays and tensors are uint8, or floats in [0, 1]. See ``carcli.images.exchange``.

    What ``down`` gives carries a tag: saved as PNG or as lossless WebP, by Pillow's ``save`` too, ``carcli up``
    restores it with the right model and crops it to the original's size. Arrays and tensors
    cannot carry one; give ``up`` of the same pair the ``size`` then.

    >>> import carcli
    >>> carcli.load("bicubic", scale=4, device="cpu")
    Rescaler('bicubic', scale=4, device='cpu', precision='fp32')

    ``scale`` is that of its networks. Where it was loaded for another one, ``target`` says so: ``down`` resizes to what
    the networks take, and ``up`` from what they give.
    """

    target: Target | None = None

    @property
    def factor(self) -> int | float:
        """How many times smaller ``down`` makes an image."""
        return self.target.scale if self.target is not None and self.target.scale is not None else self.scale

    def __repr__(self) -> str:
        backend = "" if self.backend == TORCH else f", backend={self.backend!r}"
        told = f"scale={self.factor:g}, device={str(self.device)!r}, precision={self.precision!r}"
        return f"Rescaler({self.id!r}, {told}{backend})"

    def lr_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the LR image that ``down`` makes of an original."""
        return natural_size(width, height, self.scale) if self.target is None else self.target.lr_size(width, height)

    def _turn(
        self,
        picture: Picture,
        *,
        down: bool,
        tile: int | None,
        cancel: Cancelled | None,
        tell: Progress,
        size: tuple[int, int] | None = None,
    ) -> Turn:
        """The turn of one picture through one half and, where that scales it, through that of the alpha plane."""
        width, height = picture.size
        resized = size is not None or (not down and picture.tag is not None and picture.tag.resize is not None)
        halves = [self._down if down else self._up]
        if picture.alpha is not None and self.scale > 1 and not resized:
            halves.append(self._alpha_down if down else self._alpha_up)
        if down and size is not None:
            width, height = (n * self.scale for n in size)
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
        size: tuple[int, int] | None = None,
        tile: int | None = None,
        refinement: Refinement | int | None = None,
        keep_grey: bool | None = None,
        progress: Progress | None = None,
        cancel: Cancelled | None = None,
    ) -> Any:
        """Downscale an image by ``scale``: (H, W) → (ceil(H / s), ceil(W / s)), 8-bit.

        Parameters
        ----------
        image : one image of any kind, or an iterable of images, of which a list is returned.
        size : width and height of the LR image, no larger than the original; where None, as the scale makes them.
            These networks make it, however far from their own scale: ``carcli.down`` takes those that are best for it.
        tile : LR pixels a side of what is computed at once, 16 or more; where None, the model's own.
        refinement : iterations (30, say), or a ``Refinement``: time spent so that ``up`` restores better.
        keep_grey : whether a grey image's LR image stays grey. Most pairs hide in colours what they restore from, so
            that a grey image's LR is RGB, with a tag that says grey, and ``up`` makes it grey again; one that stays grey
            takes fewer bytes and restores several dB worse. Where None, it stays grey for arrays and tensors alone,
            which carry no tag. With False they become RGB too; give ``up`` its ``grey`` then.
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
        self.choice.refuse_to_shrink()
        tile = _whole("tile", tile, tiling.SMALLEST)
        refinement = _refinement(refinement)
        target = self.target if size is None else Target(size=size)
        if refinement is not None and target is not None:
            raise UsageError(f"refinement takes the scale of the networks, {self.scale}, and no other size")

        def work(picture: Picture, tell: Progress, keep_grey: bool = bool(keep_grey)) -> Picture:
            if refinement is None:
                exact = None if target is None else target.lr_size(*picture.size)
                exact = None if exact == natural_size(*picture.size, self.scale) else exact
                turn = self._turn(picture, down=True, tile=tile, cancel=cancel, tell=tell, size=exact)
                return self.down_picture(picture, tile, turn, exact, keep_grey=keep_grey)

            def observe(done: float, gain: float) -> None:
                tell(done)  # of the refinement, beside which the rest takes no time

            turn = Turn(cancel or ALONE.cancelled)
            return down_refined(self, picture, refinement, tile, observe, turn, keep_grey=keep_grey)[0]

        untagged = partial(work, keep_grey=True) if keep_grey is None else None
        return exchange.convert(image, work, progress, untagged)

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
        grey: bool = False,
        ensemble: bool = False,
        progress: Progress | None = None,
        cancel: Cancelled | None = None,
    ) -> Any:
        """Restore an LR image: (h, w) → (s·h, s·w), or what is left of it at the original's size.

        An image that carries a tag comes back at its original's size by itself.

        Parameters
        ----------
        image : one image of any kind, or an iterable of images, of which a list is returned.
        size : width and height to crop to, for what carries no tag; to resize to, where ``scale`` is not the networks' own.
        tile, progress, cancel : as for ``down``.
        ignore_tag : whether an image with a tag is taken for an ordinary one.
        grey : whether the original was grey, for what carries no tag: the result is.
        ensemble : whether to average what is made of eight views, turned and mirrored. For super-resolution of ordinary
            images; what a pair has hidden in an LR image is lost by it, so there it is a ``UsageError``.

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
        asked = None if size is None else sides("size", size)

        def work(picture: Picture, tell: Progress) -> Picture:
            if ignore_tag:
                picture = replace(picture, tag=None, tag_error=None)
            if picture.tag_error is not None:
                raise ImageError(picture.tag_error)
            exact = None
            if self.target is not None and picture.tag is None:
                exact = asked or self.restored_size(picture)
                if asked is not None and self.lr_size(*asked) != picture.size:
                    raise UsageError(
                        "size {}x{} (width x height) has an LR image of {}x{}, not {}x{}".format(
                            *asked, *self.lr_size(*asked), *picture.size
                        )
                    )
            crop = None if exact is not None else asked
            if crop is not None:
                _check_inside(crop, self.restored_size(picture))
            turn = self._turn(picture, down=False, tile=tile, cancel=cancel, tell=tell, size=exact)
            restored = self.up_picture(picture, tile, turn, exact, was_grey=grey, ensemble=ensemble)
            return restored if crop is None else restored.cropped(*crop)

        return exchange.convert(image, work, progress)

    def restored_size(self, picture: Picture) -> tuple[int, int]:
        """Width and height that an LR picture restores to."""
        if picture.tag is not None or self.target is None:
            return super().restored_size(picture)
        width, height = (max(1, math.floor(n * Fraction(str(self.factor)))) for n in picture.size)
        return width, height

    def down_bytes(
        self,
        data: bytes,
        format: str = "png",  # noqa: A002 - as options have it
        quality: int | None = None,
        *,
        lossy: bool = False,
        **options: Unpack[DownOptions],
    ) -> bytes:
        """An image file's bytes → its LR image's, tag and all, as ``png``, ``webp``, ``jpeg`` or ``avif``.

        ``quality``, 1 to 100: where None, WebP is lossless, JPEG has 90 and AVIF 75. Other keywords are as for ``down``.
        Raises ``UsageError`` where the format does not keep what this pair hides, unless ``lossy`` is true.
        """
        encoding = written.encoding(format, quality)
        cost = self.loss(encoding)
        if cost is not None and not lossy:
            raise UsageError(f"{cost}; write png or webp without a quality, or pass lossy=True")
        if options.get("refinement") and encoding.lossy:
            raise UsageError(f"refinement settles single levels, which {encoding.name} changes; leave one of them out")
        return _as_file(self.down(data, **options), encoding)

    def up_bytes(
        self,
        data: bytes,
        format: str = "png",  # noqa: A002 - as options have it
        quality: int | None = None,
        **options: Unpack[UpOptions],
    ) -> bytes:
        """An LR image file's bytes → the restored image's, as ``png``, ``webp``, ``jpeg`` or ``avif``.

        ``quality``, 1 to 100: where None, WebP is lossless, JPEG has 95 and AVIF 75. Other keywords are as for ``up``.
        """
        return _as_file(self.up(data, **options), written.encoding(format, quality, lr=False))


def _as_file(picture: Picture, encoding: Encoding) -> bytes:
    """A picture's file; what it cannot keep is warned of."""
    held, notes = kept(picture, encoding)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    file = io.BytesIO()
    codec.encode_kept(held, file, encoding)
    return file.getvalue()


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


def _check_inside(size: tuple[int, int], restored: tuple[int, int]) -> None:
    if size[0] > restored[0] or size[1] > restored[1]:
        raise UsageError(
            f"size {size[0]}x{size[1]} is beyond the restored image, which is {restored[0]}x{restored[1]} (width x height)"
        )


def load(
    model: str | os.PathLike[str] = DEFAULT,
    scale: float | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    backend: str = TORCH,
) -> Rescaler:
    """The pair of networks that ``model`` means: a family, a checkpoint id, or a .safetensors file.

    Parameters
    ----------
    model : ``edsr``, also called ``car``, ``best``, ``bicubic``, ``edsr-base-x4`` or the path of a trained checkpoint.
    scale : the factor, any number from 1 to 128; where None, the checkpoint's own, or 4 for a family. Where no networks of
        the model make it, those of a scale nearby do most of it, and a resize the rest.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : ``fp32``, ``bf16`` or ``fp16``; ``auto`` for bf16 in ``up`` where the device computes in it and that costs less
        than 0.02 dB, else fp32.
    backend : what computes: ``torch``, ``onnx`` (onnxruntime) or ``openvino``, both on a CPU; ``auto`` for the fastest that is
        installed, and torch in ``down``.

    Raises
    ------
    WeightsError
        where there is no such checkpoint, or it is damaged.
    UsageError
        where this machine has no such device, or an argument makes no sense.

    >>> import carcli, numpy as np
    >>> pair = carcli.load("tad", scale=2.5, device="cpu")
    >>> small = pair.down(np.zeros((25, 40, 3), np.uint8))
    >>> small.shape, pair.up(small, size=(40, 25)).shape
    ((10, 16, 3), (25, 40, 3))
    """
    name = _name(model)
    factor = _number(scale)
    if factor is None or factor == 1 or factor in (scales := scales_of(name)).reached:
        return load_networks(name, None if factor is None else int(factor), device, precision, backend)
    rescaler = load_networks(name, scale_for(name, scales, factor), device, precision, backend)
    rescaler.target = Target(scale=factor)
    return rescaler


def load_networks(
    model: str | os.PathLike[str],
    scale: int | None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    backend: str = TORCH,
) -> Rescaler:
    """The pair for a scale that the model has, None being its own. Raises as ``load`` does, and where it has no such scale."""
    chosen = device_of(backend, precision, device)  # before anything is loaded
    choice = choose(_name(model), scale)
    return Rescaler(choice, load_pair(choice), chosen, precision, backend)


def _name(model: object) -> str:
    if not isinstance(model, str | os.PathLike):
        raise UsageError(f"model is a family, a checkpoint id or the path of a .safetensors file, not {model!r}")
    return os.fspath(model)


def _number(scale: object) -> float | None:
    """An argument that is a number from 1 to the largest scale, or None."""
    if scale is None:
        return None
    factor = number(scale)
    if not 1 <= factor <= MAX_SCALE:
        raise UsageError(f"scale is a number from 1 to {MAX_SCALE}, not {scale!r}")
    return factor
