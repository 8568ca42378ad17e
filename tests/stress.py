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
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

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
    "misnamed": (".bmp", lambda r: _saved(Image.fromarray(_pixels(r)), "PNG")),
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(_: Rng) -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


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
    for name, place in (("lost.png", folder / "nowhere"), ("circle", folder)):
        (folder / name).symlink_to(place)
    os.mkfifo(folder / "pipe.png")
    names[1].update(("lost.png", "pipe.png"))
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
