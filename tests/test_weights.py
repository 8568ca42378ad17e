"""Checkpoints and their manifest: read strictly, verified before use."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import seeded
from safetensors.torch import save_file

from carcli.errors import UsageError, WeightsError
from carcli.models.registry import build
from carcli.weights import checkpoint, manifest, store
from carcli.weights.choose import choose
from carcli.weights.description import Description, describe
from carcli.weights.loading import load
from tools.bundle import to_toml

TINY = Description("tiny", "edsr", 2, {"net": "base", "features": 8, "blocks": 1},
                   {"features": 8, "blocks": 1, "res_scale": 1.0, "tail": "direct"})  # fmt: skip


@pytest.fixture
def tiny(tmp_path):
    pair = [seeded(net) for net in build(TINY.family, TINY.scale, {"down": TINY.down, "up": TINY.up})]
    path = tmp_path / "tiny.safetensors"
    checkpoint.write(path, TINY, *pair, dtype=torch.float32)
    return path, pair


def test_a_checkpoint_describes_itself_and_comes_back(tiny):
    path, pair = tiny
    assert describe(path) == TINY
    for ours, theirs in zip(checkpoint.read(path, TINY), pair, strict=True):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert load(choose(str(path), None)).up.scale == 2


def test_a_checkpoint_serves_the_powers_of_its_scale_and_no_other(tiny):
    assert len(choose(str(tiny[0]), 8).steps) == 3
    for scale in (1, 3, 6):
        with pytest.raises(WeightsError, match=f"is for scale 2, or 4, 8… by being applied again and again; not for {scale}"):
            choose(str(tiny[0]), scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: replace(d, up={**d.up, "blocks": 2}), "is missing"),
        (lambda d: replace(d, up={**d.up, "features": 16}), "has shape"),
        (lambda d: replace(d, up={**d.up, "tail": "progressive"}), "missing"),
    ],
)
def test_tensors_that_do_not_fit_the_architecture_are_named(tiny, change, message):
    with pytest.raises(WeightsError, match=message):
        checkpoint.read(tiny[0], change(TINY))


def test_a_flipped_bit_is_noticed_before_use(tiny):
    path, _ = tiny
    choice = choose(str(path), None)
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="damaged"):
        load(choice)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x10" + b"\0" * 7 + b"{" * 16, (1 << 62).to_bytes(8, "little")])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, data):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        describe(path)


@pytest.mark.parametrize("metadata", [None, {"carcli": "{"}, {"carcli": "[]"}, {"carcli": json.dumps({"id": 1})},
                                      {"carcli": json.dumps({"id": "a", "family": "edsr", "scale": "4"})},
                                      {"carcli": json.dumps({"id": "a", "family": "edsr", "scale": 1 << 40})},
                                      {"carcli": json.dumps({"id": "a", "family": "edsr", "scale": 4, "down": []})},
                                      {"carcli": "[" * 100_000}])  # fmt: skip
def test_a_description_that_is_none_is_refused(tmp_path, metadata):
    path = tmp_path / "bare.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsError):
        describe(path)


def container(header, body=b"", length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ABOUT = {"carcli": json.dumps({"id": "a", "family": "edsr", "scale": 2, "down": dict(TINY.down), "up": dict(TINY.up)})}


def changed(data: bytes, change) -> bytes:
    """A checkpoint's bytes with another header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    return container(header, data[8 + length :])


