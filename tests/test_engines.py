"""Other engines than torch: the same images within one 8-bit level, the same tags, and ``auto`` told as what it became."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import LONG, PHOTOS
from PIL import Image

import carcli
from carcli.batch import Down, Up, run
from carcli.engines import computing as engines
from carcli.engines.computing import Computing, computing
from carcli.engines.elsewhere import Elsewhere
from carcli.engines.names import check_backend, is_installed
from carcli.errors import UsageError
from carcli.models.registry import build
from carcli.rescale.rescaler import load_networks
from carcli.weights import store

CPU = torch.device("cpu")
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"{name} is not installed"))
    for name in ("onnx", "openvino")
]


def levels(a: np.ndarray, b: np.ndarray) -> int:
    """By how much 8-bit images differ at most."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_an_image_is_within_one_level_of_torchs_whole_and_in_tiles(backend, photo):
    here, there = carcli.load("tad-x4", device="cpu"), carcli.load("tad-x4", backend=backend)
    small = here.down(photo)
    restored = here.up(small)
    for tile in (None, 16):
        assert levels(there.down(photo, tile=tile), small) <= 1
        assert levels(there.up(small, tile=tile), restored) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("edsr-x4-v3", marks=LONG),
        pytest.param("edsr-base-x2", marks=LONG),
        "tad-grey",
        pytest.param("tad-paper-x2", marks=LONG),
        pytest.param("tad-x2+tad-x4", marks=LONG),
        "bicubic",
    ],
)
def test_so_are_those_of_every_family(backend, model, photo):
    here, there = carcli.load(model, device="cpu"), carcli.load(model, backend=backend)
    for image in (photo, photo[:1, :1], photo[:37, :5], photo[..., 0]):
        small = here.down(image, keep_grey=False)
        assert levels(there.down(image, keep_grey=False), small) <= 1
        assert levels(there.up(small), here.up(small)) <= 1


SET5 = ["edsr-x4-v3", "edsr-x2", "edsr-base-x4", "tad-x4", "tad-x2", "tad-grey", "tad-jpeg-x4"]


@LONG
@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("model", SET5)
def test_so_is_every_image_of_set5(backend, model, benchmarks):
    here, there = carcli.load(model, device="cpu"), carcli.load(model, backend=backend)
    images = sorted((benchmarks / "set5").glob("*.png"))
    assert len(images) == 5
    for path in images:
        image = np.asarray(Image.open(path).convert("RGB"))
        small = here.down(image, keep_grey=False)
        restored = here.up(small)
        for tile in (None, 48):
            assert levels(there.down(image, tile=tile, keep_grey=False), small) <= 1
            assert levels(there.up(small, tile=tile), restored) <= 1


@pytest.mark.parametrize("backend", OTHERS)
def test_the_same_bytes_come_of_any_number_of_threads(backend, photo, set_threads):
    pair = carcli.load("tad-x4", backend=backend)
    results = []
    for threads in (1, 2):
        set_threads(threads)
        results.append(pair.up(photo[:40, :60]).tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("backend", OTHERS)
def test_a_batch_keeps_tags_and_says_how_it_was_computed(backend, tmp_path):
    (small,) = run(Down(model="tad", backend=backend), [PHOTOS / "eyes.png"], tmp_path / "lr")
    assert (small.precision, small.backend) == ("fp32", backend)
    (restored,) = run(Up(backend=backend), [small.target], tmp_path / "sr")
    assert restored.output_size == (221, 161)
    line = json.loads((tmp_path / "sr" / ".carcli-journal.jsonl").read_text().splitlines()[-1])
    assert (line["precision"], line["backend"]) == ("fp32", backend)
    assert line["settings"] == f"as tagged xas tagged {backend} fp32"


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS[:1])
def test_a_graph_is_kept_and_a_damaged_one_is_made_again(backend, photo, monkeypatch, tmp_path):
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path))
    first = carcli.load("bicubic", backend=backend).up(photo)
    (kept,) = (store.cache_folder() / "graphs").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + b"?")
    assert np.array_equal(carcli.load("bicubic", backend=backend).up(photo), first)
    assert kept.read_bytes() == whole
    monkeypatch.setattr("carcli.engines.graphs.graph", lambda *_: pytest.fail("it was made again"))
    assert np.array_equal(carcli.load("bicubic", backend=backend).up(photo), first)


@pytest.mark.parametrize("backend", OTHERS[:1])
def test_what_cannot_be_a_graph_is_refused(backend, photo):
    for model in ("lanczos", "l0"):
        with pytest.raises(UsageError, match=f"{model} is computed by torch alone, not by backend {backend}"):
            carcli.load(model, backend=backend)


def test_left_to_carcli_it_is_computed_by_torch(monkeypatch, photo):
    monkeypatch.setattr(engines, "is_installed", lambda backend: True)
    for model in ("lanczos", "l0"):
        assert carcli.load(model, backend="auto", precision="fp32", device="cpu").backend == "torch"


