"""Checkpoints and their manifest: read strictly, verified before use."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import seeded
from safetensors.torch import save_file

from carcli.errors import WeightsError
from carcli.models.registry import build
from carcli.weights import checkpoint, manifest, store
from carcli.weights.checkpoint import Description
from carcli.weights.choose import choose, load
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
    assert checkpoint.describe(path) == TINY
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
        checkpoint.describe(path)


@pytest.mark.parametrize("metadata", [None, {"carcli": "{"}, {"carcli": "[]"}, {"carcli": json.dumps({"id": 1})},
                                      {"carcli": json.dumps({"id": "a", "family": "edsr", "scale": "4"})}])  # fmt: skip
def test_a_description_that_is_none_is_refused(tmp_path, metadata):
    path = tmp_path / "bare.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsError):
        checkpoint.describe(path)


BUNDLED = [entry for entry in manifest.entries() if not entry.archive]


def test_the_manifest_is_true_of_every_bundled_file():
    assert {e.file for e in BUNDLED} == {p.name for p in (manifest.PACKAGE / "weights" / "bundled").glob("*.safetensors")}
    for entry in BUNDLED:
        path = store.verified(entry)
        assert path == entry.bundled
        assert path.stat().st_size == entry.bytes
        description = checkpoint.describe(path)
        assert (description.id, description.family, description.scale) == (entry.id, entry.family, entry.scale)
        pair = checkpoint.read(path, Description(entry.id, entry.family, entry.scale, entry.down, entry.up))
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
minutes = 1.0
device = "cpu"

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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "line 1: version must be 1"),
        ("version = 1", "version = 1\nextra = 1", "line 2: unknown key 'extra'"),
        ('family = "edsr"\nscale = 2', 'famly = "edsr"\nscale = 2', "line 15: unknown key 'famly'"),
        ("bytes = 1\n", "", "line 2: sha256 or bytes is missing"),
        ("bytes = 1\n", 'bytes = "1"\n', "line 8: bytes is not of type int"),
        (f'sha256 = "{"0" * 64}"\nbytes', 'sha256 = "xyz"\nbytes', "line 7: sha256 must be 64"),
        (f'sha256 = "{"0" * 64}" }}', 'sha256 = "XYZ" }', "line 40: sha256 must be 64"),
        ('"a.safetensors"', '"../a.safetensors"', "line 6: file '../a.safetensors' is malformed"),
        ('"one.png"', '".."', "line 40: name '..' is malformed"),
        ("https://example.org/a", "http://example.org/a", "line 11: source .* is not https"),
        ('id = "b"', 'id = "a"', "line 14: two entries have the id 'a'"),
        ('archive = "box"', 'archive = "bag"', "line 20: there is no archive 'bag'"),
        ("steps = 1", "stepz = 1", "line 24: unknown key 'stepz'"),
        ("bytes = 100", "bytes = -1", "line 31: bytes is negative"),
        ("version = 1", "version = ", "Invalid value|line 1"),
    ],
)
def test_a_manifest_that_is_wrong_names_the_line(old, new, message):
    assert manifest.parse(GOOD, "weights.toml").checkpoints[0].id == "a"
    assert old in GOOD
    with pytest.raises(WeightsError, match=message):
        manifest.parse(GOOD.replace(old, new, 1), "weights.toml")


def test_a_family_means_its_first_checkpoint_at_the_scale():
    assert choose("edsr", 4).description.id == "edsr-base-x4"
    assert choose("edsr", 2).description.id == "edsr-base-x2"
    assert choose("edsr-base-x2", None).description.scale == 2
    assert choose("bicubic", 3).path is None
    with pytest.raises(WeightsError, match="it has 2, 4"):
        choose("edsr", 3)
