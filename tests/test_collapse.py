"""A collapsed run is noticed, goes back to its last good state with a lower rate, and recovers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import PHOTOS, TINY_TAD, write_photos

from carcli.errors import WeightsError
from carcli.training import recipe
from carcli.training.health import SETTLING, CollapseWatch
from carcli.training.loop import Run, train
from carcli.training.objective import Objective, Terms


def steady(watch: CollapseWatch, steps: int = 200, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        watch.see(0.02 * rng.lognormal(0, 0.4), 0.005 * rng.lognormal(0, 0.4))
        assert not watch.collapsed


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_run_is_no_collapse(seed):
    watch = CollapseWatch(2.0)
    steady(watch, 3000, seed)


def test_a_loss_far_above_its_level_is_a_collapse():
    watch = CollapseWatch(2.0)
    steady(watch)
    seen = 0
    while not watch.collapsed:
        watch.see(0.2, 0.005)
        seen += 1
    assert seen <= 5
    assert not watch.calm


def test_an_lr_that_leaves_bicubic_is_a_collapse():
    watch = CollapseWatch(2.0)
    steady(watch)
    for _ in range(30):
        watch.see(0.02, 0.1)
    assert watch.collapsed


def test_steps_that_are_not_finite_are_a_collapse_in_the_end():
    watch = CollapseWatch(2.0)
    for _ in range(9):
        watch.see(math.nan, 0.0)
        assert not watch.collapsed
        assert not watch.calm
    watch.see(math.nan, 0.0)
    assert watch.collapsed


def test_a_fresh_watch_waits():
    watch = CollapseWatch(2.0)
    for loss in [0.01] * 10 + [1.0] * (SETTLING - 10):
        watch.see(loss, 0.0)
        assert not watch.collapsed


def kick_at(step: int, monkeypatch) -> None:
    """The encoder is thrown far out of [0, 1] in that step, as in a run that once collapsed for good."""
    steps, honest = 0, Objective.forward

    def kick(objective, *given):
        nonlocal steps
        steps += 1
        if steps == step:
            with torch.no_grad():
                objective.down.tail.bias.add_(3.0)
        return honest(objective, *given)

    monkeypatch.setattr(Objective, "forward", kick)


def rollbacks(folder) -> list[dict]:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [r for r in log if r["event"] == "rollback"]


TINY = recipe.parse(TINY_TAD + "[optimiser]\nrate = 2e-3\n", "tiny")


def test_a_kicked_run_goes_back_to_its_last_good_state_and_on_at_half_the_rate(tmp_path, monkeypatch):
    kick_at(56, monkeypatch)
    seen = []
    photos = write_photos(tmp_path / "photos", 3, 40, 48)
    train(TINY, [photos], Run(tmp_path / "run", 1, steps=60, validations=6), seen.append)
    (back,) = rollbacks(tmp_path / "run")
    assert (back["step"], back["pace"]) == (50, 0.5)
    assert 56 <= back["collapsed_at"] <= 59
    assert [p.step for p in seen].count(51) == 2  # twice
    assert seen[-1].step == 60
    assert seen[-1].rollbacks == 1


@pytest.mark.slow
def test_a_kicked_run_recovers(tmp_path, monkeypatch):
    kick_at(150, monkeypatch)
    seen = []
    train(TINY, [PHOTOS], Run(tmp_path / "run", 1, steps=220, validations=11), seen.append)
    (back,) = rollbacks(tmp_path / "run")
    assert back["pace"] == 0.5
    assert 150 <= back["collapsed_at"] <= 155
    before = max(p.fidelity.hr for p in seen if p.validated and p.rollbacks == 0)
    assert seen[-1].rollbacks == 1
    assert seen[-1].fidelity.hr > before  # recovered, and learnt on
    assert seen[-1].fidelity.lr > 25


def test_a_run_that_always_collapses_ends_with_a_reason(tmp_path, monkeypatch):
    def hopeless(objective, *_):
        return Terms(sum(p.sum() for p in objective.parameters()) * math.nan, torch.zeros(()))

    monkeypatch.setattr(Objective, "forward", hopeless)
    with pytest.raises(WeightsError, match="lower the learning rate"):
        train(recipe.parse(TINY_TAD, "tiny"), [PHOTOS], Run(tmp_path / "run", 1, steps=500))
