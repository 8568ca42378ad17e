"""The other ways to train: one half frozen (CAR's CAR‡ and bicubic guidance), from a checkpoint, in several processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from conftest import PHOTOS

from carcli.errors import UsageError, WeightsError
from carcli.training import recipe
from carcli.training.loop import Run, train
from carcli.training.start import networks
from carcli.weights.choose import choose
from carcli.weights.loading import load

CAR = """
[model]
family = "edsr"
scale = 2
down = { net = "base", features = 16, blocks = 1 }
up = { features = 16, blocks = 1, res_scale = 1.0, tail = "direct" }
[data]
patch = 8
batch = 4
"""
BICUBIC_GUIDED = CAR.replace('up = { features = 16, blocks = 1, res_scale = 1.0, tail = "direct" }', 'up = { net = "bicubic" }')
SUPER_RESOLUTION = CAR.replace('{ net = "base", features = 16, blocks = 1 }', '{ net = "bicubic" }')


def weights(folder, half):
    kept = torch.load(folder / "state.pt", weights_only=True)["model"]
    return {k: v for k, v in kept.items() if k.startswith(f"{half}.")}


def frozen(half):
    return recipe.change(recipe.parse(CAR, "car"), model={"freeze": half})


@pytest.fixture
def start(tmp_path):
    train(recipe.parse(CAR, "car"), [PHOTOS], Run(tmp_path / "start", 1, steps=3))
    return tmp_path / "start" / "best.safetensors"


@pytest.mark.parametrize(("half", "other"), [("down", "up"), ("up", "down")])
def test_a_frozen_half_keeps_its_weights_and_the_other_learns(start, tmp_path, half, other):
    train(frozen(half), [PHOTOS], Run(tmp_path / "run", 1, steps=4, init=str(start)))
    train(frozen(half), [PHOTOS], Run(tmp_path / "shorter", 1, steps=1, init=str(start)))
    a, b = (weights(tmp_path / n, half) for n in ("run", "shorter"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    a, b = (weights(tmp_path / n, other) for n in ("run", "shorter"))
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_a_frozen_half_must_come_from_somewhere():
    with pytest.raises(UsageError, match="--init"):
        train(frozen("down"), [PHOTOS], Run(PHOTOS / "never", 1, steps=1))


def test_another_upscaler_learns_on_a_frozen_downscaler(start, tmp_path):
    made = frozen("down")
    wider = recipe.change(made, model={"up": {**made.model.up, "blocks": 2}})
    train(wider, [PHOTOS], Run(tmp_path / "run", 1, steps=1, init=str(start)))
    from carcli.weights import checkpoint
    from carcli.weights.description import describe

    given = checkpoint.read(start, describe(start)).down.state_dict()
    assert all(torch.equal(v, given[k.removeprefix("down.")]) for k, v in weights(tmp_path / "run", "down").items())


def test_a_checkpoint_of_other_networks_is_refused(tmp_path, start):
    made = recipe.parse(CAR, "car")
    other = recipe.change(made, model={"down": {"net": "base", "features": 8}, "up": {**made.model.up, "features": 8}})
    with pytest.raises(WeightsError, match="neither of its networks"):
        train(other, [PHOTOS], Run(tmp_path / "run", 1, steps=1, init=str(start)))


@pytest.mark.parametrize("text", [BICUBIC_GUIDED, SUPER_RESOLUTION], ids=["bicubic-guided", "super-resolution"])
def test_a_half_may_be_bicubic_and_its_pair_is_ready_for_use(text, tmp_path, photo):
    from carcli.rescale.rescaler import load

    best = train(recipe.parse(text, "half"), [PHOTOS], Run(tmp_path / "run", 1, steps=3))
    pair = load(str(best))
    assert pair.up(pair.down(photo), size=(photo.shape[1], photo.shape[0])).shape == photo.shape


def test_bicubic_at_both_ends_leaves_nothing_to_train(tmp_path):
    both = BICUBIC_GUIDED.replace('{ net = "base", features = 16, blocks = 1 }', '{ net = "bicubic" }')
    with pytest.raises(UsageError, match="nothing to train"):
        train(recipe.parse(both, "none"), [PHOTOS], Run(tmp_path / "run", 1, steps=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_two_processes_train_as_one(tmp_path, kind):
    """``torchrun`` with two CPU processes gives one process's weights, up to rounding."""
    (tmp_path / "car.toml").write_text(CAR + f'[optimiser]\nkind = "{kind}"\n')
    arguments = ["-m", "carcli", "train", str(tmp_path / "car.toml"), str(PHOTOS), "--device", "cpu", "--steps", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])):
        command = [sys.executable, *launcher, *arguments, "-o", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("use it with") == 1
    one, two = (torch.load(tmp_path / n / "state.pt", weights_only=True)["model"] for n in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-4, rtol=0)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    from carcli.training import distributed as parallel

    monkeypatch.setattr(parallel, "join", lambda device: parallel.World(0, 3))
    monkeypatch.setattr(parallel.World, "leave", lambda self: None)
    with pytest.raises(UsageError, match="shared by 3 processes"):
        train(recipe.parse(CAR, "car"), [PHOTOS], Run(tmp_path / "run", 1, steps=1))


def test_a_deeper_network_starts_as_the_shallower_one(tmp_path):
    """Blocks beyond the checkpoint's begin as nothing: the networks compute the same, and then learn more."""
    shallow = recipe.parse(CAR, "shallow")
    best = train(shallow, [PHOTOS], Run(tmp_path / "shallow", 1, steps=2))
    model = shallow.model
    deep = recipe.change(shallow, model={"down": {**model.down, "blocks": 3}, "up": {**model.up, "blocks": 2}})
    pair, taken = networks(deep, str(best))
    assert taken == ("down", "up")
    hr = torch.rand(1, 3, 32, 48)
    old = load(choose(str(best), None))
    with torch.no_grad():
        assert torch.equal(pair.down(hr), old.down(hr))
        assert torch.equal(pair.up(hr), old.up(hr))
    assert sum(p.numel() for p in pair.up.parameters()) > sum(p.numel() for p in old.up.parameters())
    train(deep, [PHOTOS], Run(tmp_path / "deep", 1, steps=1, init=str(best)))


def test_a_shallower_or_wider_network_is_not_filled(start):
    model = recipe.parse(CAR, "car").model
    for up in ({**model.up, "blocks": 0}, {**model.up, "features": 32}):
        other = recipe.change(recipe.parse(CAR, "car"), model={"up": up})
        assert networks(other, str(start))[1] == ("down",)
