"""What a batch does to each picture, loaded on a device."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from carcli.batch.observer import SILENT, Observer
from carcli.batch.work import Output
from carcli.engines.computing import Computing
from carcli.errors import CarcliError, ImageError, UsageError
from carcli.images import codec, metrics
from carcli.images.codec import Header
from carcli.images.formats import MAX_PIXELS
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.models.base import Half
from carcli.rescale.loaded import Loaded
from carcli.rescale.refine import Refined, down_refined
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request, Resolution, resolve
from carcli.rescale.sizes import Target, plan
from carcli.rescale.turn import ALONE, Turn
from carcli.weights.choose import Scales, choose

RESIZED = 1.5  # times 12 bytes a pixel, in floats, between a resize and a network: with a channel beside it


def _keeping(grey: bool) -> str:
    return " keeping grey" if grey else ""


def _output(picture: Picture, pair: Rescaler, half: Half, notes: tuple[str, ...]) -> Output:
    how = pair.computing[half]
    return Output(picture, pair.id, notes, precision=how.precision, backend=how.backend)


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
        return f"{pair.id} {pair.digest[:12]} x{pair.scale} {pair.computing['down']}{refinement}{_keeping(self._keep_grey)}"

    def area(self, header: Header) -> float:
        return 1 / self._rescaler.scale**2

    def held(self, header: Header) -> float:
        return 1.0

    def __call__(self, picture: Picture, turn: Turn = ALONE) -> Output:
        """The LR picture with its tag."""
        pair = self._rescaler
        if self._refinement is None:
            plain = self._plain(picture, turn)
            return _output(plain, pair, "down", plain.notes)
        lr, refined = down_refined(
            pair, picture, self._refinement, self._tile, self._observer.refining, turn, keep_grey=self._keep_grey
        )
        return _output(lr, pair, "down", (self._trade(picture, lr, refined, turn), *lr.notes))

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
        model: str,
        scales: Scales,
        target: Target,
        load: Callable[[str, int], Rescaler],
        *,
        how: Computing | None = None,
        tile: int | None = None,
        keep_grey: bool = False,
    ) -> None:
        self._model, self._scales, self._target = model, scales, target
        self._pair = Loaded(load)
        self._how, self._tile, self._keep_grey = how or Computing(), tile, keep_grey

    @property
    def settings(self) -> str:
        choices = [choose(self._model, scale) for scale in self._scales.trained]
        pairs = ", ".join(f"{choice.description.id} {choice.digest[:12]}" for choice in choices if choice.digest) or self._model
        return f"{pairs} to {self._target} {self._how}{_keeping(self._keep_grey)}"

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
        lr = pair.down_picture(picture, self._tile, turn, how.size, keep_grey=self._keep_grey)
        return _output(lr, pair, "down", (*how.notes, *lr.notes))


class Upscaler:
    """``Up`` on a device; it loads each checkpoint once, when the first picture needs it."""

    def __init__(
        self,
        request: Request,
        load: Callable[[str, int], Rescaler],
        computed: str = "fp32",
        tile: int | None = None,
        ensemble: bool = False,
    ) -> None:
        self._request, self._pair = request, Loaded(load)
        self._computed, self._tile, self._ensemble = computed, tile, ensemble
        self._resolve = lru_cache(maxsize=256)(self._resolution)  # a named file is read to tell its scale

    @property
    def settings(self) -> str:
        request = self._request
        ignoring = " ignoring tags" if request.ignore_tag else ""
        ensemble = " of eight views" if self._ensemble else ""
        return f"{request.model or 'as tagged'} x{request.scale or 'as tagged'} {self._computed}{ignoring}{ensemble}"

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
        """The restored picture. Raises ``ImageError`` where tag and request contradict each other, or a self-ensemble is wanted
        of what hides something."""
        resolution = self._resolve(picture.tag, picture.tag_error)
        if resolution.basis != "tag":
            picture = replace(picture, tag=None, tag_error=None)
        rescaler = self._pair(resolution.model, resolution.scale)
        try:
            restored = rescaler.up_picture(picture, self._tile, turn, ensemble=self._ensemble)
        except UsageError as error:
            raise ImageError(f"{error}; leave --ensemble out") from error
        output = _output(restored, rescaler, "up", restored.notes)
        return replace(output, untagged=resolution.untagged(rescaler.id))

    def _resolution(self, tag: Tag | None, tag_error: str | None) -> Resolution:
        return resolve(tag, self._request, tag_error)
