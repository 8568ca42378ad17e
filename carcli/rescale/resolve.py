"""From an image's tag and what a user asks for to what restores it: decided once, for the estimate and for the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carcli.errors import ImageError
from carcli.images.tag import Tag
from carcli.models.families import DEFAULT
from carcli.weights import manifest
from carcli.weights.choose import BEST, PLUS, choose, family_of

ORDINARY = "edsr-base"  # the checkpoints, edsr-base-x2 and -x4, that restore images which nobody prepared for it
ORDINARY_SCALE = 4


@dataclass(frozen=True)
class Request:
    """What a user asks of ``up``; where None, the tag decides."""

    model: str | None = None  # a family, a checkpoint, ``best``, or the path of a .safetensors file
    scale: int | None = None
    ignore_tag: bool = False


@dataclass(frozen=True)
class Resolution:
    """What restores an image."""

    model: str  # as ``choose`` takes it
    scale: int
    basis: Literal["tag", "no tag", "tag ignored"]

    def notes(self, checkpoint: str) -> tuple[str, ...]:
        """What a user should know of an image that ``checkpoint`` restored."""
        if self.basis != "no tag":
            return ()
        return (f"has no carcli tag: restored with {checkpoint}, as super-resolution of an ordinary image",)


def resolve(tag: Tag | None, request: Request, tag_error: str | None = None) -> Resolution:
    """The model and scale that restore an image with ``tag``, or whose tag cannot be used because of ``tag_error``.

    Raises ``ImageError`` where tag and request contradict each other, the tag cannot be used, or names a checkpoint that
    this carcli does not have; ``WeightsError`` where there is no such model as the request names. Each says how to go on.
    """
    if tag_error is not None and not request.ignore_tag:
        raise ImageError(tag_error)
    if tag is None or request.ignore_tag:
        return _untagged(request)
    if request.scale is not None and request.scale != tag.scale:
        raise ImageError(f"its tag says scale {tag.scale}, not {request.scale}; leave --scale out, or pass --ignore-tag")
    family = family_of(tag.checkpoint)
    if request.model is not None and request.model not in (BEST, tag.checkpoint, family):
        if not request.model.endswith(".safetensors"):
            raise ImageError(f"was made with {tag.checkpoint}, not {request.model}; leave --model out, or pass --ignore-tag")
        return Resolution(request.model, tag.scale, basis="tag")
    if family is None:
        raise ImageError(
            f"was made with checkpoint {tag.checkpoint}, which this carcli does not have; "
            "pass its .safetensors file as --model, or --ignore-tag"
        )
    return Resolution(tag.checkpoint, tag.scale, basis="tag")


def _untagged(request: Request) -> Resolution:
    """Super-resolution: a pair's own upscaler looks for what its downscaler has hidden, and here none has hidden anything."""
    basis: Literal["no tag", "tag ignored"] = "tag ignored" if request.ignore_tag else "no tag"
    if request.model not in (None, DEFAULT):
        scale = request.scale or choose(request.model, None).description.scale
        return Resolution(request.model, scale, basis)
    scale = request.scale or ORDINARY_SCALE
    return Resolution(_super_resolver(scale) or DEFAULT, scale, basis)


def _super_resolver(scale: int) -> str | None:
    """The checkpoint for ordinary images at a scale, or several one after another, the smaller steps first."""
    steps: list[str] = []
    left = scale
    for entry in sorted(manifest.entries(), key=lambda entry: -entry.scale):
        while entry.id == f"{ORDINARY}-x{entry.scale}" and left % entry.scale == 0:
            steps.append(entry.id)
            left //= entry.scale
    return PLUS.join(reversed(steps)) if steps and left == 1 else None
