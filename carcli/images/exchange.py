"""Pictures from and to whatever holds an image: files, Pillow's images, arrays, tensors.

===================================  =====================================  =======================
in                                   what it holds                          out
===================================  =====================================  =======================
path, bytes, binary file             an image file                          ``Picture``
``PIL.Image`` of any mode            as a file that was read                ``PIL.Image``
array (H, W), (H, W, 1|2|3|4)        grey, grey and alpha, RGB, RGBA        array of as many axes
tensor (C, H, W) or (1, C, H, W)     the same                               tensor on its device
``Picture``                          what it says                           ``Picture``
===================================  =====================================  =======================

A *grey* image goes down to another number of channels where the pair hides something in colours:

===================================  =====================================  =======================
grey in                              its LR image                           what ``up`` makes of it
===================================  =====================================  =======================
file, bytes, ``Picture``             RGB ``Picture``, its tag says grey     grey ``Picture``
``PIL.Image`` (1, L, LA, I;16)       RGB or RGBA, its tag says grey         L or LA
array, tensor                        grey: it has no tag that would say it  grey
array, tensor, ``keep_grey=False``   RGB                                    RGB; with ``grey=True``, grey
any, ``keep_grey=True``              grey; restores several dB worse        grey
===================================  =====================================  =======================

Arrays and tensors are uint8 levels, or floats in [0, 1], which are rounded to 8 bits and come
back as floats; uint16 levels are rounded to 8 bits and come back as uint8. Files and Pillow's
images go through the same policy: orientation, profile, EXIF, alpha, palettes, 16 bits.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carcli.errors import ImageError, UsageError
from carcli.images import codec, policy
from carcli.images.carried import CarcliImage, from_pillow
from carcli.images.depth import to_8_bit
from carcli.images.picture import Picture, Pixels

if TYPE_CHECKING:
    from typing import IO

    from torch import Tensor
    from typing_extensions import TypeIs

    File: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]
    AnyImage: TypeAlias = File | Image.Image | NDArray[Any] | Tensor | Picture
    Kept = TypeVar("Kept", Picture, Image.Image, NDArray[Any], Tensor)  # kinds that come back as they are

Progress: TypeAlias = Callable[[float], object]  # hears the share done, from 0 to 1
Work: TypeAlias = Callable[[Picture, Progress], Picture]

CHANNELS = "(H, W) or (H, W, C) with 1, 2, 3 or 4 channels"


def _is_tensor(image: object) -> TypeIs[Tensor]:
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported it
    return torch is not None and isinstance(image, torch.Tensor)


def _is_file(image: object) -> TypeIs[File]:
    return isinstance(image, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(image, "read")


def is_one(image: object) -> TypeIs[AnyImage]:
    """Whether it is one image rather than several."""
    return isinstance(image, Picture | Image.Image | np.ndarray) or _is_tensor(image) or _is_file(image)


def _from_file(image: File) -> Picture:
    if isinstance(image, str | os.PathLike):
        return codec.read(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return codec.decode(bytes(image))
    data = image.read()
    if not isinstance(data, bytes):
        raise UsageError("expected a file opened in binary mode ('rb')")
    return codec.decode(data)


def _levels(values: NDArray[Any]) -> tuple[Pixels, tuple[str, ...]]:
    """An array of any shape as 8-bit levels, and what to say of it."""
    if values.dtype == np.uint8:
        return values, ()
    if values.dtype == np.uint16:
        return to_8_bit(values), (policy.SIXTEEN_BIT,)
    if values.dtype.kind != "f":
        raise ImageError(f"expected a uint8 array, or floats in [0, 1], not {values.dtype}")
    rounded = np.rint(values.astype(np.float32) * np.float32(255))
    if not (np.isfinite(rounded).all() and rounded.min() >= 0 and rounded.max() <= 255):
        raise ImageError("expected a uint8 array, or floats in [0, 1], but some values are not finite or outside [0, 1]")
    return rounded.astype(np.uint8), ()


def _from_array(values: NDArray[Any]) -> Picture:
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 2, 3, 4)) or values.size == 0:
        raise ImageError(f"expected an array {CHANNELS} and at least one pixel, not {values.shape}")
    levels, notes = _levels(values)
    if levels.ndim == 2:
        return Picture(levels[..., None], notes=notes)
    colours = 1 if levels.shape[2] < 3 else 3
    alpha = levels[..., colours:] if levels.shape[2] > colours else None
    return Picture(levels[..., :colours], alpha, notes=notes)


def _from_tensor(tensor: Tensor) -> Picture:
    if tensor.ndim == 4 and tensor.shape[0] != 1:
        raise ImageError(f"expected one image, not a batch {tuple(tensor.shape)}; give its images as a list: list(batch)")
    planes = tensor[0] if tensor.ndim == 4 else tensor
    if planes.ndim != 3 or planes.shape[0] not in (1, 2, 3, 4) or planes.numel() == 0:
        raise ImageError(
            "expected a tensor (C, H, W) or (1, C, H, W) with 1, 2, 3 or 4 channels and at least one pixel, "
            f"not {tuple(tensor.shape)}"
        )
    try:
        values: NDArray[Any] = planes.detach().permute(1, 2, 0).cpu().numpy()
    except TypeError as error:  # bfloat16, which has no 256 levels between 0 and 1
        raise ImageError(f"expected a uint8 tensor, or float32 in [0, 1], not {tensor.dtype}") from error
    return _from_array(values)


def _no_image(thing: object) -> UsageError:
    kinds = "a path, bytes, a binary file, a PIL image, an array, a tensor or a Picture"
    return UsageError(f"expected {kinds}, not {type(thing).__name__}")


def to_picture(image: AnyImage) -> Picture:
    """The picture that any one image holds.

    Raises ``ImageError`` where it cannot be used, ``UsageError`` where it is no image at all.

    >>> import numpy as np
    >>> to_picture(np.zeros((4, 6, 4), np.uint8)).alpha.shape
    (4, 6, 1)
    """
    if isinstance(image, Picture):
        image.check()
        return image
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if _is_tensor(image):
        return _from_tensor(image)
    if _is_file(image):
        return _from_file(image)
    raise _no_image(image)


def _array_of(picture: Picture, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(H, W, C) with alpha as the last channel, as floats in [0, 1] where ``dtype`` is one."""
    planes = picture.pixels if picture.alpha is None else np.concatenate([picture.pixels, picture.alpha], 2)
    return (planes / np.float32(255)).astype(dtype) if dtype.kind == "f" else planes


