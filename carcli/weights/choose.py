"""From what a user names — a family, a checkpoint, a file — to the checkpoint that is meant.

A scale that no checkpoint of a family has is reached by several, one after another, and by as few
as possible (``tad-x2+tad-x4``: the first shrinks first). Measured: the smaller scale before the
larger restores better, and few large steps better than many small ones trained for it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from carcli.errors import UsageError, WeightsError
from carcli.images.tag import MAX_SCALE
from carcli.images.written import Encoding
from carcli.models.families import ALSO, CLASSICAL, FOREIGN, RESIZERS, TORCH_ALONE
from carcli.weights import manifest, store
from carcli.weights.description import Description, content, described, describes_itself
from carcli.weights.header import SAFETENSORS

if TYPE_CHECKING:
    from carcli.models.foreign import Foreign

PLUS = "+"  # between the ids of checkpoints that are applied one after another
AT = "@"  # between a checkpoint's id and the strength of its upscaler on ordinary images
BEST = "best"  # the checkpoint with the highest measured fidelity at a scale
ORDINARY = "ordinary"  # the best super-resolver that is here, for images that no ``down`` made
MOST_STEPS = 7  # a tag holds no more ids
SUFFIXES = (SAFETENSORS, ".pth", ".pt", ".ckpt")  # of files that hold networks
DEFAULT_SCALE = 4  # of a family, where none is asked for


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
    network: Foreign | None = field(default=None, repr=False, compare=False)  # somebody else's, which has no downscaler
    strength: float | None = None  # of its upscaler alone, tempered for ordinary images; None: it is the pair as trained

    @property
    def scale(self) -> int:
        return self.description.scale

    @property
    def only_up(self) -> bool:
        """Whether it enlarges, and there is nothing of it that shrinks."""
        return self.network is not None or self.strength is not None or any(step.only_up for step in self.steps)

    def refuse_to_shrink(self) -> None:
        """Raise ``UsageError`` where there is nothing here that shrinks images so that they can be brought back."""
        if self.only_up:
            raise UsageError(f"{self.description.id} only enlarges images; shrink them with another model, edsr or tad")

    @property
    def torch_alone(self) -> bool:
        """Whether there is a network in it that no graph can say, and that no engine but torch computes."""
        if self.steps:
            return any(step.torch_alone for step in self.steps)
        own = self.description
        return not {own.family, own.down.get("net"), own.up.get("net")}.isdisjoint(TORCH_ALONE)


def is_file(model: str) -> bool:
    """Whether ``model`` names a file: a checkpoint of ours, or a network of somebody else's."""
    return model.lower().endswith(SUFFIXES)


def families() -> list[str]:
    """Every family that there is a checkpoint of, and the classical ones."""
    return list(dict.fromkeys([*(entry.variety for entry in manifest.entries()), *CLASSICAL]))


def known_models() -> list[str]:
    """Everything that ``--model`` accepts besides files: families, by each of their names, then checkpoints."""
    also = {usual: [name for name, meant in ALSO.items() if meant == usual] for usual in families()}
    named = [name for family in families() for name in (family, *also[family])]
    return [*named, BEST, ORDINARY, *(entry.id for entry in manifest.entries())]


