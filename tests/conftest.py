"""Shared fixtures: photographs of the repository's own, small random pairs, and files of every odd kind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # the GPU kernels then run, slowly, on the CPU
from buckets import Server, s3_server
from hypothesis import settings
from PIL import Image

PHOTOS = Path(__file__).parent / "photos"
LONG = pytest.mark.skipif("CARCLI_LONG" not in os.environ, reason="takes a minute or more: set CARCLI_LONG to run it")

settings.register_profile("carcli", database=None)  # a checkout may be read-only
settings.load_profile("carcli")

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and so would all that tests start


def _beside(name: str, variable: str) -> Path | None:
    """Where material that is not ours to publish lies: in a folder the user names, or in one beside the checkout."""
    if variable in os.environ:
        named = Path(os.environ[variable])
        return named if (named / name).exists() else None
    found = sorted(Path(__file__).resolve().parents[2].glob(f"*/*/{name}"))
    return found[0].parent if found else None


@pytest.fixture(autouse=True, scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["CARCLI_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch has; after the test it has as many as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def reference() -> Path:
    """The authors' golden vectors, where they are at hand."""
    folder = _beside("official_golden_x4.npz", "CARCLI_REFERENCE")
    if folder is None:
        pytest.skip("the authors' golden vectors are not on this machine (CARCLI_REFERENCE names their folder)")
    return folder


@pytest.fixture
def benchmarks() -> Path:
    """Set5, Set14, ..., where they are at hand."""
    folder = _beside("set5", "CARCLI_BENCHMARKS")
    if folder is None:
        pytest.skip("the benchmark images are not on this machine (CARCLI_BENCHMARKS names their folder)")
    return folder


@pytest.fixture
def photo() -> np.ndarray:
    """A real photograph, (161, 221, 3) uint8: odd in both directions."""
    return np.asarray(Image.open(PHOTOS / "eyes.png").convert("RGB"))


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all: whatever speaks to it keeps its connections."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(s3_address: Server) -> Server:
    """A real S3 server, with an empty bucket called ``photos``; nothing is in its way yet."""
    s3_address.empty()
    return s3_address


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random pixels (H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 3 + 2, width // 3 + 2, channels), dtype=np.uint8)
    y, x = np.arange(height) // 3, np.arange(width) // 3
    return coarse[y][:, x]


def seeded(net: torch.nn.Module, gain: float = 1.2) -> torch.nn.Module:
    """Fill a network with the weights that the golden vectors were made with.

    Key i in sorted order: RandomState(i) normals times sqrt(gain / fan_in), biases times 0.02;
    keys with ``mean`` keep their values.
    """
    state = net.state_dict()
    for i, name in enumerate(sorted(state)):
        if "mean" in name:
            continue
        shape = tuple(state[name].shape)
        values = np.random.RandomState(i).standard_normal(shape)
        values *= 0.02 if name.endswith("bias") else np.sqrt(gain / np.prod(shape[1:]))
        state[name] = torch.from_numpy(values.astype(np.float32))
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def write_photos(folder: Path, count: int, height: int, width: int) -> Path:
    """Fill a new folder with ``count`` small PNGs."""
    folder.mkdir()
    for i in range(count):
        Image.fromarray(noise(height, width, seed=i)).save(folder / f"{i}.png")
    return folder


# The smallest pair of the tad family that still learns, as a recipe.
TINY_TAD = """
[model]
family = "tad"
scale = 2
down = { features = 16, blocks = 1 }
up = { features = 16, blocks = 1, res_scale = 1.0, tail = "direct" }
[data]
patch = 12
batch = 4
[loss]
lr_guidance = 0.05
"""