@pytest.mark.parametrize(
    "data",
    [
        container({}, length=1 << 63),
        container({}, length=(1 << 64) - 1),
        container({}, length=3),
        container(b"[]"),
        container(b"[" * 100_000),
        container(b"\xff{}"),
        container({"x": tensor(), "__metadata__": {"carcli": 1}}, bytes(4)),
        container({"x": tensor(), "__metadata__": {"carcli": {"id": "a"}}}, bytes(4)),
        container({"x": {"dtype": "F32", "shape": "1"}}, bytes(4)),
        container({"x": tensor(shape=(-1,))}, bytes(4)),
        container({"x": tensor(shape=(True,))}, bytes(4)),
        container({"x": tensor(shape=(1,) * 99)}, bytes(4)),
        container({"x": tensor(shape=(10**4000,) * 8)}, bytes(4)),
        container(b'{"x": %s, "x": %s}' % ((json.dumps(tensor()).encode(),) * 2), bytes(4)),
        container(b'{"x": {"dtype": "F32", "shape": [1' + b"0" * 5000 + b'], "data_offsets": [0, 4]}}', bytes(4)),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_in_one_line_of_ours(tmp_path, data):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.safetensors: not a safetensors file, or a damaged one; copy") as caught:
        describe(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["up.head.0.bias"].update(data_offsets=[-4, 0]), "a damaged safetensors file"),
        (lambda h: h["up.head.0.bias"].update(data_offsets=[1 << 62, (1 << 62) + 32]), "a damaged safetensors file"),
        (lambda h: h["up.head.0.bias"].update(data_offsets=h["up.body.0.body.0.bias"]["data_offsets"]), "a damaged"),
        (lambda h: h["up.head.0.bias"].update(dtype="BOOL"), "'up.head.0.bias' is stored as 'BOOL', not as one of F16"),
        (lambda h: h["up.head.0.bias"].update(dtype="F8_E4M3"), "stored as 'F8_E4M3'"),
        (lambda h: h["up.head.0.bias"].update(dtype="C64"), "stored as 'C64'"),
        (lambda h: h["up.head.0.bias"].update(dtype="?" * 999), "stored as"),
        (lambda h: h["up.head.0.bias"].update(shape=[]), r"has shape \(\), the network wants \(8,\)"),
        (lambda h: h["up.head.0.bias"].update(shape=[0, 1 << 60]), "has shape"),
        (lambda h: h["up.head.0.bias"].update(shape=[1 << 60, 1 << 60]), "has shape"),
        (lambda h: h.pop("up.head.0.bias"), "'up.head.0.bias' is missing"),
        (lambda h: h.update(other=h.pop("up.head.0.bias")), "is missing"),
        (lambda h: h.update({"x" * 9999: tensor(offsets=(0, 0))}), "does not belong"),
    ],
)
def test_tensors_that_make_no_sense_are_refused_in_one_line_of_ours(tiny, change, message):
    path, _ = tiny
    path.write_bytes(changed(path.read_bytes(), change))
    with pytest.raises(WeightsError, match=rf"tiny\.safetensors.*{message}") as caught:
        checkpoint.read(path, TINY)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("cut", [4, 8, 100, -1, -1000])
def test_a_file_cut_anywhere_is_refused(tiny, cut):
    path, _ = tiny
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: .*damaged"):
        checkpoint.read(path, TINY)


WRONG = [10**6, 10**30, 0, -1, True, "64", [64], {"a": 1}, 64.0, None, float("nan")]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["features", "blocks", "fine_features", "fine_blocks", "basis", "cell", "res_scale", "guided"])
def test_an_architecture_argument_out_of_bounds_is_refused_before_anything_is_built(tmp_path, monkeypatch, name, value):
    nets = {"basis": "residual", "cell": "grey", "guided": "base"}
    half, family = ("down", "edsr") if name == "basis" else ("down", "tad") if name in ("cell", "guided") else ("up", "edsr")
    fine = {"blocks": 0, "fine_blocks": 0, "res_scale": 0}
    if (value is True and name == "guided") or (name in fine and value == 0 and value is not False):
        return
    if name == "res_scale" and (isinstance(value, float | int) and not isinstance(value, bool) and value == value):
        return  # any finite number scales
    part = {name: value} | ({"net": nets[name]} if name in nets else {"tail": "direct"})
    fields = {"id": "a", "family": family, "scale": 1 if name == "cell" else 2, half: part}
    path = tmp_path / "few.safetensors"
    path.write_bytes(container({"x": tensor(), "__metadata__": {"carcli": json.dumps(fields)}}, bytes(4)))
    monkeypatch.setattr(torch.nn.Conv2d, "__init__", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(WeightsError, match=rf"few\.safetensors: architecture argument {name} must be") as caught:
        load(choose(str(path), None))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [{"features": 1024, "blocks": 256}, {"net": ["a"]}, {"net": "x" * 60_000}, {"scale": 4},
                                  {"x" * 60_000: 1}])  # fmt: skip
