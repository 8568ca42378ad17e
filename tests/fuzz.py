"""``python tests/fuzz.py --seed 7 --count 3000``: damaged and hostile files, through what a user's files go through.

Every file is either done or refused with an error of carcli's own, of one line. Anything else is a fault: its seed, area
and number are printed, and ``--seed 7 --only png:123`` makes that one file again. ``--commands 60`` runs the program
itself instead.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType
from unittest.mock import patch

import fuzz_files as whole
import fuzz_mutations as mutations
import numpy as np
import torch
from PIL import Image

from carcli.batch.job import Job
from carcli.batch.journal import NAME, Journal
from carcli.errors import CarcliError, ImageError
from carcli.images import metadata, png, xmp
from carcli.images import tag as tags
from carcli.images.codec import decode, to_bytes
from carcli.images.kept import kept
from carcli.images.picture import Picture
from carcli.images.written import FORMATS, encoding
from carcli.models.registry import outline
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Request, resolve
from carcli.runtime.text import shown
from carcli.training import recipe
from carcli.weights import choose, loading, manifest
from carcli.weights.importer import import_files

SECONDS = 5.0  # of a processor, for one file
MEMORY = 1 << 30  # bytes that one file may add to the most that this process has ever held
LONGEST = 600  # characters of a message
SMALL = 256 * 256  # pixels of what is computed with, not only decoded
OTHERS = [name for name, form in FORMATS.items() if form.tag == "xmp" and form.here]
MOST_PIXELS = 16_000_000  # that Pillow decodes here: half of what it warns of


class Fault(Exception):  # noqa: N818 - what it is called here
    """What must not be, whatever the file."""


class _TooLong(BaseException):
    """Ends what takes too long; nobody catches it."""


# images


def _same_metadata(first: Picture, again: Picture) -> None:
    if first.icc is not None:  # a profile and sRGB exclude each other (PNG, 11.3.2.5)
        first = replace(first, colour=tuple(one for one in first.colour if one[0] != b"sRGB"))
    for name in ("exif", "xmp", "iptc", "colour"):
        if getattr(first, name) != getattr(again, name):
            raise Fault(f"{name} is {getattr(first, name)!r:.200}, and {getattr(again, name)!r:.200} once written")
    if first.icc is not None and first.icc != again.icc:
        raise Fault("the profile is another once written")
    if (first.dpi is None) != (again.dpi is None) or np.abs(np.subtract(first.dpi or 0, again.dpi or 0)).max() > 0.02:
        raise Fault(f"the resolution is {first.dpi}, and {again.dpi} once written")
    if damaged := {metadata.DAMAGED_EXIF, metadata.DAMAGED_PROFILE, metadata.LARGE_XMP} & set(again.notes):
        raise Fault(f"once written: {damaged}")


def _same_pixels(first: Picture, again: Picture) -> None:
    if not np.array_equal(first.pixels, again.pixels):
        raise Fault("the pixels are others once written")
    if (first.alpha is None) != (again.alpha is None) or not np.array_equal(first.alpha, again.alpha):
        raise Fault("the alpha is another once written")


def _check_notes(picture: Picture) -> None:
    for note in (*picture.notes, picture.tag_error or ""):
        _check_message(note)


@cache
def _bicubic() -> Rescaler:
    return load("bicubic", 2, "cpu")


def image(data: bytes, _: Path) -> None:
    """Decoded, written, decoded again, made small, and restored."""
    picture = decode(data)
    picture.check()
    _check_notes(picture)
    if picture.pixels.shape[0] * picture.pixels.shape[1] > SMALL:
        return
    again = decode(to_bytes(picture))
    _same_pixels(picture, again)
    _same_metadata(picture, again)
    small = decode(to_bytes(_bicubic().down_picture(picture)))
    restored = _bicubic().up_picture(small)
    if restored.size != picture.size:
        raise Fault(f"{picture.size} comes back as {restored.size}")
    decode(to_bytes(restored))
    _in_another_format(_bicubic().down_picture(picture), len(data))


def _in_another_format(small: Picture, chance: int) -> None:
    """As a file of one of the other formats, with what that keeps."""
    form = encoding(OTHERS[chance % len(OTHERS)])
    try:
        shown, notes = kept(small, form)
    except ImageError:  # something shows through it
        return
    for note in notes:
        _check_message(note)
    again = decode(to_bytes(small, form))
    if again.tag != small.tag or again.pixels.shape != small.pixels.shape:
        raise Fault(f"as {form.name}: {small.tag} became {again.tag}, {again.tag_error}, {again.pixels.shape}")
    if not form.lossy:
        _same_pixels(replace(shown, pixels=small.pixels), again)  # grey may be kept as RGB, and is grey again
    if not notes and again.xmp != small.xmp:
        raise Fault(f"as {form.name}: XMP is {small.xmp!r:.200}, and {again.xmp!r:.200} once written")
    if not notes and again.exif != small.exif:
        raise Fault(f"as {form.name}: EXIF is {small.exif!r:.200}, and {again.exif!r:.200} once written")


def _damaged_image(files: Callable[[], whole.Files], clever: Callable[[bytes, Random, bytes], bytes]) -> Damage:
    def damage(chance: Random, _: Path) -> bytes:
        data, other = chance.choice(files()), chance.choice(files())
        return clever(data, chance, other) if chance.random() < 0.5 else mutations.blind(data, chance, other)

    return damage


def _in_exif(data: bytes, chance: Random, other: bytes) -> bytes:
    start = mutations.exif_start(data)
    return mutations.in_tiff(data, chance, start) if start is not None else mutations.blind(data, chance, other)


def _in_png(data: bytes, chance: Random, other: bytes) -> bytes:
    chunks = mutations.chunks_of(data)
    exif = [i for i, (kind, _) in enumerate(chunks) if kind == b"eXIf"]
    if exif and chance.random() < 0.3:
        chunks[exif[0]] = (b"eXIf", mutations.in_tiff(chunks[exif[0]][1], chance))
        return mutations.png_of(chunks)
    return mutations.in_png(data, chance, other)


# tags


def damaged_tag(chance: Random, _: Path) -> bytes:
    """An LR image with another tag, as JSON or as bytes, and a check sum that is right."""
    data = chance.choice((*whole.tagged(), *whole.tagged_in_xmp()))
    if chance.random() < 0.1:
        return mutations.blind(data, chance, data)
    tag = decode(data).tag
    assert tag is not None
    fields = mutations.json.loads(tag.to_json())
    for _ in range(chance.choice((1, 1, 2))):
        fields = mutations.changed(fields, chance)
    text = mutations.text_of(fields, chance).encode("utf-8", "surrogatepass")
    if chance.random() < 0.3:
        text = mutations.blind(text, chance, text)
    if not data.startswith(png.SIGNATURE):
        return whole.with_packet(data, _damaged_packet(text, chance))
    head = tags.KEY.encode() + b"\0"
    packed = chance.random() < 0.7
    content = head + (b"\1\0\0\0" + mutations.zlib.compress(text) if packed else b"\0\0\0\0" + text)
    if chance.random() < 0.1:
        content = mutations.blind(content, chance, content)
    kinds = [(kind, content if kind == b"iTXt" else old) for kind, old in mutations.chunks_of(data)]
    return mutations.png_of(kinds)


def _damaged_packet(text: bytes, chance: Random) -> bytes:
    """XMP with a tag of that text, in any of the ways that it may stand there, perhaps damaged."""
    shown = "".join(c for c in text.decode("utf-8", "replace") if c.isprintable())
    packet = xmp.with_properties(chance.choice(whole.PACKETS), {xmp.TAG: shown, xmp.CHANNELS: chance.choice(("1", "3", shown))})
    if chance.random() < 0.2:
        packet = packet.replace(b"</rdf:RDF>", packet[packet.rindex(b"<rdf:Description") :])
    return mutations.blind(packet, chance, packet) if chance.random() < 0.5 else packet


def tag(data: bytes, _: Path) -> None:
    """Resolved, and restored where that is small and needs no network."""
    picture = decode(data)
    _check_notes(picture)
    found = resolve(picture.tag, Request(), picture.tag_error)
    width, height = picture.size
    of_original = 0 if picture.tag is None else picture.tag.width * picture.tag.height
    if max(width * height * found.scale**2, of_original) > SMALL or found.basis != "tag":
        return
    if found.model in ("bicubic", "lanczos"):
        restored = load(found.model, found.scale, "cpu").up_picture(picture)
        if restored.size != (picture.tag.width, picture.tag.height):
            raise Fault(f"restored to {restored.size}, its tag says {picture.tag}")
        return
    choose.choose(found.model, found.scale)


# weights


def _at(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def damaged_checkpoint(chance: Random, folder: Path) -> bytes:
    files = whole.checkpoints(folder.parent)
    data = chance.choice(files)
    if chance.random() < 0.25:
        return mutations.blind(data, chance, chance.choice(files))
    length = int.from_bytes(data[:8], "little")
    header, body = mutations.json.loads(data[8 : 8 + length]), data[8 + length :]
    about = mutations.json.loads(header["__metadata__"]["carcli"])
    if chance.random() < 0.6:
        for _ in range(chance.choice((1, 1, 2))):
            about = mutations.changed(about, chance)
        header["__metadata__"]["carcli"] = mutations.text_of(about, chance)
    else:
        header = mutations.changed(header, chance)
    if chance.random() < 0.1:
        body = mutations.blind(body, chance, body) if body else body
    text = mutations.text_of(header, chance).encode("utf-8", "surrogatepass")
    size = chance.choice((0, len(text) - 1, 1 << 63, 1 << 20)) if chance.random() < 0.05 else len(text)
    return size.to_bytes(8, "little") + text + body


def checkpoint(data: bytes, folder: Path) -> None:
    """Chosen, loaded, and a small picture sent down and up."""
    choice = choose.choose(str(_at(folder, "mine.safetensors", data)), None)
    pair = loading.load(choice)
    if choice.scale > 8:
        return
    rescaler = Rescaler(choice, pair, torch.device("cpu"))
    picture = Picture(np.zeros((9, 7, 3), np.uint8))
    restored = rescaler.up_picture(decode(to_bytes(rescaler.down_picture(picture))))
    if restored.size != picture.size:
        raise Fault(f"restored to {restored.size}")


def _in_zip(data: bytes, chance: Random) -> bytes:
    """A zip whose members are damaged, or called something else, before they are packed."""
    with whole.zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return whole.zipped(_other_members(members, chance), whole.zipfile.ZIP_STORED)


def _other_members(members: dict[str, bytes], chance: Random) -> dict[str, bytes]:
    names = [name for name in members if name.endswith(".pkl")] or list(members)
    name = chance.choice(names if chance.random() < 0.5 else list(members))
    what = chance.randrange(6)
    out = dict(members)
    if what < 4:
        out[name] = mutations.blind(out[name], chance, chance.choice(list(members.values()))) if out[name] else b"\x80\x02."
    elif what == 4:
        out[chance.choice(NAMES)] = out.pop(name)
    else:
        out[chance.choice(NAMES)] = chance.choice(list(out.values()))
    return out


NAMES = (
    "../../kgn.pth", "/kgn.pth", "a\nb/kgn.pth", "\x1b[31m.pth", "n" * 3000 + ".pth", "e\u202e.pth", "inner.zip", "a\nb.tar.gz",
    ".hidden.pth", "kgn.pth", "x/" * 200 + "usn.pth",
)  # fmt: skip


def damaged_state_dict(chance: Random, folder: Path) -> bytes:
    """Two files in one: the first 8 bytes are the length of the first."""
    files = chance.choice(whole.state_dicts())
    which = chance.randrange(2)
    data, other = files[which], chance.choice(chance.choice(whole.state_dicts()))
    inside = data[:2] == b"PK" and chance.random() < 0.6
    data = _in_zip(data, chance) if inside else mutations.blind(data, chance, other)
    down, up = (data, files[1]) if which == 0 else (files[0], data)
    return len(down).to_bytes(8, "little") + down + up


def state_dict(data: bytes, folder: Path) -> None:
    length = int.from_bytes(data[:8], "little")
    _import([_at(folder, "kgn.pth", data[8 : 8 + length]), _at(folder, "usn.pth", data[8 + length :])])


def damaged_archive(chance: Random, folder: Path) -> bytes:
    """The first byte says which of the suffixes it is given."""
    which = chance.randrange(len(whole.archives()))
    _, data = whole.archives()[which]
    if chance.random() < 0.5:
        data = mutations.blind(data, chance, chance.choice(whole.archives())[1])
    else:
        down, up = whole.state_dicts()[0]
        members = _other_members({"2x/kgn.pth": down, "2x/usn.pth": up}, chance)
        data = whole.zipped(members) if which < 3 else whole.tarred(members)
    return bytes([which]) + data


def archive(data: bytes, folder: Path) -> None:
    suffix, _ = whole.archives()[data[0]]
    _import([_at(folder, f"official{suffix}", data[1:])])


def _import(paths: list[Path]) -> None:
    home = paths[0].parent / "home"
    known = manifest.manifest()
    entries = tuple(entry.model_copy(update=whole.NARROW) for entry in known.checkpoints if entry.archive)
    narrow = known.model_copy(update={"checkpoints": entries})
    with patch.dict(os.environ, CARCLI_HOME=str(home)), patch.object(manifest, "manifest", lambda: narrow):
        try:
            imported = import_files(paths)
        except CarcliError:
            if left := [*home.rglob("*.safetensors"), *home.rglob("*.tmp")]:
                raise Fault(f"refused, and left {left} behind") from None
            raise
        for entry, _ in imported:
            loading.load(choose.choose(entry.id, None))


# text


def damaged_journal(chance: Random, _: Path) -> bytes:
    records = whole.journal("/photos/a.jpg")
    lines = [mutations.text_of(mutations.changed(record, chance), chance) for record in records * chance.choice((1, 2))]
    text = "\n".join(lines).encode("utf-8", "surrogatepass") + chance.choice((b"", b"\n", b"\r\n", b"\n\n"))
    return mutations.blind(text, chance, text) if chance.random() < 0.3 else text


def journal(data: bytes, folder: Path) -> None:
    _at(folder, NAME, data)
    source = _at(folder, "a.jpg", b"abc")
    book = Journal(folder, "bicubic")
    for name in ("a.png", "b.png", "c.png"):
        if book.how_made(Job(source, folder / name)) not in ("same", "source", "settings", "unknown"):
            raise Fault("made in no way that there is")


TOML_VALUES = (
    "0", "-1", "1", "3", "1e400", "nan", "inf", "-inf", "1" * 5000, "0x" + "f" * 400, '"4"', '"a\\nb"', '"\\u001b[31m"', '""',
    "[]", "[1, 2]", "[[]]", "{}", "{ a = 1 }", "true", "1979-05-27T07:32:00Z", "07:32:00", '"""\nlines\n"""', "[" * 5000,
    "{ a = " * 3000, '{ net = "base" }', '"tad"', '"edsr"', '"none"', "'" + "x" * 3000 + "'", "[1, 1]", "1024", "1000000",
)  # fmt: skip

TOML_NAMES = ("name", "x", "minutes", '"a\\nb"', "a.b", "model", "model.down.net")
TOML_TABLES = ("[model]", "[x]", "[[model]]", "[model.down]", "[model.up]", "[optimiser.x]", "[loss]", '["\\u001b"]')


def made_recipe(seed: int, index: int) -> bytes:
    """A damaged recipe of the smallest pair, that a run can take a step of."""
    return _damaged_recipe(Random(f"{seed}:tiny:{index}"), whole.TINY_TAD)


def damaged_recipe(chance: Random, _: Path) -> bytes:
    return _damaged_recipe(chance, chance.choice(whole.recipes()))


def _damaged_recipe(chance: Random, text: str) -> bytes:
    lines = text.splitlines()
    for _ in range(chance.choice((1, 1, 2, 3))):
        i = chance.randrange(len(lines))
        name, equals, _rest = lines[i].partition("=")
        what = chance.randrange(7)
        if what < 3 and equals:
            lines[i] = f"{name}= {chance.choice(TOML_VALUES)}"
        elif what == 3:
            lines.insert(i, f"{chance.choice(TOML_NAMES)} = {chance.choice(TOML_VALUES)}")
        elif what == 4:
            lines.insert(i, chance.choice(TOML_TABLES))
        elif what == 5:
            del lines[i]
        else:
            lines[i] = lines[i].upper() if chance.random() < 0.3 else lines[i].replace("=", chance.choice((" ", ":", "= =")))
        if not lines:
            break
    data = "\n".join(lines).encode()
    return mutations.blind(data, chance, data) if data and chance.random() < 0.3 else data


def train_recipe(data: bytes, folder: Path) -> None:
    given = recipe.load(str(_at(folder, "mine.toml", data)))
    part = given.model
    outline(part.family, part.scale, {"down": part.down, "up": part.up})


# all of it

Damage = Callable[[Random, Path], bytes]


@dataclass(frozen=True)
class Area:
    """A kind of file: how it is damaged, what is done with it, and its share of all."""

    damage: Damage
    use: Callable[[bytes, Path], None]
    share: int  # of a hundred


AREAS = {
    "png": Area(_damaged_image(whole.pngs, _in_png), image, 29),
    "jpeg": Area(_damaged_image(whole.jpegs, _in_exif), image, 9),
    "tiff": Area(_damaged_image(whole.tiffs, lambda data, chance, _: mutations.in_tiff(data, chance)), image, 15),
    "other": Area(_damaged_image(whole.others, _in_exif), image, 11),
    "tag": Area(damaged_tag, tag, 10),
    "checkpoint": Area(damaged_checkpoint, checkpoint, 10),
    "state dict": Area(damaged_state_dict, state_dict, 4),
    "archive": Area(damaged_archive, archive, 4),
    "journal": Area(damaged_journal, journal, 4),
    "recipe": Area(damaged_recipe, train_recipe, 4),
}


@dataclass
class Tally:
    """What came of an area's files."""

    counts: Counter[str] = field(default_factory=Counter)  # done, refused, fault
    reasons: Counter[str] = field(default_factory=Counter)  # of refusals
    seconds: float = 0.0


