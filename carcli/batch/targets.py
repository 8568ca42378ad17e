"""Which file or object each image of an ascending stream becomes, while only those of one stem are held.

Images can take one another's name only where they have the same stem, or where the name of one is the stem of the other. In
ascending order all of those come before the first name that is beyond the stem and a ``/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from carcli.batch.job import Job
from carcli.batch.listing import Found
from carcli.batch.plan import Obstacle, obstacle_at
from carcli.batch.present import Present
from carcli.errors import CarcliError
from carcli.stores.url import Place, Url, suffix_of

NO_TEXT = "has a name that is no text; rename it"
NO_FILE = "has a name that no file can have; write into a store, or copy it under another name"
UNUSABLE = re.compile(r'[\0<>:"|?*\\]' if os.name == "nt" else r"\0")


@dataclass
class _Stem:
    """Images that differ in their suffixes alone, and those whose names depend on theirs."""

    name: str
    images: list[Found] = field(default_factory=list)
    dependent: list[_Stem] = field(default_factory=list)


class Targets:
    """Jobs from what is found. ``output`` is a folder, ``suffix`` a result's, ``key`` the same for names that are one there."""

    def __init__(
        self,
        output: Place,
        suffix: str,
        *,
        key: Callable[[str], str] = str,
        look: bool = True,
        is_input: Callable[[Url], bool] = lambda url: False,
    ) -> None:
        """``look`` says whether it matters what is there already, ``is_input`` whether an object may be another input."""
        self._output, self._suffix, self._key, self._is_input = output, suffix, key, is_input
        self._present = Present(output) if isinstance(output, Url) else None
        self._look = look
        self._open: list[_Stem] = []

    def jobs(self, images: Iterator[Found]) -> Iterator[Job]:
        """A job for each, in order of stems. Raises ``CarcliError`` where they do not come in ascending order."""
        before = ""
        for image in images:
            name = self._key(image.relative)
            if name < before:
                raise CarcliError(f"{image.source}: its store does not list names in order; name what is wanted with --from-file")
            before = name
            yield from self._closed(name)
            stem = name.removesuffix(suffix_of(name))
            group = next((group for group in reversed(self._open) if group.name == stem), None)
            if group is None:
                group = _Stem(stem)
                self._open.append(group)
            group.images.append(image)
        yield from self._closed(None)

    def _closed(self, name: str | None) -> Iterator[Job]:
        """The jobs of all stems that no name from ``name`` on can have."""
        for group in reversed([group for group in self._open if name is None or name >= f"{group.name}/"]):
            others = (other for other in self._open if other is not group)
            holder = next((h for h in others if any(self._key(i.relative) == group.name for i in h.images)), None)
            if holder is not None:
                self._open.remove(group)
                holder.dependent.append(group)
            else:
                yield from self._settled(group, {})
                self._open.remove(group)

    def _settled(self, group: _Stem, owners: dict[str, Place]) -> Iterator[Job]:
        alone = len(group.images) == 1
        for image in group.images:
            name = (image.relative.removesuffix(suffix_of(image.relative)) if alone else image.relative) + self._suffix
            yield self._job(image, name, group, owners)
        for dependent in sorted(group.dependent, key=lambda stem: stem.name):
            yield from self._settled(dependent, owners)

    def _job(self, image: Found, name: str, group: _Stem, owners: dict[str, Place]) -> Job:
        if image.obstacle is not None:
            return Job(image.source, None, image.obstacle, image.kind, image.address)
        target = place_below(self._output, name)
        if isinstance(target, Obstacle):
            return _refused(image, target)
        there, obstacle = None, None
        if isinstance(target, Path):
            obstacle = obstacle_at(None, target)
        else:
            may_replace = target == image.source or self._is_input(target)
            if (self._look or may_replace) and self._present is not None:
                there = self._present.has(name, [stem.name for stem in (*self._open, group)])
            if target == image.source:
                obstacle = Obstacle("would replace itself; name another output folder with -o")
            elif there and may_replace:
                obstacle = Obstacle(
                    f"would replace {target}, which is an input too; name another output folder with -o",
                    "would replace another input; name another output folder with -o",
                )
        owner = owners.setdefault(self._key(name), image.source)
        if obstacle is None and owner is not image.source:
            obstacle = Obstacle(
                f"would be written to {target} like {owner}; use another output folder for it",
                "would be written where another image is; use another output folder for it",
            )
        if obstacle is not None:
            return _refused(image, obstacle)
        return Job(image.source, target, address=image.address, listed=image.listed, there=there)


def place_below(output: Place, name: str) -> Place | Obstacle:
    """A file or an object below a folder; what stands in its way where a name cannot be had there."""
    if isinstance(output, Url):
        try:
            name.encode()
        except UnicodeEncodeError:
            return Obstacle(NO_TEXT)
        return output.below(name)
    parts = name.split("/")
    if any(part in ("", ".", "..") or UNUSABLE.search(part) for part in parts):
        return Obstacle(NO_FILE)
    return output.joinpath(*parts)


def _refused(image: Found, obstacle: Obstacle) -> Job:
    return Job(image.source, None, obstacle.reason, obstacle.kind, image.address)
