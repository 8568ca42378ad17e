"""What a server does with an image: shrink it, restore it, say what its tag says. Knows nothing of HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from carcli.engines.computing import device_of
from carcli.engines.names import TORCH
from carcli.errors import ImageError, UsageError
from carcli.images import codec
from carcli.images.codec import Header
from carcli.images.picture import Picture
from carcli.images.written import LOSSLESS, Encoding
from carcli.models.families import DEFAULT
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request, resolve
from carcli.rescale.turn import Cancel, Turn
from carcli.weights.choose import PLUS, choose_carried, known_models

MOST_PAIRS = 4  # that are kept loaded


@dataclass(frozen=True)
class Limits:
    """What strangers may ask for."""

    body: int = 64 << 20  # bytes of a file
    pixels: int = 50_000_000  # of an image, and of what is made of it
    jobs: int = 1  # images computed at once
    waiting: int = 16  # images that wait for their turn; more are sent away
    seconds: float = 60.0  # to receive a file in


@dataclass(frozen=True)
class Answer:
    """An image file, and what is to be known of it."""

    file: bytes
    media_type: str
    width: int
    height: int
    model: str
    notes: tuple[str, ...]


class Service:
    """Pairs on a device, loaded when they are first needed. Any number of threads may call it.

    Raises ``UsageError`` where this machine has no such device.
    """

    def __init__(
        self,
        model: str = DEFAULT,
        device: str = "auto",
        precision: str = "fp32",
        limits: Limits | None = None,
        backend: str = TORCH,
    ) -> None:
        self.model, self.limits = model, limits or Limits()
        self._device = device_of(backend, precision, device)
        self._precision, self._backend = precision, backend
        self._pairs: dict[tuple[str, float | None], Rescaler] = {}
        self._lock = threading.Lock()

    def down(self, file: bytes, model: str | None, scale: float | None, cancel: Cancel, encoding: Encoding = LOSSLESS) -> Answer:
        """An image file → its LR image, with its tag; ``scale`` is any number from 1 on, as for ``carcli.load``.

        Raises ``ImageError``, ``UsageError`` and ``WeightsError`` with a line of reason, ``Abandoned`` once cancelled.
        """
        header = self._header(file)
        pair = self._pair(_known(model) or self._meant_for(encoding), scale)
        cost = pair.loss(encoding)
        if cost is not None:
            raise UsageError(f"{cost}; ask for png, or for webp without a quality")
        width, height = pair.lr_size(header.width, header.height)
        if pair.target is not None:
            self._check(width * height * pair.scale**2, "it would be resized to")
        picture = codec.decode(file)
        return _answer(pair.down(picture, cancel=cancel), pair, picture.notes, encoding)

    def _meant_for(self, encoding: Encoding) -> str:
        """The model where a request names none."""
        carried = choose_carried(encoding.format.name, None) if encoding.lossy else None
        return self.model if carried is None else carried.description.variety

    def up(self, file: bytes, model: str | None, scale: int | None, cancel: Cancel) -> Answer:
        """An LR image file → the restored image as a PNG. Raises as ``down`` does."""
        header = self._header(file)
        resolution = resolve(header.tag, Request(_known(model), scale), header.tag_error)
        self._check(header.pixels * resolution.scale**2, "it would become")
        if header.tag is not None and resolution.basis == "tag":  # to which it may be resized after that
            self._check(header.tag.width * header.tag.height, "it would become")
        picture = codec.decode(file)
        if resolution.basis != "tag":
            picture = replace(picture, tag=None, tag_error=None)
        pair = self._pair(resolution.model, resolution.scale)
        restored = pair.up_picture(picture, turn=Turn(cancel))
        untagged = resolution.untagged(pair.id)
        return _answer(restored, pair, (*picture.notes, *([untagged.told()] if untagged is not None else ())))

    def info(self, file: bytes) -> dict[str, Any]:
        """Size and tag of an image file. Raises ``ImageError``."""
        header = self._header(file)
        return {
            "width": header.width,
            "height": header.height,
            "tag": None if header.tag is None else header.tag.fields(),
            "tag_error": header.tag_error,
        }

    def _header(self, file: bytes) -> Header:
        header = codec.peek(file)
        if header is None:
            codec.decode(file)  # which says what is wrong
            raise ImageError("its size cannot be told")
        self._check(header.pixels, "it has")
        return header

    def _check(self, pixels: int, what: str) -> None:
        if pixels > self.limits.pixels:
            raise ImageError(
                f"{what} {pixels / 1e6:.1f} megapixels; this server takes and makes {self.limits.pixels / 1e6:.1f} at most"
            )

    def _pair(self, model: str, scale: float | None) -> Rescaler:
        key = (model, scale)
        with self._lock:
            pair = self._pairs.pop(key, None) or load(model, scale, self._device, self._precision, self._backend)
            self._pairs[key] = pair  # the latest one used is the last one
            while len(self._pairs) > MOST_PAIRS:
                self._pairs.pop(next(iter(self._pairs)))
        return pair


def _known(model: str | None) -> str | None:
    """A model's name, which is never a file of the server's."""
    if model is not None and not set(model.split(PLUS)) <= set(known_models()):
        raise UsageError(f"unknown model {model[:80]!r}; known: {', '.join(known_models())}")
    return model


def _answer(picture: Picture, pair: Rescaler, notes: tuple[str, ...], encoding: Encoding = LOSSLESS) -> Answer:
    return Answer(
        codec.to_bytes(picture, encoding), f"image/{encoding.format.name}", *picture.size, pair.id, (*notes, *picture.notes)
    )
