"""From the checkpoint that is meant to its networks."""

from __future__ import annotations

from dataclasses import replace

from carcli.errors import WeightsError
from carcli.models.base import Pair
from carcli.models.cascade import cascade
from carcli.models.foreign import pair as foreign_pair
from carcli.models.registry import build
from carcli.models.tempered import for_ordinary
from carcli.weights import checkpoint, store, zoo
from carcli.weights.choose import Choice
from carcli.weights.description import content


def load(choice: Choice) -> Pair:
    """Build the networks and fill them from the very bytes whose digest was checked. Raises ``WeightsError``."""
    if choice.network is not None:
        return foreign_pair(zoo.tried(choice.network, str(choice.path)))
    if choice.strength is not None:
        return for_ordinary(load(replace(choice, strength=None)), choice.strength)
    if choice.steps:
        pairs = {step.digest: load(step) for step in {step.digest: step for step in choice.steps}.values()}
        return cascade([pairs[step.digest] for step in choice.steps])
    if choice.path is None:
        return build(choice.description.family, choice.description.scale, {})
    data = content(choice.path) if choice.entry is None else store.content(choice.entry)
    if (digest := store.digest_of(data)) != choice.digest:
        raise WeightsError(f"{choice.path}: damaged, or replaced since it was chosen (SHA-256 {digest[:12]}…)")
    return checkpoint.networks(data, choice.description, str(choice.path))
