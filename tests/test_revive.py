"""Silent channels are found, come back without changing what the network computes, and learn again."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import PHOTOS, TINY_TAD
from torch import nn

from carcli.models.layers import ResidualBlock
from carcli.training import recipe
from carcli.training.health import revive, silent_channels
from carcli.training.loop import Run, Stopped, train

SILENT = [1, 4, 5]


@pytest.fixture
def body():
    torch.manual_seed(0)
    blocks = nn.Sequential(ResidualBlock(8), ResidualBlock(8))
    with torch.no_grad():
        blocks[0].body[0].weight[SILENT] *= 0.1
        blocks[0].body[0].bias[SILENT] = -50
    return blocks


@pytest.fixture
def inputs():
    return [torch.randn(2, 8, 16, 16) for _ in range(3)]


def test_exactly_the_silent_channels_are_found(body, inputs):
    found = silent_channels(body, inputs)
    assert {name: channels.tolist() for name, channels in found.items()} == {"0": SILENT}


def test_one_input_that_makes_a_channel_fire_is_enough(body, inputs):
    loud = [*inputs, torch.full((1, 8, 16, 16), 1e4), torch.full((1, 8, 16, 16), -1e4)]
    assert not set(silent_channels(body, loud)) & {"0"}


def test_frozen_blocks_are_left_alone(body, inputs):
    body[0].requires_grad_(False)
    assert not silent_channels(body, inputs)


def test_reviving_changes_nothing_that_is_computed(body, inputs):
    before = [body(x) for x in inputs]
    assert revive(body, silent_channels(body, inputs), seed=3) == len(SILENT)
    assert all(torch.equal(body(x), y) for x, y in zip(inputs, before, strict=True))


def test_revived_channels_fire_and_learn(body, inputs):
    assert body[0].body[2].weight.grad is None
    body(inputs[0]).square().mean().backward()
    assert not body[0].body[2].weight.grad[:, SILENT].any()
    revive(body, silent_channels(body, inputs), seed=3)
    assert not silent_channels(body, inputs)
    body.zero_grad()
    body(inputs[0]).square().mean().backward()
    assert body[0].body[2].weight.grad[:, SILENT].flatten(1).any(1).all()


def test_a_seed_draws_the_same_weights(body, inputs):
    silent = silent_channels(body, inputs)
    drawn = []
    for seed in (1, 1, 2):
        revive(body, silent, seed)
        drawn.append(body[0].body[0].weight[SILENT].clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


TINY = TINY_TAD + "[optimiser]\nrevive = 0.6\n"


def revivals(folder) -> list[int]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [r["step"] for r in records if r["event"] == "revival"]


def test_a_run_revives_until_the_fraction_asked_for(tmp_path):
    tiny = recipe.parse(TINY, "tiny")
    train(tiny, [PHOTOS], Run(tmp_path / "run", 1, steps=8, validations=4))
    assert revivals(tmp_path / "run") == [0, 2, 4]
    plain = recipe.change(tiny, optimiser={"revive": 0.0})
    train(plain, [PHOTOS], Run(tmp_path / "plain", 1, steps=2))
    assert revivals(tmp_path / "plain") == []


def test_a_reviving_run_cut_and_resumed_equals_the_uncut_run(tmp_path, monkeypatch):
    monkeypatch.setattr("carcli.training.trainer.silent_channels", lambda *_: {"up.body.0": torch.tensor([2, 3])})
    tiny = recipe.parse(TINY, "tiny")
    steps = iter([False] * 3 + [True])
    train(tiny, [PHOTOS], Run(tmp_path / "whole", 1, steps=8, validations=4))
    with pytest.raises(Stopped):
        train(tiny, [PHOTOS], Run(tmp_path / "cut", 1, steps=8, validations=4), stop=lambda: next(steps))
    train(tiny, [PHOTOS], Run(tmp_path / "cut", 1, steps=8, validations=4, resume=True))
    whole, cut = (torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("whole", "cut"))
    assert all(torch.equal(whole["model"][name], cut["model"][name]) for name in whole["model"])