def choose(model: str, scale: int | None) -> Choice:
    """The checkpoint that ``model`` (family, checkpoint id, ``best``, ``ordinary`` or .safetensors file) means at ``scale``.

    ``scale`` None leaves it to the checkpoint; a family then takes 4. ``ID@0.75`` is its upscaler alone, which adds that part
    of what it was trained to add to bicubic. Ids joined by ``+`` are
    applied one after another, and a single one as often as ``scale`` takes. Raises
    ``WeightsError`` that says what there is instead, and ``UsageError`` for a scale that makes no sense.
    """
    model = manifest.usual(model)
    if scale is not None and not 1 <= scale <= MAX_SCALE:
        raise UsageError(f"scale must be a whole number from 1 to {MAX_SCALE}, not {scale}")
    if is_file(model):
        return _repeated(_from_file(Path(model)), scale)
    if model in CLASSICAL:
        return Choice(Description(id=model, family=model, scale=scale or DEFAULT_SCALE), path=None, digest="")
    if PLUS in model:
        parts = model.split(PLUS)
        if len(parts) > MOST_STEPS:
            raise WeightsError(f"joins {len(parts)} checkpoints; a chain has {MOST_STEPS} at most")
        chain = _chain([choose(part, None) for part in parts])
        if chain.scale > MAX_SCALE:
            raise WeightsError(f"{model}: is for scale {chain.scale}; the largest is {MAX_SCALE}")
        if scale not in (None, chain.scale):
            raise WeightsError(f"{model}: is for scale {chain.scale}, not {scale}")
        return chain
    if AT in model:
        name, _, strength = model.partition(AT)
        return _repeated(_tempered(choose(name, None), _strength(strength, model)), scale)
    for entry in manifest.entries():
        if entry.id == model:
            return _repeated(_from_entry(entry), scale)
    if scale is None:
        scale = DEFAULT_SCALE
    candidates = _candidates(model, scale)
    if not candidates:
        raise WeightsError(f"unknown model {model!r}; known: {', '.join(known_models())}, or a .safetensors file")
    choice = _of_candidates(candidates, scale)
    if choice is None:
        scales = ", ".join(str(s) for s in sorted({entry.scale for entry in candidates if entry.scale > 1}))
        raise WeightsError(f"model {model!r} has no checkpoint at scale {scale}; it has {scales} and their products")
    return _tempered(choice) if model == ORDINARY else choice


def super_resolves(choice: Choice) -> bool:
    """Whether what is chosen is for ordinary images too: it was measured on them, or its own downscaler hides nothing."""
    if choice.network is not None:
        return True
    if choice.steps:
        return all(super_resolves(step) for step in choice.steps)
    if choice.entry is not None and choice.entry.ordinary:
        return choice.entry.ahead_of_lanczos > 0
    return _hides_nothing(choice)


def refuse_ensemble(choice: Choice, tagged: bool) -> None:
    """Raise ``UsageError`` where a self-ensemble costs fidelity: on LR images in which something is hidden.

    ``tagged`` says whether the image is one that the pair itself made.
    """
    if not (_hides_nothing(choice) if tagged else super_resolves(choice)):
        raise UsageError(
            f"a self-ensemble is for ordinary images: what {choice.description.id} hides in an LR image lies in single pixels, "
            "which turned views of it do not have; restored so it loses up to 6 dB"
        )


def _hides_nothing(choice: Choice) -> bool:
    """Whether what makes its LR images is a plain resize, at every step."""
    if choice.steps:
        return all(_hides_nothing(step) for step in choice.steps)
    return choice.description.family in CLASSICAL or choice.description.down.get("net") in CLASSICAL


def _strength(text: str, model: str) -> float:
    try:
        strength = float(text)
    except ValueError:
        strength = 0.0
    if not 0 < strength <= 1:
        raise WeightsError(f"model {model!r}: a strength is a number above 0, and 1 at most: edsr-base-x4@0.75")
    return strength


@dataclass(frozen=True)
class Scales:
    """Scales above 1, from the smallest on."""

    trained: tuple[int, ...]  # of single checkpoints; of a chain that a user names, its own; none for what resizes to any size
    reached: tuple[int, ...]  # that ``choose`` finds, by chains too


def scales_of(model: str) -> Scales:
    """The scales that a model has. Raises as ``choose`` does."""
    model = manifest.usual(model)
    if model in CLASSICAL:
        every = tuple(range(2, MAX_SCALE + 1))
        return Scales(() if model in RESIZERS else every, every)
    family = {entry.scale for scale in (2, DEFAULT_SCALE) for entry in _candidates(model, scale)}
    if family:
        return Scales(tuple(sorted(family - {1})), _products(family))
    own = choose(model, None)
    trained = (own.scale,) if own.scale > 1 else ()
    return Scales(trained, trained if own.steps else _products(trained))