def _check_message(message: str) -> None:
    if shown(message) != message:
        raise Fault(f"says what no terminal should show: {message!r:.300}")
    if len(message) > LONGEST:
        raise Fault(f"says {len(message)} characters: {message:.300}")


def made(seed: int, area: str, index: int, folder: Path) -> bytes:
    """The damaged file of a number."""
    return AREAS[area].damage(Random(f"{seed}:{area}:{index}"), folder)


def attempt(area: str, data: bytes, folder: Path) -> str | None:
    """Why a file is refused; None where it is done. Raises ``Fault``, or whatever else was not meant to be raised."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = None
    with _limited():
        try:
            AREAS[area].use(data, folder)
        except CarcliError as error:
            refused = str(error)
            _check_message(refused)
            if not refused:
                raise Fault("refused without a word") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if (seconds := time.process_time() - began) > SECONDS:
        raise Fault(f"took {seconds:.1f} s")
    if grown > MEMORY:
        raise Fault(f"took {grown >> 20} MB")
    return refused


@contextmanager
def _limited() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 4 * SECONDS)
    try:
        yield
    except _TooLong:
        raise Fault(f"was given up after {4 * SECONDS:.0f} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _small_images() -> Iterator[None]:
    with patch.object(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS):
        yield


def fuzz(folder: Path, seed: int, count: int, areas: tuple[str, ...] = tuple(AREAS)) -> tuple[dict[str, Tally], list[str]]:
    """What came of ``count`` files, by area, and every fault as a line that says how to see it again."""
    tallies, faults = {name: Tally() for name in areas}, []
    total = sum(AREAS[name].share for name in areas)
    warnings.filterwarnings("ignore", module="PIL")  # as the program does
    outline("tad", 2, {})  # what a process imports only once is no file's fault
    with _small_images():
        for name, tally in tallies.items():
            began = time.monotonic()
            for index in range(round(count * AREAS[name].share / total)):
                try:
                    with _folder(folder) as place:
                        refused = attempt(name, made(seed, name, index, place), place)
                except Exception as error:
                    tally.counts["fault"] += 1
                    faults.append(f"--seed {seed} --only {name.replace(' ', '-')}:{index}  {_said(error)}")
                    continue
                tally.counts["done" if refused is None else "refused"] += 1
                if refused is not None:
                    tally.reasons[refused] += 1
            tally.seconds = time.monotonic() - began
    return tallies, faults


@contextmanager
def _folder(above: Path) -> Iterator[Path]:
    """A folder for one file, empty."""
    place = above / "one"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _said(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "carcli" in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return shown(f"{type(error).__name__} at {where}: {error}")[:400]


def table(tallies: dict[str, Tally]) -> Iterator[str]:
    yield f"{'area':12} {'files':>6} {'done':>6} {'refused':>8} {'faults':>7} {'reasons':>8} {'s':>6}"
    for name, tally in tallies.items():
        counts = tally.counts
        yield (
            f"{name:12} {sum(counts.values()):6} {counts['done']:6} {counts['refused']:8} {counts['fault']:7} "
            f"{len(tally.reasons):8} {tally.seconds:6.1f}"
        )


def _one(seed: int, only: str, folder: Path, keep: Path | None) -> int:
    name, _, index = only.partition(":")
    area = name.replace("-", " ")
    with _small_images(), _folder(folder) as place:
        data = made(seed, area, int(index), place)
        if keep is not None:
            keep.write_bytes(data)
        print(f"{len(data)} bytes: {data[:80]!r}")
        refused = attempt(area, data, place)
    print("done" if refused is None else f"refused: {refused}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--commands", type=int, metavar="N", help="run the program on four folders of N files instead")
    parser.add_argument("--areas", default=",".join(AREAS).replace(" ", "-"), help="with commas between them")
    parser.add_argument("--only", help="AREA:INDEX: one file, with the traceback of its fault")
    parser.add_argument("--keep", type=Path, help="write the file of --only here")
    parser.add_argument("--reasons", action="store_true", help="print why files were refused")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if arguments.only:
            return _one(arguments.seed, arguments.only, Path(place), arguments.keep)
        if arguments.commands:
            from fuzz_commands import commands  # which needs this file first

            runs = commands(Path(place), arguments.seed, arguments.commands)
            print(dict(runs.counts), *runs.faults, sep="\n")
            return int(bool(runs.faults))
        areas = tuple(arguments.areas.replace("-", " ").split(","))
        tallies, faults = fuzz(Path(place), arguments.seed, arguments.count, areas)
    for line in [*table(tallies), *faults]:
        print(line)
    if arguments.reasons:
        for name, tally in tallies.items():
            for reason, count in tally.reasons.most_common(40):
                print(f"{name}: {count} {reason:.200}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