def test_what_a_few_bytes_describe_takes_no_memory(tmp_path, monkeypatch, part):
    fields = {"id": "a", "family": "edsr", "scale": 2, "up": {"tail": "direct", **part}}
    path = tmp_path / "few.safetensors"
    path.write_bytes(container({"x": tensor(), "__metadata__": {"carcli": json.dumps(fields)}}, bytes(4)))
    monkeypatch.setattr(checkpoint, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(WeightsError, match=r"few\.safetensors") as caught:
        load(choose(str(path), None))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("field", ["scale", "down", "up", "family", "id", "x" * 50_000])
def test_what_is_wrong_with_a_description_is_said_in_few_words(tiny, field):
    path, _ = tiny
    fields = {"id": "a", "family": "edsr", "scale": 2, field: ["x" * 10_000]}
    path.write_bytes(changed(path.read_bytes(), lambda h: h.update(__metadata__={"carcli": json.dumps(fields)})))
    with pytest.raises(WeightsError, match="its carcli description: ") as caught:
        describe(path)
    assert len(str(caught.value)) < 400


def test_a_description_is_bounded(tiny, tmp_path):
    path, pair = tiny
    long = {"id": "a", "family": "x" * (1 << 16), "scale": 2}
    path.write_bytes(changed(path.read_bytes(), lambda h: h.update(__metadata__={"carcli": json.dumps(long)})))
    with pytest.raises(WeightsError, match="description is longer than 64 kB"):
        describe(path)
    with pytest.raises(WeightsError, match="description would be longer"):
        checkpoint.write(tmp_path / "x.safetensors", replace(TINY, up={"tail": "x" * (1 << 16)}), *pair)


@pytest.mark.parametrize("name", ["gone.safetensors", "folder.safetensors", "x" * 300 + ".safetensors", "a\0b.safetensors",
                                  "file/x.safetensors"])  # fmt: skip
def test_a_checkpoint_that_cannot_be_read_is_one_line(tmp_path, name):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"safetensors"):
        choose(str(tmp_path / name), None)


BUNDLED = [entry for entry in manifest.entries() if not entry.archive]


def test_the_manifest_is_true_of_every_bundled_file():
    assert {e.file for e in BUNDLED} == {p.name for p in manifest.BUNDLED.glob("*.safetensors")}
    for entry in BUNDLED:
        path = store.verified(entry)
        assert path == entry.bundled
        assert path.stat().st_size == entry.bytes
        description = describe(path)
        assert (description.id, description.family, description.scale) == (entry.id, entry.family, entry.scale)
        pair = checkpoint.read(path, Description.of(entry))
        assert sum(p.numel() for net in pair for p in net.parameters()) == entry.parameters
        assert entry.card is not None
        assert entry.figures
        assert entry.bytes < 6e6
        assert entry.parameters <= 3e6


def test_an_entry_is_written_as_it_is_read():
    text = "version = 1\n" + "\n".join(to_toml(e) for e in BUNDLED)
    assert manifest.parse(text, "again").checkpoints == tuple(BUNDLED)


GOOD = """version = 1
[[checkpoint]]
id = "a"
family = "edsr"
scale = 4
file = "a.safetensors"
sha256 = "{digest}"
bytes = 1
licence = "MIT"
parameters = 1
sources = ["https://example.org/a.safetensors"]

[[checkpoint]]
id = "b"
family = "edsr"
scale = 2
file = "b.safetensors"
licence = "MIT"
parameters = 1
archive = "box"
[checkpoint.card]
recipe = "r"
data = "d"
steps = 1
minutes = 1
device = "cpu"
[[checkpoint.figures]]
dataset = "set"
psnr_y = 30.1
ssim_y = 0.9
lr_psnr_y = 40
lr_psnr_rgb = 38.0
lr_bpp = 12.5
command = "carcli bench --dataset set --scale 2 --model b"

[[archive]]
id = "box"
file = "box.zip"
bytes = 100
sources = []

[[dataset]]
id = "set"
title = "Set"
licence = "research"
sources = ["https://example.org/set/"]
files = [
    {{ name = "one.png", bytes = 1, sha256 = "{digest}" }},
]
""".format(digest="0" * 64)


