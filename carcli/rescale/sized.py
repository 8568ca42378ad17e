"""``down`` to a size: the pair that each image needs for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from carcli.engines.names import TORCH
from carcli.errors import UsageError
from carcli.images import exchange
from carcli.images.exchange import Progress
from carcli.images.picture import Picture
from carcli.models.families import DEFAULT
from carcli.rescale.loaded import Loaded
from carcli.rescale.rescaler import load_networks
from carcli.rescale.sizes import Target, plan
from carcli.weights.choose import scales_of

if TYPE_CHECKING:
    import torch

    from carcli.images.exchange import AnyImage


def down(
    image: AnyImage | Iterable[AnyImage],
    target: Target,
    model: str = DEFAULT,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    backend: str = TORCH,
    *,
    tile: int | None = None,
    keep_grey: bool | None = None,
    progress: Progress | None = None,
) -> Any:
    """Downscale an image, or several, to the size that ``target`` means for each; ``carcli.up`` brings them back.

    What is taken and given is what ``Rescaler.down`` takes and gives. An array or a tensor carries no tag: for those,
    ``carcli.load`` with a scale, and its ``up`` with the size. Raises ``ImageError`` where an image cannot be used,
    ``WeightsError`` and ``UsageError`` as ``carcli.load`` does.

    >>> import carcli
    >>> small = carcli.down("tests/photos/eyes.png", carcli.Target(fit=(100, 100)), model="tad")
    >>> small.size, carcli.up(small).size
    ((100, 73), (221, 161))
    """
    if not isinstance(target, Target):
        raise UsageError(f"target is a carcli.Target, as in carcli.Target(fit=(640, 480)), not {target!r}")
    scales = scales_of(model)
    pairs = Loaded(partial(load_networks, device=device, precision=precision, backend=backend))

    def work(picture: Picture, tell: Progress, keep_grey: bool = bool(keep_grey)) -> Picture:
        how = plan(model, scales, target, *picture.size)
        pair = pairs(how.model, how.scale)
        small: Picture = pair.down(picture, size=how.size, tile=tile, keep_grey=keep_grey, progress=tell)
        told = how.notes if small.size != picture.size else ()  # a program sees by itself what was small enough
        return replace(small, notes=(*told, *small.notes))

    untagged = partial(work, keep_grey=True) if keep_grey is None else None
    return exchange.convert(image, work, progress, untagged)