@pytest.mark.parametrize("backend", OTHERS[:1])
def test_what_proves_to_be_no_graph_is_a_line_for_each_image_and_tried_once(backend, monkeypatch, tmp_path):
    tried = []

    def no_graph(*_: object) -> bytes:
        tried.append(1)
        raise ValueError("no such operator")

    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("carcli.engines.graphs.graph", no_graph)
    for name in ("a.png", "b.png"):
        Image.open(PHOTOS / "eyes.png").crop((0, 0, 24, 16)).save(tmp_path / name)
    results = list(run(Down(model="bicubic", backend=backend), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "lr"))
    assert {r.reason for r in results} == {"bicubic is computed by torch alone (no such operator); leave --backend out"}
    assert len(tried) == 1


def test_a_network_elsewhere_is_one_like_any_other():
    network = build("tad", 4, {}).up
    elsewhere = Elsewhere(None, network, "up", Computing("onnx", "fp32"))
    for name in ("scale", "halo", "tile", "multiple_of", "minimum", "channels_in", "channels_out"):
        assert getattr(elsewhere, name) == getattr(network, name)
    assert elsewhere.channels_of(1) == network.channels_of(1)
    assert not elsewhere.differentiable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("caffe",), "unknown backend 'caffe'; use auto, torch, onnx, openvino"),
        (("onnx", "bf16"), "backend onnx computes in fp32 or fp16, not bf16"),
        (("openvino", "auto", "cuda:1"), "backend openvino computes on the CPU, not on cuda:1"),
        (("torch", "fp8"), "unknown precision 'fp8'"),
    ],
)
def test_what_no_engine_does_is_a_line(arguments, message):
    with pytest.raises(UsageError, match=message):
        check_backend(*arguments)


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("carcli.engines.names.is_installed", lambda backend: False)
    with pytest.raises(UsageError, match=r"pip install 'carcli\[onnx\]'"):
        carcli.load("tad-x4", backend="onnx")


@pytest.mark.parametrize("task", [Up(backend="onnx"), Down(backend="onnx"), Down(backend="onnx", scale=2.5)])
@pytest.mark.skipif(not is_installed("onnx"), reason="onnx is not installed")
def test_a_device_that_an_engine_does_not_have_is_refused(task):
    with pytest.raises(UsageError, match="on the CPU, not on cuda"):
        task.load("cuda")


class TestAuto:
    """What ``auto`` becomes."""

    @pytest.mark.parametrize(
        ("request_", "half", "bf16", "installed", "becomes"),
        [
            (("torch", "auto"), "up", True, True, "bf16"),
            (("torch", "auto"), "up", False, True, "fp32"),
            (("auto", "auto"), "up", True, True, "bf16"),
            (("auto", "auto"), "up", False, True, "openvino fp32"),
            (("auto", "auto"), "up", False, False, "fp32"),
            (("auto", "fp32"), "up", True, True, "openvino fp32"),
            (("auto", "fp16"), "up", True, True, "fp16"),
            (("onnx", "auto"), "up", True, True, "onnx fp32"),
            (("auto", "auto"), "down", True, True, "fp32"),
            (("auto", "bf16"), "down", True, True, "bf16"),
            (("openvino", "auto"), "down", True, True, "openvino fp32"),
        ],
    )
    def test_it_is_decided_by_the_machine(self, monkeypatch, request_, half, bf16, installed, becomes):
        monkeypatch.setattr(engines, "has_bf16", lambda device: bf16)
        monkeypatch.setattr(engines, "is_installed", lambda backend: installed)
        assert str(computing(*request_, half, CPU)) == becomes

    @pytest.mark.parametrize(
        ("model", "becomes"),
        [("tad-x4", "bf16"), ("edsr-x2", "bf16"), ("tad-grey", "bf16"), ("tad-paper-x2", "fp32"), ("bicubic", "fp32")],
    )
    def test_and_by_what_half_precision_costs_the_pair(self, monkeypatch, model, becomes):
        monkeypatch.setattr(engines, "has_bf16", lambda device: True)
        pair = load_networks(model, None, "cpu", "auto")
        assert {half: str(how) for half, how in pair.computing.items()} == {"down": "fp32", "up": becomes}
        assert pair.precision == becomes

    def test_down_makes_the_same_bytes_as_ever(self, photo):
        fixed, left = (carcli.load("tad-x4", device="cpu", precision=name, backend="auto") for name in ("fp32", "auto"))
        assert np.array_equal(left.down(photo), fixed.down(photo))

    @pytest.mark.parametrize(("bf16", "settings", "precision"), [(True, "auto bf16", "bf16"), (False, "fp32", "fp32")])
    def test_a_batch_tells_what_it_became(self, monkeypatch, tmp_path, bf16, settings, precision):
        monkeypatch.setattr(engines, "has_bf16", lambda device: bf16)
        Image.open(PHOTOS / "eyes.png").crop((0, 0, 24, 16)).save(tmp_path / "a.png")
        (small,) = run(Down(model="tad-x4", precision="auto"), [tmp_path / "a.png"], tmp_path / "lr")
        (restored,) = run(Up(precision="auto"), [small.target], tmp_path / "sr")
        assert (small.precision, restored.precision, restored.backend) == ("fp32", precision, "torch")
        line = json.loads((tmp_path / "sr" / ".carcli-journal.jsonl").read_text().splitlines()[-1])
        assert line["settings"] == f"as tagged xas tagged {settings}"
