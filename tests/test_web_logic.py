"""What the browser's page computes, run by Node beside what carcli computes: the same tags, levels, tiles and sizes."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pngs
import pytest
from conftest import PHOTOS
from PIL import Image

from carcli.errors import ImageError
from carcli.images import tag as tags
from carcli.images import xmp
from carcli.images.alpha import filled
from carcli.images.depth import to_8_bit
from carcli.models.base import Network
from carcli.ops.resize import resize
from carcli.rescale import tiling
from carcli.web.site import write_site

NODE = shutil.which("node")
METADATA = {
    "checkpoint": "tad-x4",
    "digest": "0" * 64,
    "scale": 4,
    "multiple_of": 1,
    "minimum": 1,
    "halo": 37,
    "tile": 512,
    "channels_in": 3,
    "channels_out": 3,
}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tag_cases() -> list[dict[str, Any]]:
    good = {"checkpoint": "tad-x4", "digest": "a" * 64, "scale": 4, "width": 13, "height": 9, "version": 1}
    other = {**good, "version": 2, "lr_width": 5, "lr_height": 3, "resize": "dct", "grey": True}
    odd = [{**good, name: value} for name in good for value in (None, 0, -1, 1.5, True, "x y", 1 << 40, [], {})]
    odd += [{**other, name: value} for name in ("lr_width", "lr_height", "resize") for value in (None, 0, 14, "cubic")]
    texts = [json.dumps(fields) for fields in (good, other, {**good, "checkpoint": "a+b"}, {**good, "digest": ""}, *odd)]
    texts += ["", "{", "[]", "null", "7", " " * 5000 + json.dumps(good)]
    cases = []
    for case in texts:
        for size in ((4, 3), (5, 3)):
            try:
                fields = tags.parse(case, size).fields()
            except ImageError:
                fields = None
            cases.append({"text": case, "size": size, "fields": fields})
    return cases


def xmp_cases() -> list[dict[str, Any]]:
    ours = {"tag": '{"a":"<&\'>"}', "channels": "1"}
    packet = xmp.with_properties(None, ours)
    element = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{xmp.RDF}"><rdf:Description xmlns:q="{xmp.NAMESPACE}">'
        "<q:tag>{&quot;a&quot;:&#49;}</q:tag></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    packets = [packet, element, xmp.PACKET, b"", b"<!DOCTYPE x>" + packet, packet + b" " * xmp.LARGEST]
    cases = []
    for data in packets:
        try:
            properties = xmp.properties(data)
        except xmp.DamagedXmp:
            properties = None
        cases.append({"xmp": text(data), "properties": properties})
    return cases


def png_cases() -> list[dict[str, Any]]:
    photo = Image.open(PHOTOS / "eyes.png").convert("RGB").crop((0, 0, 37, 23))
    alpha = photo.convert("RGBA")
    alpha.putalpha(photo.convert("L"))
    palette = photo.quantize(13)
    keyed = photo.copy()
    keyed.info["transparency"] = photo.getpixel((3, 4))
    images = {"rgb": photo, "alpha": alpha, "grey": photo.convert("L"), "grey alpha": alpha.convert("LA"), "keyed": keyed}
    images |= {
        "palette": palette,
        "bits": photo.convert("1"),
        "pixel": photo.crop((0, 0, 1, 1)),
        "line": photo.crop((0, 0, 37, 1)),
    }
    cases = []
    for name, image in images.items():
        file = io.BytesIO()
        image.save(file, "PNG", **({"transparency": image.info["transparency"]} if "transparency" in image.info else {}))
        mode = {"L": "L", "1": "L", "LA": "LA", "RGBA": "RGBA"}.get(image.mode, "RGBA" if name == "keyed" else "RGB")
        levels = np.asarray(Image.open(file).convert(mode)).reshape(image.height, image.width, -1)
        channels = 1 if mode[0] == "L" else 3
        kept = text(levels[..., channels:].tobytes()) if levels.shape[2] > channels else None
        case = {"name": name, "file": text(file.getvalue()), "pixels": text(levels[..., :channels].tobytes()), "alpha": kept}
        cases.append({**case, "channels": channels, "width": image.width, "height": image.height})
    return [*cases, interlaced(np.asarray(photo)), deep()]


def interlaced(pixels: np.ndarray) -> dict[str, Any]:
    """A PNG that comes in seven passes, which Pillow does not write."""
    height, width = pixels.shape[:2]
    rows = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx])
    plain = pngs.png(rows, width, height, 8, 2)
    header = pngs.chunk(b"IHDR", plain[16:28] + b"\1")
    file = pngs.SIGNATURE + header + plain[33:]
    assert (np.asarray(Image.open(io.BytesIO(file))) == pixels).all()
    case = {"name": "interlaced", "file": text(file), "pixels": text(pixels.tobytes()), "alpha": None}
    return {**case, "channels": 3, "width": width, "height": height}


def deep() -> dict[str, Any]:
    """A grey PNG of 16 bits, of which one level is transparent."""
    levels = (np.arange(63, dtype=np.uint32) * 1039 % 65536).astype(np.uint16).reshape(7, 9)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    file = pngs.png(rows, 9, 7, 16, 0, transparent=int(levels[2, 3]).to_bytes(2, "big"))
    alpha = np.where(levels == levels[2, 3], 0, 255).astype(np.uint8)
    case = {"name": "deep", "file": text(file), "pixels": text(to_8_bit(levels).tobytes()), "alpha": text(alpha.tobytes())}
    return {**case, "channels": 1, "width": 9, "height": 7}


def tile_cases() -> list[dict[str, Any]]:
    cases = []
    grids = (((53, 31), 16, 5, 1), ((7, 5), 512, 37, 1), ((1, 1), 16, 4, 2), ((33, 17), 16, 4, 2), ((9, 4), 4, None, 4))
    for size, tile, halo, multiple in grids:
        network = Network(4)
        network.halo, network.multiple_of = halo, multiple
        image = (np.arange(size[0] * size[1]) % 251).astype(np.uint8).reshape(size[1], size[0], 1)
        grid = list(tiling.tiles(image, network, tile, down=False))
        sums = [int(tiling.cut(image, rows, columns).sum()) for rows, columns in grid]
        model = {"halo": halo, "multiple_of": multiple, "minimum": 1}
        cases.append({"size": size, "tile": tile, "model": model, "grid": grid, "inputs": sums})
    return cases


def resized_cases() -> list[dict[str, Any]]:
    cases = []
    for kernel in ("dct", "bicubic", "lanczos"):
        for size, to in (((12, 7), (9, 11)), ((13, 8), (26, 5)), ((1, 3), (4, 1)), ((30, 28), (17, 28))):
            plane = ((np.arange(size[0] * size[1]) * 37 % 101) / 100).astype(np.float32).reshape(size[1], size[0], 1)
            cases.append({"kernel": kernel, "size": size, "to": to, "values": resize(plane, to, kernel).ravel().tolist()})
    return cases


def filled_cases() -> list[dict[str, Any]]:
    cases = []
    for seed, (width, height) in enumerate(((9, 6), (1, 1), (5, 1), (16, 16))):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        alpha = rng.choice(np.uint8([0, 0, 0, 1, 255]), (height, width, 1))
        case = {"size": (width, height), "pixels": pixels.ravel().tolist(), "alpha": alpha.ravel().tolist()}
        cases.append({**case, "filled": filled(pixels, alpha, seen=1).ravel().tolist()})
    return cases


@pytest.fixture
def page(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    graph = onnx.helper.make_graph([], "nothing", [], [])
    write_site(onnx.helper.make_model(graph).SerializeToString(), METADATA, tmp_path / "page")
    return tmp_path / "page"


@pytest.mark.skipif(NODE is None, reason="needs node on the path")
def test_the_page_computes_what_carcli_does(page, tmp_path):
    cases = {"tags": tag_cases(), "xmp": xmp_cases(), "pngs": png_cases(), "tiles": tile_cases()}
    cases |= {"resized": resized_cases(), "filled": filled_cases()}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    environment = {**os.environ, "PAGE": str(page), "CASES": str(tmp_path / "cases.json")}
    command = [NODE, "--test", Path(__file__).with_name("page.test.mjs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_holds_the_page_its_model_and_what_it_needs_from_npm(page):
    model, package = (json.loads((page / name).read_text()) for name in ("model.json", "package.json"))
    assert model == {**METADATA, "file": "up.onnx", "ordinary": False}
    assert list(package["dependencies"]) == ["onnxruntime-web"]
    assert (page / "slider.js").read_bytes() == (Path(tags.__file__).parents[1] / "pages" / "slider.js").read_bytes()
    for file in page.glob("*.js"):
        assert "import" not in file.read_text() or "from 'http" not in file.read_text()  # nothing is fetched from elsewhere


def test_weights_are_stored_in_half_precision_and_computed_with_in_full():
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    from carcli.web.halved import halved

    rng = np.random.default_rng(0)
    weights = {
        "exact": rng.standard_normal((64, 64)).astype(np.float16).astype(np.float32),
        "small": rng.standard_normal((1, 64)).astype(np.float32),
        "huge": np.full((64, 64), 1e9, np.float32),
    }
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    kind = onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["x", "exact"], ["y"]), helper.make_node("Add", ["y", "small"], ["z"])]
    nodes.append(helper.make_node("MatMul", ["z", "huge"], ["w"]))
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    ends = [[helper.make_tensor_value_info(name, kind, [1, 64])] for name in "xw"]
    graph = helper.make_graph(nodes, "g", *ends, tensors)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    small = halved(whole)
    stored = {each.name: each.data_type for each in onnx.load_model_from_string(small).graph.initializer}
    assert stored == {"exact.half": onnx.TensorProto.FLOAT16, "small": kind, "huge": kind}
    x = {"x": rng.standard_normal((1, 64)).astype(np.float32)}
    results = [runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, x)[0] for data in (whole, small)]
    np.testing.assert_array_equal(*results)
