"""How much of this machine the networks and the pipeline use: ``python -m carcli.bench.speed networks|batch|memory``.

``networks``: for every pair, megapixels of HR a second down and up, and the multiplications that
makes as a fraction of what the fastest of several 3x3 convolutions of 64 channels reaches here.

``batch``: seconds of whole batches, files to files, against those of the networks alone.

``memory``: the largest resident memory of ``carcli down`` and ``up`` on large pictures.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carcli.images.picture import Pixels
from carcli.rescale.rescaler import Rescaler, load
from carcli.runtime.device import autocast
from carcli.runtime.threads import streams

SIDE = 1536  # HR pixels of the picture that networks are timed on
SIDES = (64, 96, 128, 192, 256, 384)  # pixels that convolutions are timed on: within caches, and beyond
BATCH, BATCH_SIZE = 8, (1600, 1200)


def _best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def peak_convolution(device: torch.device, precision: str, repeats: int = 5) -> float:
    """Multiplications (and as many additions) a second of 3x3 convolutions of 64 channels, over as many pixels as suits best."""
    weight = torch.rand(64, 64, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    reached = []
    for side in SIDES:
        x = torch.rand(1, 64, side, side, device=device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(device, precision):
            seconds = _best(partial(F.conv2d, x, weight, padding=1), repeats)
        reached.append(9 * 64 * 64 * side**2 / seconds)
    return max(reached)


@contextmanager
def _counted(*nets: nn.Module) -> Iterator[list[int]]:
    """Collect the multiplications of every convolution."""
    count: list[int] = []

    def hook(layer: nn.Conv2d, _: tuple[Tensor, ...], out: Tensor) -> None:
        count.append(out[:, 0].numel() * layer.weight.numel())

    found = [m for net in nets for m in net.modules() if isinstance(m, nn.Conv2d)]
    handles = [layer.register_forward_hook(hook) for layer in found]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def photograph(height: int, width: int) -> Pixels:
    """Smooth random pixels (H, W, 3): as large as a photograph, and about as hard to compress."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    rows = np.arange(height) // 8
    made = coarse[rows][:, np.arange(width) // 8]
    noise = rng.integers(0, 16, (min(height, 512), min(width, 512), 3), dtype=np.uint8)
    made += np.tile(noise, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    return made


def networks(pair: Rescaler, peak: float, repeats: int = 3) -> dict[str, Any]:
    """Megapixels of HR a second each way, and the fraction of ``peak`` that the convolutions make."""
    hr = photograph(SIDE, SIDE)
    lr = pair.down(hr)
    found: dict[str, Any] = {"model": pair.id, "scale": pair.scale}
    for name, run in (("down", lambda: pair.down(hr)), ("up", lambda: pair.up(lr))):
        with _counted(*pair.networks) as count:
            run()
        seconds = _best(run, repeats)
        found[f"{name}_megapixels_per_second"] = hr.shape[0] * hr.shape[1] / 1e6 / seconds
        found[f"{name}_of_peak"] = sum(count) / seconds / peak
    return found


def batch(model: str, scale: int, device: str, workers: int, level: int) -> dict[str, Any]:
    """A batch of files, and the networks alone on the same pictures."""
    from PIL import Image

    from carcli.batch import tasks
    from carcli.batch.pipeline import Pace, Settings
    from carcli.batch.plan import plan
    from carcli.images import codec

    pair = load(model, scale, device)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "hr").mkdir()
        for i in range(BATCH):
            Image.fromarray(np.roll(photograph(BATCH_SIZE[1], BATCH_SIZE[0]), 97 * i, 1)).save(
                folder / "hr" / f"{i}.jpg", quality=92
            )
        found: dict[str, Any] = {"model": pair.id, "workers": workers, "megapixels": BATCH * BATCH_SIZE[0] * BATCH_SIZE[1] / 1e6}
        for verb, source, target in (("down", "hr", "lr"), ("up", "lr", "sr")):
            pictures = [codec.read(p) for p in sorted((folder / source).iterdir()) if p.suffix in (".jpg", ".png")]
            one = pair.down_picture if verb == "down" else pair.up_picture
            one(pictures[0])
            began = time.perf_counter()
            for picture in pictures:
                one(picture)
            alone = time.perf_counter() - began
            del pictures
            work = partial(tasks.downscale, pair) if verb == "down" else _restored(pair)
            works = [work] * streams(pair.device)
            pace = Pace()
            began = time.perf_counter()
            jobs = plan([folder / source], folder / target)
            results = list(tasks.run(jobs, works, Settings(workers=workers, compression=level), pace=pace))
            seconds = time.perf_counter() - began
            assert all(r.status == "done" for r in results), results
            found |= {f"{verb}_seconds": seconds, f"{verb}_networks_alone": alone, f"{verb}_of_networks": alone / seconds}
            found[f"{verb}_stages"] = {k: round(v, 2) for k, v in pace.seconds.items()}
    return found


def _restored(pair: Rescaler) -> Any:
    return lambda picture: (pair.up_picture(picture), pair.id, ())


PEAK_OF_CHILD = """
import resource, sys
sys.argv = ["carcli", *sys.argv[1:]]
from carcli.cli import app
try:
    app.main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024), file=sys.stderr)
"""


def memory(megapixels: int, model: str, scale: int, precision: str = "fp32", pictures: int = 1) -> dict[str, Any]:
    """Bytes of resident memory at most, of ``down`` and ``up`` as programs of their own, and the bound they are held to.

    The bound: 12 bytes a pixel of the pictures in flight, beside 1.2 GB.
    """
    from PIL import Image

    from carcli.batch.pipeline import HELD, Settings
    from carcli.images.formats import MAX_PIXELS

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(megapixels * 1e6 / width)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "hr").mkdir()
        Image.fromarray(photograph(height, width)).save(folder / "hr" / "0.jpg", quality=90)
        for i in range(1, pictures):
            (folder / "hr" / f"{i}.jpg").hardlink_to(folder / "hr" / "0.jpg")
        found: dict[str, Any] = {"megapixels": width * height / 1e6, "pictures": pictures, "model": model}
        found["bound"] = 1.2e9 + HELD * width * height * min(pictures, Settings().in_flight)
        common = ["--device", "cpu", "--precision", precision, "--quiet", "--png-level", "1"]
        for verb, arguments in (
            ("down", [str(folder / "hr"), "--model", model, "--scale", str(scale), "-o", str(folder / "lr")]),
            ("up", [str(folder / "lr"), "-o", str(folder / "sr")]),
        ):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", PEAK_OF_CHILD, verb, *arguments, *common], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"carcli {verb} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
            found |= {f"{verb}_bytes": int(done.stderr.split()[-1]), f"{verb}_seconds": time.perf_counter() - began}
    return found


def show(record: dict[str, Any]) -> None:
    """One JSON object a line, with figures that a person can read."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in record.items()}), flush=True)


def peaks(device: torch.device, precision: str) -> float:
    """The median of three measurements of the peak."""
    return statistics.median(peak_convolution(device, precision) for _ in range(3))
