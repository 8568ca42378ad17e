"""What a shell completes: models, scales, devices, datasets, recipes, as the package's own lists have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

COMMA = ","


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _listed(incomplete: str, words: Iterable[str]) -> list[str]:
    """The last one of several words with commas between them; those before stay as they are."""
    before, comma, last = incomplete.rpartition(COMMA)
    return [before + comma + word for word in _beginning(last, words)]


def _models() -> Iterator[str]:
    from carcli.weights.choose import known_models

    yield from known_models()


def model(incomplete: str) -> list[str]:
    """Families and checkpoints; a shell completes files by itself."""
    return _beginning(incomplete, _models())


def models(incomplete: str) -> list[str]:
    """Several of them, or all."""
    return _listed(incomplete, [*_models(), "all"])


def scale(incomplete: str) -> list[str]:
    """The scales that checkpoints have, and what they make one after another."""
    from carcli.weights.choose import scales_of
    from carcli.weights.manifest import entries

    families = dict.fromkeys(entry.variety for entry in entries())
    scales = sorted({scale for family in families for scale in scales_of(family).reached})
    return _beginning(incomplete, map(str, scales))


def device(incomplete: str) -> list[str]:
    """One device."""
    from carcli.runtime.device_names import KINDS

    return _beginning(incomplete, KINDS)


def devices(incomplete: str) -> list[str]:
    """Several devices."""
    from carcli.runtime.device_names import KINDS

    return _listed(incomplete, KINDS)


def dataset(incomplete: str) -> list[str]:
    """Benchmark datasets; a shell completes folders by itself."""
    from carcli.weights.manifest import manifest

    return _beginning(incomplete, (dataset.id for dataset in manifest().datasets))


def recipe(incomplete: str) -> list[str]:
    """The package's recipes; a shell completes files by itself."""
    from carcli.training.recipe import names

    return _beginning(incomplete, names())


def stored(incomplete: str) -> list[str]:
    """Checkpoints and datasets, as the store calls them."""
    from carcli.weights.manifest import manifest

    every = manifest()
    return _beginning(incomplete, [*(entry.id for entry in every.checkpoints), *(dataset.id for dataset in every.datasets)])