def _products(factors: Iterable[int]) -> tuple[int, ...]:
    """All that can be multiplied from factors, each as often as it takes, up to the largest scale."""
    found = {1}
    for factor in set(factors) - {1}:
        for product in sorted(found):
            while (product := product * factor) <= MAX_SCALE:
                found.add(product)
    return tuple(sorted(found - {1}))


def choose_carried(carrier: str, scale: int | None) -> Choice | None:
    """The checkpoint that is meant for LR files of a lossy format: trained through that, else through another one.

    None where there is none for the scale (None: 4).
    """
    entries = [entry for entry in manifest.entries() if entry.carrier]
    for name in dict.fromkeys(entry.variety for entry in sorted(entries, key=lambda entry: entry.carrier != carrier)):
        choice = _of_candidates([entry for entry in entries if entry.variety == name], scale or DEFAULT_SCALE)
        if choice is not None:
            return choice
    return None


def loss(choice: Choice, encoding: Encoding) -> str | None:
    """What a lossy file costs a checkpoint that was not trained for one: as measured, at the nearest quality; else in words.

    None where nothing is lost: by the format, or because the checkpoint was trained through one, or hides nothing.
    """
    description, form, quality = choice.description, encoding.format.name, encoding.quality
    if quality is None or description.carrier is not None or choice.only_up or _hides_nothing(choice):
        return None
    figures = choice.entry.figures if choice.entry is not None else ()
    own = choice.entry is not None and choice.entry.scale == description.scale
    exact = {f.dataset: f for f in figures if own and f.plain}
    through = [f for f in figures if own and f.carrier and not f.scale and f.dataset in exact]
    if not through:
        gone = "its colours do not come back" if description.scale == 1 else "it restores no better than bicubic"
        return f"nothing that {description.id} hides in an LR image survives a lossy file: {gone}"
    nearest = min(through, key=lambda f: (f.carrier != form, abs(f.quality - quality)))
    before, after = (f.psnr_rgb or f.psnr_y for f in (exact[nearest.dataset], nearest))
    return (
        f"{description.id} needs every level of its LR images: on {nearest.dataset} it restores {after:.2f} dB "
        f"from {nearest.carrier} {nearest.quality}, {before:.2f} without loss"
    )


def family_of(checkpoint_id: str) -> str | None:
    """The family, as users name it, of a checkpoint, or of several joined by ``+``, that this carcli has, else None."""
    family_by_id = {**{name: name for name in CLASSICAL}, **{entry.id: entry.variety for entry in manifest.entries()}}
    families = {family_by_id.get(part) for part in checkpoint_id.split(PLUS)}
    return families.pop() if len(families) == 1 else None


def _candidates(model: str, scale: int) -> list[manifest.Entry]:
    """The checkpoints that a family's name, ``best`` or ``ordinary`` may mean at a scale; none where it is no such name."""
    if model == BEST:
        return _best(scale)
    if model == ORDINARY:
        return _super_resolvers(scale)
    return [entry for entry in manifest.entries() if entry.variety == model]


def _from_entry(entry: manifest.Entry) -> Choice:
    path, digest = store.checkpoint_path(entry), store.pinned_digest(entry)
    return Choice(Description.of(entry), path=path, digest=digest, entry=entry)


def _from_file(path: Path) -> Choice:
    data = content(path)
    if path.suffix.lower() == SAFETENSORS and describes_itself(data, str(path)):
        return Choice(described(data, str(path)), path=path, digest=store.digest_of(data))
    from carcli.weights import zoo  # and with it torch: such a network is told by its tensors alone

    network = zoo.network(data, str(path))
    own = Description(id=zoo.identity(path), family=FOREIGN, scale=network.scale)
    return Choice(own, path=path, digest=store.digest_of(data), network=network)


