"""What a batch does to each picture, as plain data: ``down`` with one pair, ``up`` with whichever pair its tag names.

What is asked in vain is told from this alone: nothing here loads torch before ``load`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from carcli.batch.observer import SILENT, Observer
from carcli.batch.work import Worker
from carcli.engines.names import TORCH, check_backend, check_computes
from carcli.errors import UsageError
from carcli.images.written import LOSSLESS, Encoding
from carcli.models.families import DEFAULT
from carcli.rescale.refinement import Refinement
from carcli.rescale.resolve import Request
from carcli.rescale.sizes import Target, refuse_to_resize
from carcli.runtime.device_names import AUTO
from carcli.weights.choose import (
    BEST,
    DEFAULT_SCALE,
    Scales,
    choose,
    choose_carried,
    families,
    loss,
    refuse_ensemble,
    scales_of,
)

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
    backend: str = TORCH
    tile: int | None = None  # LR pixels a side; where None, the network's own
    lossy: bool = False  # write LR images with loss even where the pair needs every level

    def __post_init__(self) -> None:
        if self.to_grey and self.scale is not None:
            raise UsageError("hiding colours in grey keeps the size: leave the scale out")
        if self.to_grey and self.keep_grey:
            raise UsageError("hiding colours in grey makes every LR image grey: leave out that grey is to stay so")
        if self.target is not None and (self.to_grey or self.scale is not None):
            raise UsageError(f"{self.target.given} says the size: leave the scale and grey out")

    def check(self, encoding: Encoding = LOSSLESS) -> None:
        """Raises ``WeightsError`` where there is no such checkpoint, ``UsageError`` for what is asked in vain of one, as far
        as can be told without loading it."""
        check_backend(self.backend, self.precision)
        self._refuse(encoding)
        name, target = self._model(encoding), self._target
        scales = None if target is None else scales_of(name)
        if target is None or scales is None or target.scale in scales.reached:
            choices = [choose(name, self._whole)]
        else:
            if self.refinement is not None:
                own = ", ".join(map(str, (scales.trained or scales.reached)[:2]))
                raise UsageError(f"refinement takes a scale that {name} has ({own}…); not {target}")
            refuse_to_resize(name, scales, str(target))
            choices = [choose(name, scale) for scale in scales.trained]
        for choice in choices:
            choice.refuse_to_shrink()
            check_computes(self.backend, choice)
            cost = loss(choice, encoding)
            if cost is not None and not self.lossy:
                raise UsageError(f"{cost}; write png or webp without --quality, or pass --lossy")

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding = LOSSLESS) -> Sequence[Worker]:
        """Raises as ``check`` does, ``WeightsError`` where a checkpoint is not here or damaged, ``UsageError`` where this
        machine has no such device."""
        self.check(encoding)
        name, target = self._model(encoding), self._target
        if target is not None and target.scale not in (scales := scales_of(name)).reached:
            return self._sized(name, scales, target, device)
        from carcli.batch.workers import Downscaler  # and with it torch
        from carcli.rescale.rescaler import load_networks
        from carcli.runtime.threads import streams

        rescaler = load_networks(name, self._whole, device, *self._computed)
        if rescaler.to_grey and not self.to_grey:
            raise UsageError(f"{rescaler.id} makes grey images; say --to-grey")
        if self.to_grey and not rescaler.to_grey:
            raise UsageError(f"{rescaler.id} makes no grey images; leave --model out, or name tad")
        side_by_side = 1 if self.refinement else streams(rescaler.device)  # refining holds gradients
        return [Downscaler(rescaler, self.refinement, self.tile, observer, keep_grey=self.keep_grey)] * side_by_side

    def _sized(self, name: str, scales: Scales, target: Target, device: str) -> Sequence[Worker]:
        from carcli.batch.workers import SizedDownscaler  # and with it torch
        from carcli.engines.computing import computing, device_of
        from carcli.rescale.rescaler import load_networks
        from carcli.runtime.threads import streams

        precision, backend = self._computed
        chosen = device_of(backend, precision, device)
        on_device = partial(load_networks, device=chosen, precision=precision, backend=backend)
        how = computing(backend, precision, "down", chosen)
        worker = SizedDownscaler(name, scales, target, on_device, how=how, tile=self.tile, keep_grey=self.keep_grey)
        return [worker] * streams(chosen)

    @property
    def _computed(self) -> tuple[str, str]:
        """Precision and backend; what is left to carcli is what makes the same bytes everywhere, refinement too."""
        return "fp32" if self.precision == AUTO else self.precision, TORCH if self.backend == AUTO else self.backend

    @property
    def _target(self) -> Target | None:
        return self.target if self.scale is None else Target(scale=self.scale)

    @property
    def _whole(self) -> int | None:
        """The scale of the networks, where one that they have is asked for; None: their own."""
        if self.to_grey:
            return 1
        return None if self._target is None or self._target.scale is None else int(self._target.scale)

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


@dataclass(frozen=True)
class Up:
    """Restores pictures, each with the model that its tag names, or as requested."""

    verb: ClassVar[str] = "up"
    makes_lr: ClassVar[bool] = False

    request: Request = field(default_factory=Request)
    precision: str = "fp32"
    backend: str = TORCH
    tile: int | None = None  # LR pixels a side; where None, the network's own
    ensemble: bool = False  # the mean of eight views, of ordinary images only

    def check(self, encoding: Encoding = LOSSLESS) -> None:
        """Raises ``WeightsError`` where there is no such model, ``UsageError`` for a scale or precision that makes no sense,
        and for a self-ensemble of what hides something."""
        check_backend(self.backend, self.precision)
        if self.request.model is not None:
            choice = choose(self.request.model, self.request.scale)  # an error at once, not once an image
            check_computes(self.backend, choice)
            if self.ensemble and self.request.model not in (*families(), BEST):  # which mean a super-resolver there
                refuse_ensemble(choice, tagged=False)

    def load(self, device: str, observer: Observer = SILENT, encoding: Encoding = LOSSLESS) -> Sequence[Worker]:
        """Raises as ``check`` does, and ``UsageError`` where this machine has no such device."""
        from carcli.batch.workers import Upscaler  # and with it torch
        from carcli.engines.computing import computing, device_of
        from carcli.rescale.rescaler import load_networks
        from carcli.runtime.threads import streams

        self.check(encoding)
        chosen = device_of(self.backend, self.precision, device)
        on_device = partial(load_networks, device=chosen, precision=self.precision, backend=self.backend)
        how = computing(self.backend, self.precision, "up", chosen)
        left = self.precision == AUTO and how.precision != "fp32"  # to the pairs: one that loses by it stays in fp32
        computed = f"auto {how}" if left else str(how)
        return [Upscaler(self.request, on_device, computed, self.tile, self.ensemble)] * streams(chosen)
