"""The jobs of a batch whose inputs or output lie in a store: planned as they are listed, anew each time they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from carcli.batch.job import Job
from carcli.batch.listing import NO_OBJECT, Found, below, found, named, together
from carcli.batch.plan import Obstacle, obstacle_at, sources
from carcli.batch.targets import Targets
from carcli.batch.walk import Filter, Source
from carcli.errors import UsageError
from carcli.images.formats import SUFFIXES, advice
from carcli.runtime.names import Names, names_in
from carcli.runtime.paths import kind
from carcli.stores.schemes import store_of
from carcli.stores.url import Place, Url


@dataclass
class Streamed:
    """Iterating gives a ``Job`` for each image, in ascending order of what images are called below what was named.

    ``left_out`` and ``passed_over`` say what was left out by the last one who iterated to the end.
    """

    inputs: Sequence[Path | Source | Job | Url]  # as ``resolved``
    output: Place
    one_file: bool = False  # whether the output is a file of one input
    suffix: str = ".png"
    recursive: bool = False
    wanted: Filter = field(default_factory=Filter)
    look: bool = True  # whether it matters what is there already
    is_passed_over: Callable[[Place], bool] = lambda folder: False
    left_out: Counter[str] = field(default_factory=Counter)
    ours: Callable[[Url], Collection[str]] = lambda output: ()  # names of results in the output that are no inputs

    def __post_init__(self) -> None:
        """Lists what is on this machine. Raises ``UsageError`` where the output is a file, but a folder is needed."""
        nowhere = [item for item in self.inputs if isinstance(item, Job) and isinstance(item.source, Url)]
        local = [item for item in self.inputs if not isinstance(item, Url) and item not in nowhere]
        output = self.output if isinstance(self.output, Path) else None
        if output is not None and not self.one_file and kind(output) not in ("nothing", "folder"):
            raise UsageError(f"{output}: is a file, but several images need a folder")
        self._left_out: Counter[str] = Counter()
        every = sources(local, output, self.recursive, self.wanted, self._left_out, self.is_passed_over)
        self._local = found([*nowhere, *every])
        folders = [item for item in self.inputs if isinstance(item, Url) and item.is_folder]
        self._folders = [f for i, f in enumerate(folders) if not self._is_covered(f, folders, i)]
        objects = [item for item in self.inputs if isinstance(item, Url) and not item.is_folder]
        self._objects = [url for url in objects if not any(self._lists(folder, url) for folder in self._folders)]

    def _is_covered(self, folder: Url, folders: Sequence[Url], place: int) -> bool:
        """Whether another folder that is named takes all of it."""
        return any(
            other.holds(folder) and (other != folder or i < place) and (other == folder or self._walks(other, folder))
            for i, other in enumerate(folders)
            if i != place
        )

    def _takes(self, folder: Url, url: Url) -> bool:
        return folder.holds(url) and (self.recursive or url.parent == folder)

    def _walks(self, top: Url, folder: Url) -> bool:
        """Whether what is in a folder below another one is listed with it."""
        names = folder.key[len(top.key) :].split("/")[:-1]
        ways = [top.below("/".join(names[: n + 1])).folder for n in range(len(names))]
        return self.recursive and not any(name.startswith(".") for name in names) and not any(map(self._skips, ways))

    def _lists(self, folder: Url, url: Url) -> bool:
        """Whether an object that is named is an image of a folder that is named, too."""
        if not self._takes(folder, url) or url.name.startswith(".") or url.suffix.lower() not in SUFFIXES:
            return False
        return self.wanted.takes(url.key[len(folder.key) :]) and (url.parent == folder or self._walks(folder, url.parent))

    def __iter__(self) -> Iterator[Job]:
        self.left_out.clear()
        self.left_out.update(self._left_out)
        listings = [self._images_of(folder) for folder in self._folders]
        every = together([iter(self._local), named(self._objects), *listings])
        if self.one_file:
            return (self._to_file(item) for item in every)
        key: Callable[[str], str] = str
        if isinstance(self.output, Path) and (names := names_in(self.output)) != Names():
            key = lambda name: names.key(Path(name))  # noqa: E731
            every = iter(sorted(every, key=lambda item: key(item.relative)))  # what is one name there is far apart here
        targets = Targets(self.output, self.suffix, key=key, look=self.look, is_input=self._is_input)
        return targets.jobs(every)

    def _images_of(self, folder: Url) -> Iterator[Found]:
        """The images of a folder; where that is the output too, none that was made there."""
        images = below(folder, self.recursive, self.wanted, self._skips, self.left_out)
        if not (isinstance(self.output, Url) and folder == self.output.folder):
            return images
        return (image for image in images if image.relative not in self._ours)

    @cached_property
    def _ours(self) -> Collection[str]:
        assert isinstance(self.output, Url)
        return self.ours(self.output)

    def _skips(self, folder: Url) -> bool:
        return (isinstance(self.output, Url) and folder == self.output.folder) or self.is_passed_over(folder)

    def _is_input(self, url: Url) -> bool:
        """Whether an object may be an input too."""
        assert isinstance(self.output, Url)
        output = self.output.folder
        if output in self._folders and url.key[len(output.key) :] in self._ours:
            return False
        return url in self._objects or any(
            self._takes(folder, url) and not (folder.holds(output) and folder != output) for folder in self._folders
        )

    def _to_file(self, item: Found) -> Job:
        """The job of the one input that is there."""
        plain = Job(item.source, self.output, item.obstacle, item.kind, item.address, item.listed)
        obstacle: Obstacle | None = None
        if item.obstacle is not None:
            return replace(plain, target=None)
        if isinstance(self.output, Url):
            plain = replace(plain, there=store_of(self.output).stat(self.output) is not None)
            if item.source == self.output:
                obstacle = Obstacle("would replace itself; name another output with -o")
        else:
            obstacle = obstacle_at(item.source if isinstance(item.source, Path) else None, self.output)
        return plain if obstacle is None else replace(plain, target=None, obstacle=obstacle.reason, kind=obstacle.kind)


def resolved(item: Path | Source | Job | Url) -> Path | Source | Job | Url:
    """An input of which it is known whether it is a folder of a store; an object by its name where it has an image's suffix.

    Raises ``StoreError``, and ``UsageError`` where what reads the store is not installed.
    """
    if not isinstance(item, Url):
        return item
    if item.is_folder:
        return item if _holds_anything(item) else Job(item, None, "no such folder, or nothing in it")
    suffix = item.suffix.lower()
    if suffix in SUFFIXES or advice(suffix) is not None or store_of(item).stat(item) is not None:
        return item
    return item.folder if _holds_anything(item.folder) else Job(item, None, NO_OBJECT)


def _holds_anything(folder: Url) -> bool:
    return next(iter(store_of(folder).entries(folder)), None) is not None
