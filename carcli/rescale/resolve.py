"""From an image's tag and what a user asks for to what restores it: decided once, for the estimate and for the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carcli.errors import ImageError, WeightsError
from carcli.images.tag import Tag
from carcli.models.families import CLASSICAL, DEFAULT
from carcli.weights.choose import BEST, ORDINARY, choose, families, family_of, is_file, super_resolves
from carcli.weights.manifest import usual

ORDINARY_SCALE = 4  # of images without a tag, where none is asked for


@dataclass(frozen=True)
class Request:
    """What a user asks of ``up``; where None, the tag decides."""

    model: str | None = None  # a family, a checkpoint, ``best``, ``ordinary``, or the path of a file
    scale: int | None = None
    ignore_tag: bool = False

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", usual(self.model))


@dataclass(frozen=True)
class Untagged:
    """An image without a tag was restored: what a user should know of it, and of all that are like it."""

    model: str  # the checkpoint's id
    hides: bool = False  # whether it restores well only what its own ``down`` made

    def told(self, images: int = 0) -> str:
        """Of one image, whose name comes before it; or of so many."""
        if images:
            whose = f"{images} image{'s have' if images > 1 else ' has'} no carcli tag: restored with {self.model}"
        else:
            whose = f"has no carcli tag: restored with {self.model}"
        if self.hides:
            return f"{whose}, which is for what its own down made: anything else is worse than by Lanczos; leave --model out"
        return f"{whose}, as super-resolution of {'ordinary images' if images > 1 else 'an ordinary image'}"


@dataclass(frozen=True)
class Resolution:
    """What restores an image."""

    model: str  # as ``choose`` takes it
    scale: int
    basis: Literal["tag", "no tag", "tag ignored"]
    hides: bool = False  # whether it looks for what no ``down`` has hidden in the image

    def untagged(self, checkpoint: str) -> Untagged | None:
        """What a user should know of an image that ``checkpoint`` restored; None where its tag was read, or ignored."""
        return Untagged(checkpoint, self.hides) if self.basis == "no tag" else None


def resolve(tag: Tag | None, request: Request, tag_error: str | None = None) -> Resolution:
    """The model and scale that restore an image with ``tag``, or whose tag cannot be used because of ``tag_error``.

    Raises ``ImageError`` where tag and request contradict each other, the tag cannot be used, or names a checkpoint that
    this carcli does not have; ``WeightsError`` where there is no such model as the request names. Each says how to go on.
    """
    if tag_error is not None and not request.ignore_tag:
        raise ImageError(tag_error)
    if tag is None or request.ignore_tag:
        return _untagged(request)
    if tag.checkpoint in CLASSICAL and tag.lr_size == (tag.width, tag.height):  # ``down`` found it small enough
        return Resolution(tag.checkpoint, tag.scale, basis="tag")
    if request.scale is not None and request.scale != tag.scale:
        raise ImageError(f"its tag says scale {tag.scale}, not {request.scale}; leave --scale out, or pass --ignore-tag")
    family = family_of(tag.checkpoint)
    if request.model is not None and request.model not in (BEST, tag.checkpoint, family):
        if not is_file(request.model) or choose(request.model, None).only_up:
            raise ImageError(f"was made with {tag.checkpoint}, not {request.model}; leave --model out, or pass --ignore-tag")
        return Resolution(request.model, tag.scale, basis="tag")
    if family is None:
        raise ImageError(
            f"was made with checkpoint {tag.checkpoint}, which this carcli does not have; "
            "pass its .safetensors file as --model, or --ignore-tag"
        )
    return Resolution(tag.checkpoint, tag.scale, basis="tag")


def _untagged(request: Request) -> Resolution:
    """Super-resolution: a pair's own upscaler looks for what its downscaler has hidden, and here none has hidden anything.

    A family, ``best`` and nothing at all mean the best super-resolver that is here; a checkpoint or a file is taken at its
    word, for the image may have lost its tag.
    """
    basis: Literal["no tag", "tag ignored"] = "tag ignored" if request.ignore_tag else "no tag"
    model = request.model or ORDINARY
    if model not in CLASSICAL and model in (ORDINARY, BEST, *families()):
        scale = request.scale or ORDINARY_SCALE
        try:
            choose(ORDINARY, scale)
        except WeightsError:
            model = request.model or DEFAULT  # says which scales there are, or at scale 1 finds colours in grey
        else:
            return Resolution(ORDINARY, scale, basis)
    choice = choose(model, request.scale)
    return Resolution(model, choice.scale, basis, hides=not super_resolves(choice))
