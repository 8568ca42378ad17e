"""The program itself on damaged files: how it ends, what it says, and what it leaves behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import fuzz
import fuzz_files as whole
from PIL import Image

from carcli.batch.journal import NAME
from carcli.images import codec
from carcli.runtime.files import TEMPORARY
from carcli.runtime.text import shown

MEMORY = 6 << 30  # bytes of address space that a run may take
TIMEOUT = 120  # s of a run
LARGE = 1 << 20  # pixels: an image of more is left out, for a run is to be short
SUFFIX = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "other": ".webp", "tag": ".png"}
OWN = "carcli: "  # how every line begins
FOLDERS = (("down", "png", "jpeg"), ("down", "tiff", "other"), ("up", "tag"), ("up", "png", "other"))


class Runs:
    """Runs of the program in a folder, and every fault that they showed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.environment = {**os.environ, "CARCLI_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parents[1])}

    def expect(self, holds: bool, name: str, what: object) -> None:
        if not holds:
            self.counts["fault"] += 1
            self.faults.append(f"--seed {self.seed}, {name}: {shown(what)[:400]}")

    def run(self, name: str, *arguments: object, codes: Sequence[int] = (0, 1, 2, 3)) -> subprocess.CompletedProcess[bytes]:
        """Run it, and look at its exit code and at what it says on standard error."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "carcli", *map(str, arguments)],
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
                cwd=self.folder,
                env=self.environment,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
            )
        except subprocess.TimeoutExpired:
            self.expect(False, name, f"took more than {TIMEOUT} s")
            return subprocess.CompletedProcess([], 0, b"", b"")
        self.counts["runs"] += 1
        errors = done.stderr.decode(errors="surrogateescape")
        self.expect(done.returncode in codes, name, f"ended with {done.returncode}: {errors[-300:]}")
        self.expect("Traceback" not in errors, name, f"broke: {errors[-300:]}")
        for line in errors.split("\n")[:-1]:
            self.expect(line.startswith(OWN), name, f"says what is no line of its own: {line!r}")
            self.expect(shown(line) == line, name, f"says what no terminal should show: {line!r}")
        return done

    def images(self, number: int, each: int) -> None:
        """A folder of damaged images through ``down`` or ``up``."""
        verb, *areas = FOLDERS[number]
        source, target = self.folder / f"in{number}", self.folder / f"out{number}"
        source.mkdir()
        for i, area in zip(range(each), areas * each, strict=False):
            (source / f"{i:03}-{area}{SUFFIX[area]}").write_bytes(self._small(area, i))
        before = self._all()
        options = ("--model", "bicubic") if verb == "down" else ("--ignore-tag", "--scale", "2", "--model", "bicubic")
        if areas == ["tag"]:
            options = ()
        name = f"{verb} {source.name}"
        done = self.run(name, verb, source, "-o", target, "--json", "--device", "cpu", *options, codes=(0, 1))
        lines = done.stdout.splitlines()
        self.expect(len(lines) == each + 1, name, f"{each} images, {len(lines)} lines: {done.stderr[-300:]!r}")
        try:
            records = [json.loads(line) for line in lines]
        except ValueError as error:
            return self.expect(False, name, error)
        self._results(name, records[:-1])
        added = self._all() - before
        outside = {path for path in added if target not in (path, *path.parents)} - {self.folder / "home"}
        self.expect(not outside, name, f"left {outside} behind")
        self.expect(
            not any(path.name.startswith(TEMPORARY) and path.name != NAME for path in added), name, "left temporary files"
        )
        return None

    def _small(self, area: str, index: int) -> bytes:
        """The next damaged image that is none of many megapixels."""
        for at in count(index * 10):
            data = fuzz.made(self.seed, area, at, self.folder)
            probe = self.folder / "probe"
            probe.write_bytes(data)
            header = codec.peek(probe)
            probe.unlink()
            if header is None or header.pixels * 4 <= LARGE:
                break
        return data

    def _all(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if "home" not in path.parts}

    def _results(self, name: str, records: Sequence[dict]) -> None:
        for record in records:
            self.counts[record["status"]] += 1
            if record["status"] != "done":
                self.expect(bool(record["reason"]), name, f"{record['source']}: failed without a reason")
                continue
            try:
                with Image.open(record["target"]) as image:
                    image.load()
            except Exception as error:
                self.expect(False, name, f"{record['source']}: its output cannot be opened: {error}")

    def info(self, each: int) -> None:
        """Many damaged files in two runs of ``info``."""
        paths = []
        for i in range(each):
            area = list(SUFFIX)[i % len(SUFFIX)]
            paths.append(self.folder / f"info{i}{SUFFIX[area]}")
            paths[-1].write_bytes(self._small(area, 10_000 + i))
        done = self.run("info --json", "info", "--json", *paths, codes=(0, 1))
        self.expect(len(done.stdout.splitlines()) == each, "info --json", f"{each} files, {len(done.stdout.splitlines())} lines")
        said = self.run("info", "info", *paths, codes=(0, 1)).stdout.decode(errors="surrogateescape")
        for line in said.split("\n"):
            self.expect(shown(line) == line, "info", f"says what no terminal should show: {line!r}")

    def checkpoints(self, each: int) -> None:
        (self.folder / "photo").mkdir()
        (self.folder / "photo" / "a.png").write_bytes(whole.pngs()[0])
        for i in range(each):
            path = self.folder / f"model{i}.safetensors"
            path.write_bytes(fuzz.made(self.seed, "checkpoint", 10_000 + i, self.folder / "one"))
            self.run(f"--model {path.name}", "down", self.folder / "photo", "-o", self.folder / f"by{i}", "--model", path)
            self.expect(not list(self.folder.glob(f"by{i}/*.tmp")), path.name, "left temporary files")

    def imports(self, each: int) -> None:
        for i in range(each):
            area = ("archive", "state dict")[i % 2]
            data = fuzz.made(self.seed, area, 10_000 + i, self.folder)
            suffix = whole.archives()[data[0]][0] if area == "archive" else ".pth"
            path = self.folder / f"import{i}{suffix}"
            path.write_bytes(data[1:] if area == "archive" else data[8:])
            done = self.run(f"weights import {path.name}", "weights", "import", path, codes=(0, 3))
            self.expect(done.returncode == 0 or len(done.stderr.splitlines()) == 1, path.name, done.stderr)

    def recipes(self, each: int) -> None:
        """Small photographs and mutations of the smallest recipe: a step, or a refusal."""
        photos = self.folder / "photographs"
        photos.mkdir()
        for i in range(3):
            whole.photo(size=(64 + i, 64)).save(photos / f"{i}.png")
        for i in range(each):
            path = self.folder / f"recipe{i}.toml"
            path.write_bytes(fuzz.made_recipe(self.seed, i))
            options = ("--steps", 1, "--device", "cpu", "--quiet", "-o", self.folder / f"run{i}")
            self.run(f"train {path.name}", "train", path, photos, *options)


def commands(folder: Path, seed: int, each: int = 60, singles: int = 3) -> Runs:
    """Four folders of ``each`` damaged images, as many files for ``info``, and ``singles`` of whatever else takes a file."""
    (folder / "one").mkdir()
    runs = Runs(folder, seed)
    for number in range(len(FOLDERS)):
        runs.images(number, each)
    runs.info(each)
    runs.checkpoints(singles)
    runs.imports(singles)
    runs.recipes(singles)
    return runs
