"""From what a user names — a family, a checkpoint, a file — to the checkpoint that is meant.

A scale that no checkpoint of a family has is reached by several, one after another, and by as few
as possible (``tad-x2+tad-x4``: the first shrinks first). Measured: the smaller scale before the
larger restores better, and few large steps better than many small ones trained for it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carcli.errors import WeightsError
from carcli.models.base import Pair
from carcli.models.cascade import cascade
from carcli.models.families import CLASSICAL
from carcli.models.registry import build
from carcli.weights import checkpoint, manifest, store
from carcli.weights.checkpoint import Description

PLUS = "+"  # between the ids of checkpoints that are applied one after another
BEST = "best"  # the checkpoint with the highest measured fidelity at a scale


@dataclass(frozen=True)
class Choice:
    """A checkpoint that can be loaded: its description, its file (none for the classical families) and the file's digest.

    Where ``steps`` are given it is these, one after another, and has no file of its own.
    """

    description: Description
    path: Path | None
    digest: str
    entry: manifest.Entry | None = None  # of the manifest, unless a user named the file
    steps: tuple[Choice, ...] = ()


def _from_entry(entry: manifest.Entry) -> Choice:
    description = Description(entry.id, entry.family, entry.scale, entry.down, entry.up)
    return Choice(description, store.checkpoint_path(entry), store.pinned_digest(entry), entry)


def known_models() -> list[str]:
    """Everything that ``--model`` accepts besides files: families, then checkpoints."""
    families = dict.fromkeys([*(e.family for e in manifest.entries()), *CLASSICAL])
    return [*families, BEST, *(e.id for e in manifest.entries())]


def _ranked(found: Sequence[manifest.Entry]) -> list[manifest.Entry]:
    """Checkpoints of one scale from the best to the worst, by mean PSNR over the datasets that all of them were measured on."""
    own = {entry.id: {f.dataset: f.psnr_y for f in entry.figures if not f.scale} for entry in found}
    measured = [set(figures) for figures in own.values() if figures]
    shared = set.intersection(*measured) if measured else set()
    return sorted(found, key=lambda e: sum(own[e.id].get(name, 0.0) for name in shared), reverse=True)


def _power(base: int, scale: int) -> int | None:
    """How often ``base`` must be applied to make ``scale``, if it can."""
    times = round(math.log(scale, base)) if base > 1 and scale > 1 else 0
    return times if times and base**times == scale else None


def _again(one: Choice, scale: int) -> Choice:
    """A checkpoint applied until it makes ``scale``. Raises ``WeightsError`` where it never does."""
    own = one.description.scale
    if own == scale:
        return one
    times = _power(own, scale)
    if times is None:
        what = one.path if one.entry is None else one.description.id
        powers = "" if own == 1 else f", or {own * own}, {own**3}… by being applied again and again"
        raise WeightsError(f"{what}: is for scale {own}{powers}; not for {scale}")
    return Choice(replace(one.description, scale=scale), None, one.digest, steps=(one,) * times)


def _chain(parts: Sequence[Choice]) -> Choice:
    """Different checkpoints one after another, as one whose id and digest tell them."""
    identity = PLUS.join(p.description.id for p in parts)
    families = {p.description.family for p in parts}
    if len(families) > 1:
        raise WeightsError(f"{identity}: joins families ({', '.join(sorted(families))}); a chain has one")
    digest = hashlib.sha256(PLUS.join(p.digest for p in parts).encode()).hexdigest()
    description = Description(identity, families.pop(), math.prod(p.description.scale for p in parts))
    return Choice(description, None, digest, steps=tuple(parts))


def _from_file(path: Path, scale: int | None) -> Choice:
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    description = checkpoint.describe(path)
    own = Choice(description, path, store.known_digest(path))
    return own if scale is None else _again(own, scale)


def _of_family(found: Sequence[manifest.Entry], scale: int) -> Choice | None:
    """The family's checkpoint at a scale, or a chain of several."""
    for entry in found:
        if entry.scale == scale:
            return _from_entry(entry)
    parts, left = [], scale
    for entry in sorted(found, key=lambda e: -e.scale):
        while entry.scale > 1 and left % entry.scale == 0:
            parts.append(_from_entry(entry))
            left //= entry.scale
    return _chain(parts[::-1]) if left == 1 and len(parts) > 1 else None


def choose(model: str, scale: int | None) -> Choice:
    """The checkpoint that ``model`` (family, checkpoint id, ``best``, or .safetensors file) means at ``scale``.

    ``scale`` None leaves it to the checkpoint; a family then takes 4. Ids joined by ``+`` are
    applied one after another, and a single one as often as ``scale`` takes. Raises
    ``WeightsError`` that says what there is instead.
    """
    if model.endswith(".safetensors"):
        return _from_file(Path(model), scale)
    if model in CLASSICAL:
        return Choice(Description(model, model, scale or 4), None, "")
    if PLUS in model:
        made = _chain([choose(part, None) for part in model.split(PLUS)])
        if scale not in (None, made.description.scale):
            raise WeightsError(f"{model}: is for scale {made.description.scale}, not {scale}")
        return made
    for entry in manifest.entries():
        if entry.id == model:
            own = _from_entry(entry)
            return own if scale is None else _again(own, scale)
    wanted = scale if scale is not None else 4
    found = [e for e in manifest.entries() if model == e.family]
    if model == BEST:
        found = _ranked([e for e in manifest.entries() if e.scale == wanted])
        if not found:  # a chain of the family that is best at x2
            family = _ranked([e for e in manifest.entries() if e.scale == 2])[0].family
            found = [e for e in manifest.entries() if e.family == family]
    if not found:
        raise WeightsError(f"unknown model {model!r}; known: {', '.join(known_models())}, or a .safetensors file")
    chosen = _of_family(found, wanted)
    if chosen is None:
        scales = ", ".join(str(s) for s in sorted({e.scale for e in found if e.scale > 1}))
        raise WeightsError(f"model {model!r} has no checkpoint at scale {wanted}; it has {scales} and their products")
    return chosen


def load(choice: Choice) -> Pair:
    """Build and fill the networks, after checking the file's digest. Raises ``WeightsError``."""
    if choice.steps:
        pairs = {step.digest: load(step) for step in {one.digest: one for one in choice.steps}.values()}
        return cascade([pairs[step.digest] for step in choice.steps])
    if choice.path is None:
        return build(choice.description.family, choice.description.scale, {})
    if choice.entry is not None:
        store.verified(choice.entry)
    else:
        try:
            digest = store.known_digest(choice.path)
        except OSError as error:
            raise WeightsError(f"{choice.path}: {error.strerror}") from error
        if digest != choice.digest:
            raise WeightsError(f"{choice.path}: damaged, or replaced since it was chosen (SHA-256 {digest[:12]}…)")
    return checkpoint.read(choice.path, choice.description)


def family_of(checkpoint_id: str) -> str | None:
    """The family of a checkpoint, or of several joined by ``+``, that this carcli has, else None."""
    if checkpoint_id in CLASSICAL:
        return checkpoint_id
    known = {e.id: e.family for e in manifest.entries()}
    families = {known.get(part) for part in checkpoint_id.split(PLUS)}
    return families.pop() if len(families) == 1 else None