def like(image: AnyImage, picture: Picture) -> Any:
    """A picture as the kind that ``image`` is."""
    if isinstance(image, Image.Image):
        return CarcliImage.of(picture)
    if isinstance(image, np.ndarray):
        values = _array_of(picture, image.dtype)
        return values[..., 0] if image.ndim == 2 and values.shape[2] == 1 else values
    if _is_tensor(image):
        import torch

        levels = torch.from_numpy(np.ascontiguousarray(_array_of(picture, np.dtype(np.uint8)).transpose(2, 0, 1)))
        levels = levels.to(image.device)
        planes = levels.to(image.dtype) / 255 if image.is_floating_point() else levels
        return planes[None] if image.ndim == 4 else planes
    return picture


def _name(image: AnyImage, index: int | None) -> str:
    """What an error calls an image: its file's name, or its place among several."""
    name = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "") or getattr(image, "name", "")
    if isinstance(name, str | os.PathLike) and str(name):
        return f"{name}: "
    return "" if index is None else f"images[{index}]: "


@contextmanager
def named(image: AnyImage, index: int | None = None) -> Iterator[None]:
    """Errors within say which image they are about."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{_name(image, index)}{error}") from error


def _carries_tag(image: AnyImage) -> bool:
    """Whether what it becomes can say how it was made."""
    return not (isinstance(image, np.ndarray) or _is_tensor(image))


def _converted(image: AnyImage, work: Work, tell: Progress, index: int | None = None) -> Any:
    with named(image, index):
        picture = to_picture(image)
        made = work(picture, tell)
        if not isinstance(image, Picture):
            for note in dict.fromkeys((*picture.notes, *made.notes)):
                warnings.warn(f"{_name(image, index)}{note}", stacklevel=4)
        result = like(image, made)
    tell(1.0)
    return result


def convert(
    images: AnyImage | Iterable[AnyImage],
    work: Work,
    progress: Progress | None,
    untagged: Work | None = None,
) -> Any:
    """What ``work`` makes of an image, as the kind that it was; of several, a list of them.

    Of an array or a tensor, which carries no tag, it is what ``untagged`` makes where that is given.
    """
    tell: Progress = progress or (lambda share: None)

    def work_for(image: AnyImage) -> Work:
        return work if untagged is None or _carries_tag(image) else untagged

    if is_one(images):
        return _converted(images, work_for(images), tell)
    if not isinstance(images, Iterable):
        raise _no_image(images)
    several: list[AnyImage] = list(images)

    def tell_of(place: int) -> Progress:
        return lambda share: tell((place + share) / len(several))

    results = []
    for i, image in enumerate(several):
        results.append(_converted(image, work_for(image), tell_of(i), i))
    return results


def save(path: str | os.PathLike[str], image: AnyImage, quality: int | None = None, *, lossy: bool = False) -> None:
    """Write an image with its alpha, profile, EXIF and tag, whole or not at all, as PNG, WebP, JPEG or AVIF.

    ``quality`` and ``lossy`` are as for ``Picture.save``, and so is what is raised. An array or a
    tensor has no tag: ``up`` then needs the model and the size.
    """
    codec.write(path, to_picture(image), quality, lossy)


def read(path: str | os.PathLike[str]) -> Picture:
    """The picture in an image file. Raises ``ImageError`` with one line of reason.

    >>> read("tests/photos/eyes.png").size
    (221, 161)
    """
    with named(path):
        return codec.read(Path(path))
