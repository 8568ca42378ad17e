"""From what a user names — a family, a checkpoint, a file — to the checkpoint that is meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carcli.errors import WeightsError
from carcli.models.families import CLASSICAL, FAMILIES
from carcli.models.registry import Pair, build
from carcli.weights import checkpoint, manifest, store
from carcli.weights.checkpoint import Description

BEST = "best"  # the checkpoint with the highest measured fidelity at a scale


@dataclass(frozen=True)
class Choice:
    """A checkpoint that can be loaded: its description, its file (none for the classical families) and the file's digest."""

    description: Description
    path: Path | None
    digest: str
    entry: manifest.Entry | None = None  # of the manifest, unless a user named the file


def _from_entry(entry: manifest.Entry) -> Choice:
    description = Description(entry.id, entry.family, entry.scale, entry.down, entry.up)
    return Choice(description, store.checkpoint_path(entry), store.pinned_digest(entry), entry)


def known_models() -> list[str]:
    """Everything that ``--model`` accepts besides files: families, then checkpoints."""
    return [*FAMILIES, BEST, *(e.id for e in manifest.entries())]


def _fidelity(entry: manifest.Entry) -> float:
    """Mean PSNR over the datasets a checkpoint was measured on; all are measured on the same ones."""
    return sum(f.psnr_y for f in entry.figures) / len(entry.figures) if entry.figures else 0.0


def _from_file(path: Path, scale: int | None) -> Choice:
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    description = checkpoint.describe(path)
    if scale is not None and description.scale != scale:
        raise WeightsError(f"{path}: is for scale {description.scale}, not {scale}; pass --scale {description.scale}")
    return Choice(description, path, store.known_digest(path))


def choose(model: str, scale: int | None) -> Choice:
    """The checkpoint that ``model`` (family, checkpoint id, ``best``, or .safetensors file) means at ``scale``.

    ``scale`` None leaves it to the checkpoint; a family then takes 4. Raises ``WeightsError``
    that says what there is instead.
    """
    if model.endswith(".safetensors"):
        return _from_file(Path(model), scale)
    if model in CLASSICAL:
        return Choice(Description(model, model, scale or 4), None, "")
    found = [e for e in manifest.entries() if model in (e.id, e.family)]
    if model == BEST:
        found = sorted(manifest.entries(), key=_fidelity, reverse=True)
    if not found:
        raise WeightsError(f"unknown model {model!r}; known: {', '.join(known_models())}, or a .safetensors file")
    wanted = scale if scale is not None else (found[0].scale if model == found[0].id else 4)
    for entry in found:
        if entry.scale == wanted:
            return _from_entry(entry)
    scales = ", ".join(str(s) for s in sorted({e.scale for e in found}))
    raise WeightsError(f"model {model!r} has no checkpoint at scale {wanted}; it has {scales}")


def load(choice: Choice) -> Pair:
    """Build and fill the networks, after checking the file's digest. Raises ``WeightsError``."""
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
    """The family of a checkpoint that this carcli has, else None."""
    if checkpoint_id in CLASSICAL:
        return checkpoint_id
    return next((e.family for e in manifest.entries() if e.id == checkpoint_id), None)
