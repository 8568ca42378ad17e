"""What 8-bit weights and activations would cost, and bring: an upscaler quantised by NNCF and computed by OpenVINO.

python tools/int8.py calibration/ test/ --model edsr-x4-v2

Photographs of the first folder settle the ranges of the activations; never give it those of the second, on which seconds and
dB are measured. Needs ``pip install nncf`` beside ``carcli[onnx,openvino]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from carcli.export.files import graphs
from carcli.images import codec, metrics
from carcli.images.formats import SUFFIXES
from carcli.ops.quantise import to_float, to_uint8
from carcli.rescale.rescaler import Rescaler, load

KINDS = ("mixed", "performance")  # NNCF's presets: activations asymmetric, or symmetric
FULL = {"INFERENCE_PRECISION_HINT": "f32"}


def photographs(folder: Path, most: int) -> list[Path]:
    """The first images of a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:most]


def trips(pair: Rescaler, paths: list[Path]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each photograph, cropped to whole LR pixels, and its LR image: (H, W, 3), (h, w, 3) uint8."""
    for path in paths:
        hr = codec.read(path).pixels
        height, width = (n // pair.scale * pair.scale for n in hr.shape[:2])
        if hr.shape[2] == 3:
            yield hr[:height, :width], pair.down(hr[:height, :width])


def planes(lr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w, 3) uint8 → (1, 3, h, w) float32 in [0, 1]."""
    return to_float(torch.from_numpy(lr).permute(2, 0, 1)[None]).contiguous().numpy()


def main() -> None:
    import nncf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--model", default="edsr-x4-v2")
    parser.add_argument("--images", type=int, default=48, help="of the first folder")
    asked = parser.parse_args()

    pair = load(asked.model, device="cpu")
    ((_, _, data),) = graphs(pair.choice, "fp32", ("up",))
    core = openvino.Core()
    plain = core.read_model(data)
    samples = [planes(lr) for _, lr in trips(pair, photographs(asked.calibration, asked.images))]
    tests = list(trips(pair, photographs(asked.test, 1000)))
    ways = {"fp32": (plain, FULL), "bf16": (plain, {"INFERENCE_PRECISION_HINT": "bf16"})}
    for kind in KINDS:
        preset = nncf.QuantizationPreset(kind)
        ways[f"int8 {kind}"] = (nncf.quantize(plain.clone(), nncf.Dataset(samples), preset=preset), FULL)
    print(f"| {pair.id}, up | PSNR-Y, dB | s a megapixel of HR |\n|---|---|---|")
    for name, (model, settings) in ways.items():
        compiled = core.compile_model(model, "CPU", settings)
        scores, seconds, pixels = [], 0.0, 0
        for hr, lr in tests:
            x = planes(lr)
            began = time.perf_counter()
            result = compiled([x])[0]
            seconds, pixels = seconds + time.perf_counter() - began, pixels + hr.shape[0] * hr.shape[1]
            restored = to_uint8(torch.from_numpy(result)[0].permute(1, 2, 0)).numpy()
            scores.append(metrics.psnr_y(hr, restored, pair.scale))
        print(f"| {name} | {np.mean(scores):.2f} | {seconds / pixels * 1e6:.2f} |", flush=True)


if __name__ == "__main__":
    main()
