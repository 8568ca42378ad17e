"""What a batch does to each picture: ``down`` with one pair, ``up`` with whichever pair its tag names."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from carcli.batch import pipeline
from carcli.batch.journal import Journal
from carcli.batch.pipeline import Pace, Result, Settings, Work
from carcli.batch.plan import Job
from carcli.errors import CarcliError, ImageError
from carcli.images import codec, metrics
from carcli.images.picture import Picture
from carcli.rescale.refine import Observe, Refined, Refinement, down_refined
from carcli.rescale.rescaler import Rescaler, load
from carcli.weights.choose import BEST


def downscale(
    rescaler: Rescaler,
    picture: Picture,
    tile: int | None = None,
    refinement: Refinement | None = None,
    observe: Observe = lambda done, gain: None,
) -> tuple[Picture, str, tuple[str, ...]]:
    """The LR picture, the checkpoint's id, and notes for the user."""
    if refinement is None:
        return rescaler.down_picture(picture, tile), rescaler.id, ()
    made, refined = down_refined(rescaler, picture, refinement, tile, observe)
    return made, rescaler.id, (_trade(rescaler, picture, made, refined, tile),)


def _trade(rescaler: Rescaler, picture: Picture, made: Picture, refined: Refined, tile: int | None) -> str:
    """What a refinement brought, and what it cost."""
    plain = rescaler.down_picture(picture, tile)
    bicubic = load("bicubic", rescaler.scale, "cpu").down_picture(picture, tile).pixels
    sizes, distances = [], []
    for one in (plain, made):
        out = io.BytesIO()
        codec.encode(one, out)
        sizes.append(len(out.getvalue()))
        distances.append(metrics.psnr(bicubic, one.pixels))
    return (
        f"refined by {refined.gain:+.2f} dB; LR against bicubic {distances[0]:.1f} -> {distances[1]:.1f} dB (RGB), "
        f"PNG {sizes[0]} -> {sizes[1]} bytes"
    )


class Upscaler:
    """Restores pictures, each with the model that its tag names, or with the one given; several threads may share one."""

    def __init__(
        self,
        load: Callable[[str, int | None], Rescaler],
        family_of: Callable[[str], str | None],
        model: str | None,
        scale: int | None,
        ignore_tag: bool = False,
        tile: int | None = None,
    ) -> None:
        self._load, self._family_of = load, family_of
        self._model, self._scale, self._ignore_tag, self._tile = model, scale, ignore_tag, tile
        self._loaded: dict[tuple[str, int | None], Rescaler] = {}
        self._lock = threading.Lock()

    def _rescaler(self, model: str, scale: int | None) -> Rescaler:
        key = (model, scale)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._load(model, scale)
            return self._loaded[key]

    def __call__(self, picture: Picture) -> tuple[Picture, str, tuple[str, ...]]:
        """Restore one picture. Raises ``ImageError`` where tag and request contradict each other."""
        if self._ignore_tag:
            picture = replace(picture, tag=None, tag_error=None)
        if picture.tag_error is not None:
            raise ImageError(picture.tag_error)
        tag = picture.tag
        if tag is None:
            rescaler = self._rescaler(self._model or "edsr", self._scale)
            note = f"has no carcli tag: restored with {rescaler.id}, as super-resolution of an ordinary image"
            return rescaler.up_picture(picture, self._tile), rescaler.id, () if self._ignore_tag else (note,)
        if self._scale is not None and self._scale != tag.scale:
            raise ImageError(f"its tag says scale {tag.scale}, not {self._scale}; leave --scale out, or pass --ignore-tag")
        made_by = self._family_of(tag.checkpoint)
        if self._model not in (None, BEST, tag.checkpoint, made_by):
            assert self._model is not None
            if not self._model.endswith(".safetensors"):
                raise ImageError(f"was made with {tag.checkpoint}, not {self._model}; leave --model out, or pass --ignore-tag")
            return self._rescaler(self._model, tag.scale).up_picture(picture, self._tile), tag.checkpoint, ()
        if made_by is None:
            raise ImageError(
                f"was made with checkpoint {tag.checkpoint}, which this carcli does not have; "
                "pass its .safetensors file as --model, or --ignore-tag"
            )
        rescaler = self._rescaler(tag.checkpoint, tag.scale)
        return rescaler.up_picture(picture, self._tile), rescaler.id, ()


def run(
    jobs: Iterable[Job | None],
    works: Work | Sequence[Work],
    settings: Settings | None = None,
    *,
    journal: Journal | None = None,
    max_errors: int | None = None,
    pace: Pace | None = None,
) -> Generator[Result]:
    """Process jobs, note each in the journal as it is settled, and yield what became of each, in order.

    After ``max_errors`` failures nothing more is begun. As many images are computed side by side as there are ``works``.
    """
    settings = settings or Settings()
    errors, asked = 0, settings.stop

    def stop() -> bool:
        return asked() or (max_errors is not None and errors >= max_errors)

    settings = replace(settings, stop=stop)
    if journal is not None:
        settings = replace(settings, recorded=journal.recorded, note=journal.append)
    several = works if isinstance(works, Sequence) else [works]
    try:
        with closing(pipeline.run(jobs, several, settings, pace)) as results:
            for result in results:
                errors += result.status == "failed"
                yield result
    finally:
        if journal is not None:
            journal.close()


def writable(folder: Path) -> None:
    """Make the output folder, and make sure that files can be created there.

    Raises ``CarcliError`` where they cannot: then no image could be written at all.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        raise CarcliError(f"{folder}: cannot write there ({error.strerror or error}); name another folder with -o") from error
