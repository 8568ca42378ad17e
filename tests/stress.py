"""``python tests/stress.py``: thousands of files, hundreds of them bad, and a program that is killed again and again.

Prints what it did, and exits with 1 where a good file was not done, a bad one not named, or the
outcome of the killed runs differs from an undisturbed run's by a single byte.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from pngs import chunk

from carcli.batch.journal import NAME
from carcli.runtime.files import TEMPORARY

Rng = np.random.Generator


def _pixels(rng: Rng, channels: int = 3) -> np.ndarray:
    height, width = (int(n) for n in rng.integers(8, 90, 2))
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, channels), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _oriented(rng: Rng) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    return _saved(Image.fromarray(_pixels(rng)), "JPEG", exif=exif)


def _hidden(rng: Rng) -> bytes:
    """Every other square is transparent, and what lies beneath is loud."""
    pixels = _pixels(rng, 4)
    pixels[..., 3] = 255 * (np.indices(pixels.shape[:2]).sum(0) // 8 % 2)
    return _saved(Image.fromarray(pixels), "PNG")


def _transparent_level(rng: Rng) -> bytes:
    pixels = _pixels(rng, 1)[..., 0]
    return _saved(Image.fromarray(pixels), "PNG", transparency=int(pixels[0, 0]))


def _sixteen_tiff(rng: Rng) -> bytes:
    return _saved(Image.fromarray(_pixels(rng, 1)[..., 0].astype(np.uint16) * 257), "TIFF", compression="tiff_lzw")


def _layered(rng: Rng) -> bytes:
    """As Photoshop writes it: layers in a private tag, many times as large as the picture."""
    entries = ImageFileDirectory_v2()
    entries[37724] = b"Adobe Photoshop Document Data Block\0" + rng.bytes(1 << 18)
    entries.tagtype[37724] = 7
    return _saved(Image.fromarray(_pixels(rng)), "TIFF", tiffinfo=entries)


def _heavy(rng: Rng) -> bytes:
    """A profile and a text of two megabytes each."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngInfo()
    text.add_text("Comment", "x" * (2 << 20), zip=bool(rng.integers(2)))
    return _saved(Image.fromarray(_pixels(rng)), "PNG", icc_profile=profile + bytes(2 << 20), pnginfo=text)


def _named(rng: Rng) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Zürich, 東京".encode(), "Jürgen ©".encode()
    return _saved(Image.fromarray(_pixels(rng)), "JPEG", exif=exif)


def _absurd(rng: Rng) -> bytes:
    """A tag that no ``down`` wrote: none of ``down``'s business."""
    text = PngInfo()
    fields = {"version": 1, "checkpoint": "bicubic", "digest": "", "scale": 1 << 40, "width": 1 << 60, "height": -1}
    text.add_itxt("carcli", json.dumps(fields), zip=True)
    return _saved(Image.fromarray(_pixels(rng)), "PNG", pnginfo=text)


GOOD: dict[str, tuple[str, Callable[[Rng], bytes]]] = {
    "rgb": (".png", lambda r: _saved(Image.fromarray(_pixels(r)), "PNG")),
    "jpeg": (".jpg", lambda r: _saved(Image.fromarray(_pixels(r)), "JPEG")),
    "alpha": (".png", lambda r: _saved(Image.fromarray(_pixels(r, 4)), "PNG")),
    "grey": (".png", lambda r: _saved(Image.fromarray(_pixels(r, 1)[..., 0]), "PNG")),
    "palette": (".gif", lambda r: _saved(Image.fromarray(_pixels(r)).quantize(16), "GIF")),
    "cmyk": (".tif", lambda r: _saved(Image.fromarray(_pixels(r)).convert("CMYK"), "TIFF")),
    "sixteen": (".png", lambda r: _saved(Image.fromarray(_pixels(r, 1)[..., 0].astype(np.uint16) << 8), "PNG")),
    "webp": (".webp", lambda r: _saved(Image.fromarray(_pixels(r)), "WEBP")),
    "turned": (".jpg", _oriented),
    "hidden": (".png", _hidden),
    "grey alpha": (".png", lambda r: _saved(Image.fromarray(_pixels(r, 2)), "PNG")),
    "level": (".png", _transparent_level),
    "sixteen tiff": (".tif", _sixteen_tiff),
    "layered": (".tif", _layered),
    "heavy": (".png", _heavy),
    "named": (".jpg", _named),
    "absurd": (".png", _absurd),
    "misnamed": (".bmp", lambda r: _saved(Image.fromarray(_pixels(r)), "PNG")),
}


