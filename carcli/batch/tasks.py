"""What a batch does to each picture: ``down`` with one pair, ``up`` with whichever pair its tag names."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import ClassVar

from carcli.batch.observer import SILENT, Observer
from carcli.batch.work import Output, Worker
from carcli.errors import CarcliError, ImageError, UsageError
from carcli.images import codec, metrics
from carcli.images.codec import Header
from carcli.images.formats import MAX_PIXELS
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.images.written import LOSSLESS, Encoding
from carcli.models.families import DEFAULT
from carcli.rescale.loaded import Loaded
from carcli.rescale.refine import Refined, Refinement, down_refined
from carcli.rescale.rescaler import Rescaler, load, load_networks
from carcli.rescale.resolve import Request, Resolution, resolve
from carcli.rescale.sizes import Target, plan, refuse_to_resize
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import pick_device, pick_precision
from carcli.runtime.threads import streams
from carcli.weights.choose import DEFAULT_SCALE, Scales, choose, choose_carried, loss, scales_of

RESIZED = 1.5  # times 12 bytes a pixel, in floats, between a resize and a network: with a channel beside it
GREY = "tad"  # the family that hides colours in grey, where none is named


@dataclass(frozen=True)
class Down:
    """Makes small pictures with one pair."""

    verb: ClassVar[str] = "down"
    makes_lr: ClassVar[bool] = True

    model: str | None = None  # a family, a checkpoint, or the path of a .safetensors file
    scale: float | None = None  # where None, and no target, 4 or the checkpoint's own
    target: Target | None = None  # the size of the LR images
    to_grey: bool = False  # keep the size, and hide the colours in one channel
    keep_grey: bool = False  # a grey picture's LR picture stays grey, and restores worse
    refinement: Refinement | None = None
    precision: str = "fp32"
    tile: int | None = None  # LR pixels a side; where None, the network's own
    lossy: bool = False  # write LR images with loss even where the pair needs every level

    def __post_init__(self) -> None:
        if self.to_grey and self.scale is not None:
            raise UsageError("hiding colours in grey keeps the size: leave the scale out")
        if self.to_grey and self.keep_grey:
            raise UsageError("hiding colours in grey makes every LR image grey: leave out that grey is to stay so")
        if self.target is not None and (self.to_grey or self.scale is not None):
            raise UsageError(f"{self.target.given} says the size: leave the scale and grey out")

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding = LOSSLESS) -> Sequence[Worker]:
        """Raises ``WeightsError`` where there is no such checkpoint, ``UsageError`` where it does not do what is asked."""
        self._refuse(encoding)
        name = self._model(encoding)
        target = self.target if self.scale is None else Target(scale=self.scale)
        if target is not None and target.scale not in (scales := scales_of(name)).reached:
            return self._sized(name, scales, target, device, encoding)
        whole = None if target is None else target.scale
        rescaler = load(name, 1 if self.to_grey else whole, device, self.precision)
        rescaler.choice.refuse_to_shrink()
        if rescaler.to_grey and not self.to_grey:
            raise UsageError(f"{rescaler.id} makes grey images; say --to-grey")
        if self.to_grey and not rescaler.to_grey:
            raise UsageError(f"{rescaler.id} makes no grey images; leave --model out, or name tad")
        self._refuse_loss(rescaler.loss(encoding))
        side_by_side = 1 if self.refinement else streams(rescaler.device)  # refining holds gradients
        return [Downscaler(rescaler, self.refinement, self.tile, observer, keep_grey=self.keep_grey)] * side_by_side

    def _sized(self, name: str, scales: Scales, target: Target, device: str, encoding: Encoding) -> Sequence[SizedDownscaler]:
        if self.refinement is not None:
            own = ", ".join(map(str, scales.trained or scales.reached[:2]))
            raise UsageError(f"refinement takes a scale that {name} has ({own}…); not {target}")
        refuse_to_resize(name, scales, str(target))
        for scale in scales.trained:
            choice = choose(name, scale)
            choice.refuse_to_shrink()
            self._refuse_loss(loss(choice, encoding))
        chosen = pick_device(device)
        pick_precision(self.precision)
        on_device = partial(load_networks, device=chosen, precision=self.precision)
        return [SizedDownscaler(self, name, scales, target, on_device)] * streams(chosen)

    def _refuse_loss(self, cost: str | None) -> None:
        if cost is not None and not self.lossy:
            raise UsageError(f"{cost}; write png or webp without --quality, or pass --lossy")

    def _refuse(self, encoding: Encoding) -> None:
        if self.refinement and encoding.lossy:
            raise UsageError(
                f"refinement settles single levels, which {encoding.name} changes; write png or webp without --quality, "
                "or leave --refine out"
            )
        if self.lossy and not encoding.lossy:
            raise UsageError(f"--lossy does nothing with lossless {encoding.name}; add --format jpeg, or leave it out")

    def _model(self, encoding: Encoding) -> str:
        """What is named, else what is meant for such files."""
        if self.model is not None or not encoding.lossy or self.to_grey:
            return self.model or (GREY if self.to_grey else DEFAULT)
        form, scale = encoding.format.name, self.scale or DEFAULT_SCALE
        exact = choose_carried(form, int(scale)) if self.target is None and scale == int(scale) else None
        carried = exact or choose_carried(form, None)  # which reaches any other size by a resize
        if carried is not None:
            return carried.description.id if exact else carried.description.variety
        if self.lossy:
            return DEFAULT
        raise UsageError(
            f"no checkpoint here was trained for lossy files, and others do not survive {encoding.name}; "
            "write png or webp without --quality, or name a --model and pass --lossy"
        )


def _keeping(grey: bool) -> str:
    return " keeping grey" if grey else ""


class Downscaler:
    """``Down``, loaded."""

    def __init__(
        self,
        rescaler: Rescaler,
        refinement: Refinement | None = None,
        tile: int | None = None,
        observer: Observer = SILENT,
        *,
        keep_grey: bool = False,
    ) -> None:
        self._rescaler, self._refinement, self._tile = rescaler, refinement, tile
        self._observer, self._keep_grey = observer, keep_grey

    @property
    def settings(self) -> str:
        pair = self._rescaler
        refinement = f" {self._refinement}" if self._refinement else ""
        return f"{pair.id} {pair.digest[:12]} x{pair.scale} {pair.precision}{refinement}{_keeping(self._keep_grey)}"

    def area(self, header: Header) -> float:
        return 1 / self._rescaler.scale**2

    def held(self, header: Header) -> float:
        return 1.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The LR picture with its tag."""
        pair = self._rescaler
        if self._refinement is None:
            plain = self._plain(picture, turn)
            return Output(plain, pair.id, plain.notes)
        lr, refined = down_refined(
            pair, picture, self._refinement, self._tile, self._observer.refining, turn, keep_grey=self._keep_grey
        )
        return Output(lr, pair.id, (self._trade(picture, lr, refined, turn), *lr.notes))

    def _plain(self, picture: Picture, turn: Turn) -> Picture:
        return self._rescaler.down_picture(picture, self._tile, turn, keep_grey=self._keep_grey)

    def _trade(self, picture: Picture, lr: Picture, refined: Refined, turn: Turn) -> str:
        """What a refinement brought, and what it cost."""
        plain = self._plain(picture, turn)
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