def _of_candidates(candidates: Sequence[manifest.Entry], scale: int) -> Choice | None:
    """The first checkpoint for a scale, else the shortest chain of several that makes it, if there is one.

    Largest scales are taken first, so that the chain is short, and applied last: the smallest shrinks first.
    """
    for entry in candidates:
        if entry.scale == scale:
            return _from_entry(entry)
    steps: list[Choice] = []
    rest = scale
    for entry in sorted(candidates, key=lambda entry: -entry.scale):
        while entry.scale > 1 and rest % entry.scale == 0:
            steps.insert(0, _from_entry(entry))
            rest //= entry.scale
    return _chain(steps) if rest == 1 and len(steps) > 1 else None


def _chain(steps: Sequence[Choice]) -> Choice:
    """Checkpoints of one family one after another, as one whose id and digest tell them."""
    identity = PLUS.join(step.description.id for step in steps)
    families = {step.description.variety for step in steps}
    if len(families) > 1:
        raise WeightsError(f"{identity}: joins families ({', '.join(sorted(families))}); a chain has one")
    digest = hashlib.sha256(PLUS.join(step.digest for step in steps).encode()).hexdigest()
    scale, last = math.prod(step.scale for step in steps), steps[-1].description
    description = Description(id=identity, family=last.family, scale=scale, carrier=last.carrier)
    return Choice(description, path=None, digest=digest, steps=tuple(steps))


def _repeated(choice: Choice, scale: int | None) -> Choice:
    """A checkpoint applied until it makes ``scale`` (None: once). Raises ``WeightsError`` where it never does."""
    own = choice.scale
    if scale is None or scale == own:
        return choice
    times = _exponent(own, scale)
    if times is None:
        name = choice.path if choice.entry is None else choice.description.id
        powers = "" if own == 1 else f", or {own * own}, {own**3}… by being applied again and again"
        raise WeightsError(f"{name}: is for scale {own}{powers}; not for {scale}")
    description = replace(choice.description, scale=scale)
    return Choice(description, path=None, digest=choice.digest, steps=(choice,) * times)


def _exponent(base: int, power: int) -> int | None:
    """How many times ``base`` must be multiplied to make ``power``, if any number of times does."""
    times = round(math.log(power, base)) if base > 1 and power > 1 else 0
    return times if times and base**times == power else None


def _best(scale: int) -> list[manifest.Entry]:
    """The checkpoints for a scale from the best on; where there are none, those of the family that is best at x2."""
    exact = [entry for entry in manifest.entries() if not entry.carrier]
    best = _ranked([entry for entry in exact if entry.scale == scale])
    if best:
        return best
    family = _ranked([entry for entry in exact if entry.scale == 2])[0].family
    return [entry for entry in exact if entry.family == family]


def _super_resolvers(scale: int) -> list[manifest.Entry]:
    """Those that are here of the family that restores ordinary images best, at ``scale`` where one has it, from the best on."""
    here = [entry for entry in manifest.entries() if entry.ahead_of_lanczos > 0 and store.state(entry) != "missing"]
    ranked = sorted(here, key=lambda entry: (entry.scale != scale, -entry.ahead_of_lanczos))
    return [entry for entry in ranked if entry.family == ranked[0].family]


def _tempered(choice: Choice, strength: float | None = None) -> Choice:
    """The upscalers of what is chosen at a strength, or each at that which its entry gives for ordinary images."""
    if choice.steps:
        return _chain([_tempered(step, strength) for step in choice.steps])
    strength = strength or (choice.entry.ordinary_strength if choice.entry is not None else 1.0)
    identity = f"{choice.description.id}{AT}{strength:g}"
    return replace(choice, description=replace(choice.description, id=identity), strength=strength)


def _ranked(candidates: Sequence[manifest.Entry]) -> list[manifest.Entry]:
    """Checkpoints of one scale from the best to the worst, by mean PSNR over the datasets that all of them were measured on."""
    psnr = {entry.id: {f.dataset: f.psnr_y for f in entry.figures if f.plain} for entry in candidates}
    measured = [set(figures) for figures in psnr.values() if figures]
    shared = set.intersection(*measured) if measured else set()
    return sorted(candidates, key=lambda entry: sum(psnr[entry.id].get(name, 0.0) for name in shared), reverse=True)