def _bomb(_: Rng) -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _flipped(rng: Rng) -> bytes:
    data = bytearray(_saved(Image.fromarray(_pixels(rng)), "PNG"))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    return bytes(data)


def _animated(rng: Rng) -> bytes:
    frames = [Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in range(3)]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[str, Callable[[Rng], bytes]]] = {
    "empty": (".jpg", lambda _: b""),
    "text": (".png", lambda _: b"this is no image\n"),
    "truncated": (".jpg", lambda r: _saved(Image.fromarray(_pixels(r)), "JPEG")[:300]),
    "cut": (".png", lambda r: (lambda d: d[: len(d) // 2])(_saved(Image.fromarray(_pixels(r)), "PNG"))),
    "bomb": (".png", _bomb),
    "flipped": (".png", _flipped),
    "frames": (".gif", _animated),
    "floats": (".tif", lambda r: _saved(Image.fromarray(r.random((9, 9), np.float32)), "TIFF")),
}


NAMES = (  # of files; what a file system forbids is left out
    os.fsdecode(b"caf\xe9 \xff.png"), "two\nlines.png", "\x1b[31mred\x07.png", "n" * 251 + ".png", "-o.png", "--help.png",
    "[bold]loud.png", "[link=x] [bold red].png", "%s {0} $HOME.png", "\u202egnp.png", " .png", "ünïcode\u0301.png",
)  # fmt: skip


def _oddly_named(folder: Path, rng: Rng) -> Iterator[str]:
    """Good files whose names are nobody's idea of one."""
    for name in NAMES:
        try:
            (folder / name).write_bytes(_saved(Image.fromarray(_pixels(rng)), "PNG"))
        except (OSError, ValueError):  # UTF-8 alone, on some systems
            continue
        yield name


def _no_files(folder: Path) -> Iterator[str]:
    """What is called like an image, and is none at all."""
    for name, place in (("lost.png", folder / "nowhere"), ("round.png", "trip.png"), ("trip.png", "round.png")):
        (folder / name).symlink_to(place)
        yield name
    os.mkfifo(folder / "pipe.png")
    yield "pipe.png"
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as end:  # its path has 100 characters at most
        os.chdir(folder)
        try:
            end.bind("socket.png")
        finally:
            os.chdir(here)
    yield "socket.png"
    if os.geteuid() != 0:  # who may read everything
        (folder / "locked").mkdir(mode=0o300)
        yield "locked"
    (folder / "circle").symlink_to(folder)
    (folder / "folder.png").mkdir()  # is gone into, and holds nothing


def make(folder: Path, good: int, bad: int, seed: int) -> tuple[set[str], set[str]]:
    """Fill a folder of folders; the names, below it, of the good files and of the bad ones."""
    rng = np.random.default_rng(seed)
    names: tuple[set[str], set[str]] = (set(), set())
    for i in range(good + bad):
        kinds, which = (GOOD, 0) if i < good else (BAD, 1)
        kind = list(kinds)[i % len(kinds)]
        suffix, content = kinds[kind]
        path = folder / f"{int(rng.integers(0, 12)):02}" / f"{int(rng.integers(0, 1 << 30)):010}-{kind}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(rng))
        names[which].add(path.relative_to(folder).as_posix())
    names[0].update(_oddly_named(folder, rng))
    names[1].update(_no_files(folder))
    return names


def command(source: Path, target: Path) -> list[str]:
    program = [sys.executable, "-m", "carcli", "down", str(source), "-o", str(target), "--recursive"]
    return [*program, "--model", "bicubic", "--device", "cpu", "--json"]


def finished(source: Path, target: Path) -> list[dict]:
    """Run to the end; every record it prints."""
    done = subprocess.run(command(source, target), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def outputs(target: Path) -> dict[str, bytes]:
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file() and p.name != NAME}


def killed(source: Path, target: Path, count: int, delay: float) -> bool:
    """Run, and kill a moment after so many outputs are there; whether it was still running then."""
    child = subprocess.Popen(command(source, target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and sum(1 for _ in target.rglob("*.png")) < count:
        time.sleep(0.005)
    time.sleep(delay)
    if child.poll() is not None:
        return False
    child.send_signal(signal.SIGKILL)
    child.wait()
    return True


def vanishing(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """How many files were done, and named as gone, of a folder half of which is deleted while the program is at it."""
    rng = np.random.default_rng(seed)
    source, target = folder / "passing", folder / "past"
    source.mkdir()
    files = [source / f"{i:03}.png" for i in range(count)]
    for path in files:
        path.write_bytes(_saved(Image.fromarray(_pixels(rng)), "PNG"))
    child = subprocess.Popen([*command(source, target), "--jobs", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not any(target.glob("*.png")):
        time.sleep(0.002)
    for path in files[count // 2 :]:
        path.unlink()
    said, errors = child.communicate()
    assert child.returncode in (0, 1), errors[-2000:]
    assert "Traceback" not in errors, errors[-2000:]
    records = [record for record in map(json.loads, said.splitlines()) if record["event"] == "image"]
    assert [Path(record["source"]) for record in records] == files
    assert all(record["status"] == "done" or record["reason"] for record in records)
    done = sum(record["status"] == "done" for record in records)
    assert len(outputs(target)) == done
    return done, count - done


def stress(folder: Path, good: int, bad: int, kills: int, seed: int = 0, say: Callable[[str], object] = print) -> None:
    """Raises ``AssertionError`` where anything was lost."""
    source, calm, stormy = folder / "photos", folder / "calm", folder / "stormy"
    wanted, unwanted = make(source, good, bad, seed)
    began = time.monotonic()
    records = finished(source, calm)
    length = time.monotonic() - began
    became = {Path(r["source"]).relative_to(source).as_posix(): r for r in records if r["event"] == "image"}
    failed = {name for name, r in became.items() if r["status"] == "failed"}
    assert {name for name, r in became.items() if r["status"] == "done"} == wanted
    assert failed == unwanted
    assert all(became[name]["reason"] for name in failed)
    undisturbed = outputs(calm)
    assert len(undisturbed) == len(wanted)
    say(f"undisturbed: {len(wanted)} done, {len(failed)} named, {length:.1f} s, {len(wanted) / length:.0f} images/s")

    done, gone = vanishing(folder, max(20, good // 10), seed)
    say(f"deleted meanwhile: {done} done, {gone} named")

    chance = random.Random(seed)
    for number in range(kills):
        count = round(len(wanted) * (number + chance.random()) / (kills + 1))
        running = killed(source, stormy, count, 0.1 * chance.random())
        state = outputs(stormy) if stormy.exists() else {}
        whole = {name: data for name, data in state.items() if TEMPORARY not in name}
        assert all(undisturbed[name] == data for name, data in whole.items())
        say(f"kill {number + 1}: {'killed' if running else 'had ended'} with {len(whole)} outputs, all whole")
    finished(source, stormy)
    assert outputs(stormy) == undisturbed
    assert [r for r in finished(source, stormy) if r.get("status") == "done"] == []
    say("one clean run later: the same files, byte for byte, and nothing else")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=2000)
    parser.add_argument("--bad", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        stress(Path(place), arguments.good, arguments.bad, arguments.kills, arguments.seed)