FAULTS = [
    ("version = 1", "version = 2", "version must be 1"),
    ("version = 1", "", "version is missing"),
    ("version = 1", "version = 1\nextra = 1", "unknown key 'extra'"),
    ("version = 1", "version = ", "Invalid value"),
    ('"edsr"\nscale = 2', '"edsr"\nscael = 2', r'checkpoint 2 \("b"\): unknown key \'scael\''),
    ('family = "edsr"\nscale = 2', "scale = 2", r'checkpoint 2 \("b"\): family is missing'),
    ('id = "b"', 'id = "a"', "2 checkpoints have the id 'a'"),
    ('id = "b"', 'id = "../b"', r'checkpoint 2 \("../b"\): id \'../b\' is malformed'),
    ("bytes = 1\nlicence", "licence", r'checkpoint 1 \("a"\): sha256 or bytes is missing'),
    ("bytes = 1\nlicence", 'bytes = "1"\nlicence', r'checkpoint 1 \("a"\): bytes must be a whole number'),
    ("scale = 2", "scale = -2", r'checkpoint 2 \("b"\): scale must be at least 1'),
    ("scale = 2", "scale = true", r'checkpoint 2 \("b"\): scale must be a whole number'),
    (f'sha256 = "{"0" * 64}"\nbytes', 'sha256 = "xyz"\nbytes', r'checkpoint 1 \("a"\): sha256 must be 64 lower-case'),
    (f'sha256 = "{"0" * 64}" }}', 'sha256 = "XYZ" }', r'dataset 1 \("set"\), files 1 \("one.png"\): sha256 must be 64'),
    ('"a.safetensors"', '"../a.safetensors"', r'checkpoint 1 \("a"\): file name \'../a.safetensors\' is malformed'),
    ('"one.png"', '".."', r'dataset 1 \("set"\), files 1 \("\.\."\): file name \'\.\.\' is malformed'),
    ("https://example.org/a", "http://example.org/a", r'checkpoint 1 \("a"\): source .* is not https'),
    ("sources = []", 'sources = ""', r'archive 1 \("box"\): sources must be a list'),
    ('archive = "box"', 'archive = "bag"', "checkpoint 'b': there is no archive 'bag'"),
    ("steps = 1", "stepz = 1", r'checkpoint 2 \("b"\), card: unknown key \'stepz\''),
    ("psnr_y = 30.1", 'psnr_y = "x"', r'checkpoint 2 \("b"\), figures 1: psnr_y must be a number'),
    ("psnr_y = 30.1", "psnr_y = nan", r'checkpoint 2 \("b"\), figures 1: psnr_y must be a finite number'),
    ("bytes = 100", "bytes = -1", r'archive 1 \("box"\): bytes must be at least 0'),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_a_manifest_that_is_wrong_names_the_table_and_the_key(old, new, message):
    assert manifest.parse(GOOD, "weights.toml").checkpoints[0].id == "a"
    assert old in GOOD
    with pytest.raises(WeightsError, match=rf"^weights\.toml(, |: ){message}") as caught:
        manifest.parse(GOOD.replace(old, new, 1), "weights.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../../x", "a b", "A", "", ".", "-x", "a/b", "a+b", "x" * 65, "ä"])
def test_an_id_that_leads_outside_is_refused_where_it_is_written_and_where_it_is_read(tiny, tmp_path, name):
    path, pair = tiny
    with pytest.raises(WeightsError, match="is malformed") as caught:
        checkpoint.write(tmp_path / "own.safetensors", replace(TINY, id=name), *pair)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "own.safetensors").exists()
    fields = {"id": name, "family": "edsr", "scale": 2, "down": {}, "up": {}}
    save_file({"x": torch.zeros(1)}, path, {"carcli": json.dumps(fields)})
    for reading in (lambda: describe(path), lambda: choose(str(path), None)):
        with pytest.raises(WeightsError, match=r"tiny\.safetensors, its carcli description: id .* is malformed"):
            reading()


@pytest.mark.parametrize("scale", [0, -1, 129, 1 << 40])
def test_a_scale_that_makes_no_sense_is_refused(tiny, scale):
    for model in ("edsr", "bicubic", "best", "tad-x2", str(tiny[0])):
        with pytest.raises(UsageError, match=f"scale must be a whole number from 1 to 128, not {scale}"):
            choose(model, scale)


def test_a_chain_that_no_tag_could_name_is_refused():
    with pytest.raises(WeightsError, match="joins 8 checkpoints; a chain has 7 at most"):
        choose("+".join(["tad-x2"] * 8), None)
    with pytest.raises(WeightsError, match="is for scale 256; the largest is 128"):
        choose("+".join(["tad-x4"] * 4), None)


def test_a_family_means_its_first_checkpoint_at_the_scale():
    for family, scale in (("edsr", 4), ("edsr", 2), ("tad", 2)):
        first = next(entry for entry in manifest.entries() if (entry.family, entry.scale) == (family, scale))
        assert choose(family, scale).description.id == first.id
    assert choose("edsr-base-x2", None).description.scale == 2
    assert choose("bicubic", 3).path is None
    with pytest.raises(WeightsError, match="it has 2, 4"):
        choose("edsr", 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value, tmp_path):
    """They would make black images without a word."""
    pair = build("edsr", 2, {"down": TINY.down, "up": TINY.up})
    with torch.no_grad():
        pair.up.head[0].weight[0, 0, 0, 0] = value
    path = tmp_path / "broken.safetensors"
    checkpoint.write(path, TINY, pair.down, pair.up)
    with pytest.raises(WeightsError, match=r"tensor 'head.0.weight' holds values that are not finite"):
        checkpoint.read(path, describe(path))