class SizedDownscaler:
    """``Down`` to a size, on a device; it loads each pair once, when the first picture needs it."""

    def __init__(
        self,
        task: Down,
        model: str,
        scales: Scales,
        target: Target,
        load: Callable[[str, int], Rescaler],
    ) -> None:
        self._task, self._model, self._scales, self._target = task, model, scales, target
        self._pair = Loaded(load)

    @property
    def settings(self) -> str:
        choices = [choose(self._model, scale) for scale in self._scales.trained]
        pairs = ", ".join(f"{choice.description.id} {choice.digest[:12]}" for choice in choices) or self._model
        return f"{pairs} to {self._target} {self._task.precision}{_keeping(self._task.keep_grey)}"

    def area(self, header: Header) -> float:
        try:
            width, height = self._target.lr_size(header.width, header.height)
        except ImageError:  # it will be refused, and nothing written
            return 0.0
        return width * height / header.pixels

    def held(self, header: Header) -> float:
        try:
            how = plan(self._model, self._scales, self._target, header.width, header.height)
        except CarcliError:
            return 0.0
        return RESIZED * self.area(header) * how.scale**2 if how.size is not None else 1.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The LR picture with its tag. Raises ``ImageError`` where it would have to be enlarged."""
        how = plan(self._model, self._scales, self._target, *picture.size)
        pair = self._pair(how.model, how.scale)
        lr = pair.down_picture(picture, self._task.tile, turn, how.size, keep_grey=self._task.keep_grey)
        return Output(lr, pair.id, (*how.notes, *lr.notes))


@dataclass(frozen=True)
class Up:
    """Restores pictures, each with the model that its tag names, or as requested."""

    verb: ClassVar[str] = "up"
    makes_lr: ClassVar[bool] = False

    request: Request = field(default_factory=Request)
    precision: str = "fp32"
    tile: int | None = None  # LR pixels a side; where None, the network's own

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding = LOSSLESS) -> Sequence[Upscaler]:
        """Raises ``UsageError`` where there is no such device, ``WeightsError`` where there is no such model."""
        chosen, model = pick_device(device), self.request.model
        pick_precision(self.precision)
        if model is not None:
            choose(model, self.request.scale)  # an error at once, not once an image
        on_device = partial(load_networks, device=chosen, precision=self.precision)
        return [Upscaler(self, on_device)] * streams(chosen)


class Upscaler:
    """``Up`` on a device; it loads each checkpoint once, when the first picture needs it."""

    def __init__(self, task: Up, load: Callable[[str, int], Rescaler]) -> None:
        self._task, self._pair = task, Loaded(load)
        self._resolve = lru_cache(maxsize=256)(self._resolution)  # a named file is read to tell its scale

    @property
    def settings(self) -> str:
        request = self._task.request
        ignoring = " ignoring tags" if request.ignore_tag else ""
        return f"{request.model or 'as tagged'} x{request.scale or 'as tagged'} {self._task.precision}{ignoring}"

    def area(self, header: Header) -> float:
        try:
            resolution = self._resolve(header.tag, header.tag_error)
            if resolution.basis == "tag" and header.tag is not None:
                pixels = header.tag.width * header.tag.height
            else:
                pixels = header.pixels * resolution.scale**2
        except CarcliError:  # it will be refused, and nothing written
            return 0.0
        return pixels / header.pixels if pixels <= MAX_PIXELS else 0.0  # nor is anything larger made

    def held(self, header: Header) -> float:
        tag = header.tag
        return RESIZED * tag.scale**2 if tag is not None and tag.resize is not None else 1.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The restored picture. Raises ``ImageError`` where tag and request contradict each other."""
        resolution = self._resolve(picture.tag, picture.tag_error)
        if resolution.basis != "tag":
            picture = replace(picture, tag=None, tag_error=None)
        rescaler = self._pair(resolution.model, resolution.scale)
        restored = rescaler.up_picture(picture, self._task.tile, turn)
        return Output(restored, rescaler.id, restored.notes, resolution.untagged(rescaler.id))

    def _resolution(self, tag: Tag | None, tag_error: str | None) -> Resolution:
        return resolve(tag, self._task.request, tag_error)
