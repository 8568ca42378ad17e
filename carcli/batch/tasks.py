"""What a batch does to each picture: ``down`` with one pair, ``up`` with whichever pair its tag names."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import ClassVar

from carcli.batch.observer import SILENT, Observer
from carcli.batch.work import Output
from carcli.errors import CarcliError, UsageError
from carcli.images import codec, metrics
from carcli.images.codec import Header
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.models.families import DEFAULT
from carcli.rescale.refine import Refined, Refinement, down_refined
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request, Resolution, resolve
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import pick_device, pick_precision
from carcli.runtime.threads import streams
from carcli.weights.choose import choose

GREY = "tad"  # the family that hides colours in grey, where none is named


@dataclass(frozen=True)
class Down:
    """Makes small pictures with one pair."""

    verb: ClassVar[str] = "down"

    model: str | None = None  # a family, a checkpoint, or the path of a .safetensors file
    scale: int | None = None  # where None, 4 or the checkpoint's own
    to_grey: bool = False  # keep the size, and hide the colours in one channel
    refinement: Refinement | None = None
    precision: str = "fp32"
    tile: int | None = None  # LR pixels a side; where None, the network's own

    def __post_init__(self) -> None:
        if self.to_grey and self.scale is not None:
            raise UsageError("hiding colours in grey keeps the size: leave the scale out")

    def load(self, device: str, observer: Observer = SILENT) -> Sequence[Downscaler]:
        """Raises ``WeightsError`` where there is no such checkpoint, ``UsageError`` where it does not do what is asked."""
        name = self.model or (GREY if self.to_grey else DEFAULT)
        rescaler = load(name, 1 if self.to_grey else self.scale, device, self.precision)
        rescaler.refuse_to_shrink()
        if rescaler.to_grey and not self.to_grey:
            raise UsageError(f"{rescaler.id} makes grey images; say --to-grey")
        if self.to_grey and not rescaler.to_grey:
            raise UsageError(f"{rescaler.id} makes no grey images; leave --model out, or name tad")
        side_by_side = 1 if self.refinement else streams(rescaler.device)  # refining holds gradients
        return [Downscaler(rescaler, self.refinement, self.tile, observer)] * side_by_side


class Downscaler:
    """``Down``, loaded."""

    def __init__(
        self,
        rescaler: Rescaler,
        refinement: Refinement | None = None,
        tile: int | None = None,
        observer: Observer = SILENT,
    ) -> None:
        self._rescaler, self._refinement, self._tile = rescaler, refinement, tile
        self._observer = observer

    @property
    def settings(self) -> str:
        pair = self._rescaler
        refinement = f" {self._refinement}" if self._refinement else ""
        return f"{pair.id} {pair.digest[:12]} x{pair.scale} {pair.precision}{refinement}"

    def area(self, header: Header) -> float:
        return 1 / self._rescaler.scale**2

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The LR picture with its tag."""
        pair = self._rescaler
        if self._refinement is None:
            plain = pair.down_picture(picture, self._tile, turn)
            return Output(plain, pair.id, plain.notes)
        lr, refined = down_refined(pair, picture, self._refinement, self._tile, self._observer.refining, turn)
        return Output(lr, pair.id, (self._trade(picture, lr, refined, turn), *lr.notes))

    def _trade(self, picture: Picture, lr: Picture, refined: Refined, turn: Turn) -> str:
        """What a refinement brought, and what it cost."""
        plain = self._rescaler.down_picture(picture, self._tile, turn)
        bicubic = load("bicubic", self._rescaler.scale, "cpu").down_picture(picture, self._tile, turn).pixels
        sizes, distances = [], []
        for candidate in (plain, lr):
            file = io.BytesIO()
            codec.encode(candidate, file)
            sizes.append(len(file.getvalue()))
            distances.append(metrics.psnr(bicubic, candidate.pixels))
        return (
            f"refined by {refined.gain:+.2f} dB; LR against bicubic {distances[0]:.1f} -> {distances[1]:.1f} dB (RGB), "
            f"PNG {sizes[0]} -> {sizes[1]} bytes"
        )


@dataclass(frozen=True)
class Up:
    """Restores pictures, each with the model that its tag names, or as requested."""

    verb: ClassVar[str] = "up"

    request: Request = field(default_factory=Request)
    precision: str = "fp32"
    tile: int | None = None  # LR pixels a side; where None, the network's own

    def load(self, device: str, observer: Observer = SILENT) -> Sequence[Upscaler]:
        """Raises ``UsageError`` where there is no such device, ``WeightsError`` where there is no such model."""
        chosen, model = pick_device(device), self.request.model
        pick_precision(self.precision)
        if model is not None:
            choose(model, self.request.scale)  # an error at once, not once an image
        on_device = partial(load, device=str(chosen), precision=self.precision)
        return [Upscaler(self, on_device)] * streams(chosen)


class Upscaler:
    """``Up`` on a device; it loads each checkpoint once, when the first picture needs it."""

    def __init__(self, task: Up, load: Callable[[str, int], Rescaler]) -> None:
        self._task, self._load = task, load
        self._resolve = lru_cache(maxsize=256)(self._resolution)  # a named file is read to tell its scale
        self._loaded: dict[tuple[str, int], Rescaler] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> str:
        request = self._task.request
        ignoring = " ignoring tags" if request.ignore_tag else ""
        return f"{request.model or 'as tagged'} x{request.scale or 'as tagged'} {self._task.precision}{ignoring}"

    def area(self, header: Header) -> float:
        try:
            return float(self._resolve(header.tag, header.tag_error).scale ** 2)
        except CarcliError:  # it will be refused, and nothing written
            return 0.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The restored picture. Raises ``ImageError`` where tag and request contradict each other."""
        resolution = self._resolve(picture.tag, picture.tag_error)
        if resolution.basis != "tag":
            picture = replace(picture, tag=None, tag_error=None)
        rescaler = self._rescaler(resolution.model, resolution.scale)
        restored = rescaler.up_picture(picture, self._task.tile, turn)
        return Output(restored, rescaler.id, restored.notes, resolution.untagged(rescaler.id))

    def _resolution(self, tag: Tag | None, tag_error: str | None) -> Resolution:
        return resolve(tag, self._task.request, tag_error)

    def _rescaler(self, model: str, scale: int) -> Rescaler:
        key = (model, scale)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._load(model, scale)
            return self._loaded[key]
