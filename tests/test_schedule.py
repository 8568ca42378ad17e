"""A schedule falls as its recipe says, a budget ends a run and parts it into stages, a speed is of late."""

from __future__ import annotations

import pytest
from conftest import TINY_TAD

from carcli.training import recipe
from carcli.training.schedule import Budget, Schedule, Speed
from carcli.training.state import Counters


def test_the_rate_rises_and_falls():
    tiny = recipe.parse(TINY_TAD, "tiny")
    rate_at, optimiser = Schedule(tiny).rate_at, tiny.optimiser
    assert rate_at(0.0) < rate_at(0.01) < rate_at(optimiser.warmup) == pytest.approx(1, abs=1e-6)
    assert rate_at(0.5) < 1
    assert rate_at(1.0) == pytest.approx(optimiser.final)


def test_a_budget_is_of_steps_or_else_of_minutes():
    counters = Counters(step=30, elapsed=90.0)
    assert Budget(minutes=3).done(counters) == 0.5
    assert Budget(minutes=3, steps=40).done(counters) == 0.75
    assert Budget(minutes=3, steps=40).done(Counters(step=41)) > 1


def test_a_budget_has_a_stage_for_every_validation():
    budget = Budget(minutes=1, steps=8, validations=4)
    assert [budget.stage(Counters(step=step)) for step in range(9)] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert Budget(minutes=1, steps=8).stage(Counters(step=8)) == 4  # at least four
    assert Budget(minutes=60).stage(Counters(elapsed=3600)) == 24  # every 150 seconds


def test_speed_is_of_the_latest_half_minute_and_unknown_at_first():
    speed = Speed(Counters())
    speed.see(Counters(step=9, elapsed=0.9))
    assert speed.steps_per_second == 0
    speed.see(Counters(step=20, elapsed=2.0))
    assert speed.steps_per_second == 10
    speed.see(Counters(step=60, elapsed=30.0))
    assert speed.steps_per_second == 2
    speed.see(Counters(step=160, elapsed=40.0))
    assert speed.steps_per_second == 10


def test_guidance_rises_from_a_hundredth_or_is_there_at_once():
    plain = recipe.parse(TINY_TAD, "tiny")
    rising = Schedule(recipe.change(plain, loss={"guidance_rise": 0.5}))
    assert [rising.guidance_at(done) for done in (0, 0.25, 0.5, 1)] == pytest.approx([0.01, 0.1, 1, 1])
    assert Schedule(plain).guidance_at(0) == 1
