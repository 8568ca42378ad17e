"""``carcli export``: files that compute what the networks do, on images of any size, and say what they are."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from carcli.cli.app import app
from carcli.errors import UsageError, WeightsError
from carcli.export.files import export
from carcli.export.graph import graph
from carcli.export.metadata import read
from carcli.models.base import Pair
from carcli.models.foreign import Foreign
from carcli.models.registry import build
from carcli.models.tempered import Tempered

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

LEVEL = 1 / 255
TINY = {"features": 4, "blocks": 1}


def tiny(family: str, scale: int, **architecture: object) -> Pair:
    torch.manual_seed(0)
    pair = build(family, scale, architecture)
    with torch.no_grad():
        for net in pair:
            net.eval().requires_grad_(False)
            for weights in net.parameters():  # nothing is left at its start of zero
                weights.add_(torch.randn_like(weights), alpha=0.02)
    return pair


def computed(data: bytes, image: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"image": image.numpy()})
    return result


NETWORKS = {
    "bicubic down x2": lambda: build("bicubic", 2, {}).down,
    "bicubic down x3": lambda: build("bicubic", 3, {}).down,
    "bicubic up x2": lambda: build("bicubic", 2, {}).up,
    "bicubic up x5": lambda: build("bicubic", 5, {}).up,
    "edsr up": lambda: tiny("edsr", 4, up={**TINY, "tail": "direct", "fine_features": 4, "fine_blocks": 1}).up,
    "edsr up progressive": lambda: tiny("edsr", 2, up=TINY).up,
    "tempered up": lambda: Tempered(tiny("edsr", 2, up={**TINY, "tail": "direct"}).up, 0.75),
    "tad down": lambda: tiny("tad", 4, down=TINY).down,
    "paper tad down": lambda: tiny("tad", 2, down={"net": "paper", **TINY}).down,
    "grey down": lambda: tiny("tad", 1, down={"net": "grey", **TINY}, up={"net": "grey", **TINY}).down,
    "grey up": lambda: tiny("tad", 1, down={"net": "grey", **TINY}, up={"net": "grey", **TINY}).up,
    "residual resampler down": lambda: (
        tiny("edsr", 2, down={"net": "residual", **TINY, "fine_features": 4, "fine_blocks": 1}).down
    ),
    "content adaptive down": lambda: tiny("edsr", 2, down={"net": "base", **TINY}).down,
    "content adaptive down, as published": lambda: tiny("edsr", 4, down={"net": "paper", **TINY}).down,
}


QUICK = ("bicubic down x3", "edsr up", "tad down", "grey up")  # tracing sizes that are free takes seconds a network


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS])
def test_a_graph_computes_what_the_network_does_at_any_size(name):
    network = NETWORKS[name]()
    data = graph(network)
    least = -(-network.minimum // network.multiple_of)
    for batch, rows, columns in ((1, 1, 1), (1, 2, 1), (1, 1, 3), (2, 5, 9)):
        height, width = (max(n, least) * network.multiple_of for n in (rows, columns))
        image = torch.rand(batch, network.channels_in, height, width)
        with torch.no_grad():
            expected = network(image).numpy()
        result = computed(data, image)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=LEVEL / 100)


@pytest.mark.slow
def test_a_network_that_works_by_channel_takes_any_number_of_them():
    image = torch.rand(1, 4, 6, 6)
    assert computed(graph(build("bicubic", 3, {}).down), image).shape == (1, 4, 2, 2)


@pytest.mark.slow
def test_a_network_of_other_makers_takes_one_image_at_a_time():
    network = Foreign(module := nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)), module, 2)
    image = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        np.testing.assert_allclose(computed(graph(network), image), network(image).numpy(), atol=LEVEL / 100)


@pytest.mark.slow
def test_half_precision_takes_half_the_bytes_and_keeps_what_must_be_exact():
    network = tiny("edsr", 4, up={"features": 32, "blocks": 2, "tail": "direct"}).up
    data = graph(network, "fp16")
    assert len(data) < 0.6 * len(graph(network))
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load_from_string(data).graph.initializer}
    assert kinds["head.0.weight"] == onnx.TensorProto.FLOAT
    assert kinds["body.0.body.0.weight"] == onnx.TensorProto.FLOAT16
    image = torch.rand(1, 3, 9, 7)
    result = computed(data, image)
    assert result.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(result, network(image).numpy(), atol=LEVEL)


@pytest.mark.slow
def test_a_caller_that_computes_in_half_precision_gets_the_same_graph():
    network = tiny("edsr", 2, up={**TINY, "tail": "direct"}).up
    with torch.autocast("cpu", torch.bfloat16):
        traced = graph(network)
    assert traced == graph(network)


@pytest.mark.slow
def test_only_operators_of_onnx_are_used():
    for network in tiny("edsr", 2, down={"net": "base", **TINY}, up={**TINY, "tail": "direct"}):
        model = onnx.load_from_string(graph(network))
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions


def test_both_halves_are_written_and_say_what_they_are(tmp_path):
    result = CliRunner().invoke(app, ["export", "tad-grey", "-o", str(tmp_path / "new"), "--json"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["half"] for line in lines] == ["down", "up"]
    for line in lines:
        assert line["event"] == "exported"
        said = read(tmp_path / "new" / f"{line['half']}.onnx")
        assert said == line["metadata"]
        assert (said["checkpoint"], said["scale"], said["multiple_of"]) == ("tad-grey", 1, 2)
        assert (said["channels_in"], said["channels_out"]) == ((3, 1) if said["half"] == "down" else (1, 3))
        assert said["tag"] == {"version": 2, "checkpoint": "tad-grey", "digest": said["digest"], "scale": 1}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["down.onnx", "up.onnx"]


@pytest.mark.slow
def test_what_only_enlarges_has_no_downscaler(tmp_path):
    (only,) = export("edsr-base-x2@0.5", tmp_path)
    assert (only.half, only.metadata["checkpoint"]) == ("up", "edsr-base-x2@0.5")


def test_files_that_are_there_stay(tmp_path):
    (tmp_path / "up.onnx").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"up\.onnx: is there already; add --overwrite"):
        export("bicubic", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["up.onnx"]
    assert [file.half for file in export("bicubic", tmp_path, overwrite=True)] == ["down", "up"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = CliRunner().invoke(app, ["export", "bicubic", "-o", str(tmp_path / "file")])
    assert result.exit_code != 0
    assert "cannot be written" in str(result.exception)


def test_a_file_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(WeightsError, match=r"a\.onnx: No such file"):
        read(path)
    for data in (b"", b"nonsense"):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="no network that carcli exported"):
            read(path)


@pytest.mark.slow
def test_several_threads_may_export_at_once():
    networks = [build("bicubic", scale, {}).up for scale in (2, 3)]
    with ThreadPoolExecutor(2) as threads:
        files = list(threads.map(graph, networks))
    assert files == [graph(network) for network in networks]
    assert logging.root.manager.disable == logging.NOTSET
