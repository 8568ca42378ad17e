"""The pair that an LR image names by its tag: ``up`` without being told the model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from carcli.engines.names import TORCH
from carcli.errors import ImageError
from carcli.images import exchange
from carcli.images.exchange import Progress
from carcli.images.picture import Picture
from carcli.rescale.loaded import Loaded
from carcli.rescale.rescaler import Rescaler, UpOptions, load_networks
from carcli.weights.choose import ORDINARY, family_of

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from carcli.images.exchange import AnyImage, File, Kept


def _named_by(picture: Picture) -> tuple[str, int]:
    """Checkpoint and scale. Raises ``ImageError`` where no tag, or none of ours, says them."""
    if picture.tag_error is not None:
        raise ImageError(picture.tag_error)
    tag = picture.tag
    if tag is None:
        raise ImageError(
            "has no carcli tag, so its model is unknown; name it, or restore the image as an ordinary one: "
            f'carcli.load("{ORDINARY}").up(image)'
        )
    if family_of(tag.checkpoint) is None:
        raise ImageError(
            f"was made with checkpoint {tag.checkpoint}, which this carcli does not have; "
            "load its .safetensors file: carcli.load(path).up(image)"
        )
    return tag.checkpoint, tag.scale


def load_for(image: AnyImage, device: str | torch.device = "auto", precision: str = "fp32", backend: str = TORCH) -> Rescaler:
    """The pair that made an LR image, as its tag says.

    Raises ``ImageError`` where it has no tag that can be used.

    >>> import carcli
    >>> carcli.load("bicubic", scale=3).down("tests/photos/eyes.png").save("small.png")
    >>> carcli.load_for("small.png", device="cpu")
    Rescaler('bicubic', scale=3, device='cpu', precision='fp32')
    """
    with exchange.named(image):
        model, scale = _named_by(exchange.to_picture(image))
    return load_networks(model, scale, device, precision, backend)


@overload
def up(image: Kept, device: str = ..., precision: str = ..., backend: str = ..., **options: Unpack[UpOptions]) -> Kept: ...  # type: ignore[overload-overlap]
@overload
def up(image: File, device: str = ..., precision: str = ..., backend: str = ..., **options: Unpack[UpOptions]) -> Picture: ...  # type: ignore[overload-overlap]
@overload
def up(
    image: Iterable[Kept], device: str = ..., precision: str = ..., backend: str = ..., **options: Unpack[UpOptions]
) -> list[Kept]: ...
@overload
def up(
    image: Iterable[File], device: str = ..., precision: str = ..., backend: str = ..., **options: Unpack[UpOptions]
) -> list[Picture]: ...
def up(
    image: AnyImage | Iterable[AnyImage],
    device: str = "auto",
    precision: str = "fp32",
    backend: str = TORCH,
    progress: Progress | None = None,
    **options: Any,
) -> Any:
    """Restore an LR image, or several, each with the model that its tag names.

    What is taken and given is what ``Rescaler.up`` takes and gives, keywords included; an array
    or a tensor has no tag, and is an ``ImageError``.

    >>> import carcli
    >>> small = carcli.load("bicubic", scale=4).down("tests/photos/eyes.png")
    >>> carcli.up(small).size
    (221, 161)
    """
    pairs = Loaded(partial(load_networks, device=device, precision=precision, backend=backend))

    def work(picture: Picture, tell: Progress) -> Picture:
        return pairs(*_named_by(picture)).up(picture, progress=tell, **options)

    return exchange.convert(image, work, progress)
