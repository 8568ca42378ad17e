"""Refinement: never worse, better with time, deterministic, without seams, for every family, honest about what it cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from carcli.batch.workers import Downscaler
from carcli.errors import Abandoned, UsageError
from carcli.images.picture import Picture
from carcli.rescale import refine as module
from carcli.rescale.refine import ANSWERS, refine, squared_error, windows
from carcli.rescale.refinement import METHODS, Refinement
from carcli.rescale.rescaler import load
from carcli.rescale.turn import Cancel, Turn


@pytest.fixture(scope="module")
def tad():
    return load("tad", 4, "cpu")


@pytest.fixture(scope="module")
def bicubic():
    return load("bicubic", 4, "cpu")


@pytest.fixture
def crop(photo):
    return photo[20:116, 40:136]


@pytest.mark.parametrize("model", ["edsr", "tad", "bicubic", "lanczos"])
def test_every_family_gains_or_stays(model, crop):
    pair = load(model, 4, "cpu")
    lr = pair.down(crop)
    if model == "lanczos":  # computed by Pillow: there is no gradient to follow
        with pytest.raises(UsageError, match="cannot be refined"):
            refine(pair, crop, lr, Refinement(4))
        return
    found = refine(pair, crop, lr, Refinement(12))
    assert found.gain > 0.1
    assert found.lr.shape == lr.shape
    assert found.lr.dtype == np.uint8
    assert found.after == pytest.approx(squared_error(pair, crop, found.lr))


def test_more_iterations_restore_better(tad, crop):
    lr = tad.down(crop)
    gains = [refine(tad, crop, lr, Refinement(n)).gain for n in (3, 10, 40)]
    assert gains[0] < gains[1] < gains[2]


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 9), method=st.sampled_from(METHODS))
def test_no_image_of_any_size_gets_worse(height, width, seed, method):
    pair = load("bicubic", 4, "cpu")
    image = noise(height, width, seed=seed)
    lr = pair.down(image)
    found = refine(pair, image, lr, Refinement(6, method))
    assert squared_error(pair, image, found.lr) <= squared_error(pair, image, lr)
    assert found.gain >= 0


def test_the_same_bytes_every_time(tad, crop):
    lr = tad.down(crop)
    for method in METHODS:
        a, b = (refine(tad, crop, lr, Refinement(4, method, seed=3)).lr for _ in range(2))
        assert np.array_equal(a, b)


@pytest.mark.slow
def test_fast_beats_hcd_at_equal_cost(tad, crop):
    lr = tad.down(crop)
    fast, hcd = (refine(tad, crop, lr, Refinement(20, method)).gain for method in METHODS)
    assert fast > hcd > 0


def test_a_changed_seed_changes_hcd_alone(tad, crop):
    lr = tad.down(crop)
    a, b = (refine(tad, crop, lr, Refinement(4, "hcd", seed=s)).lr for s in (0, 1))
    assert not np.array_equal(a, b)


def test_the_weight_holds_the_lr_near_the_unrefined(bicubic, crop):
    lr = bicubic.down(crop)

    def moved(weight):
        found = refine(bicubic, crop, lr, Refinement(12, lr_weight=weight)).lr
        return float(np.mean((found.astype(float) - lr) ** 2))

    assert moved(1.0) < moved(0.1) < moved(0.0)


def test_windows_cover_every_lr_pixel_once_and_see_enough():
    for h, w in [(1, 1), (224, 224), (225, 10), (500, 333)]:
        seen = np.zeros((h, w), int)
        for rows, columns in windows(h, w, halo=37):
            seen[rows.start : rows.stop, columns.start : columns.stop] += 1
            assert rows.first == max(0, rows.start - ANSWERS - 37)
            assert columns.last == min(w, columns.stop + ANSWERS + 37)
        assert (seen == 1).all()


def test_windows_are_as_good_as_the_whole_and_leave_no_seam(bicubic, photo, monkeypatch):
    image = np.tile(photo, (2, 2, 1))[:256, :256]
    lr = bicubic.down(image)
    whole = refine(bicubic, image, lr, Refinement(20))
    monkeypatch.setattr(module, "UNDIVIDED", 0)
    monkeypatch.setattr(module, "CORE", 24)
    tiled = refine(bicubic, image, lr, Refinement(20))
    assert tiled.gain == pytest.approx(whole.gain, abs=0.02)
    error = np.abs(bicubic.restore(tiled.lr).astype(float) - image).mean((1, 2))
    seams = np.concatenate([error[96 * i - 4 : 96 * i + 4] for i in (1, 2)])
    assert seams.mean() < 1.15 * error.mean()


def test_no_more_than_a_window_is_ever_differentiated(photo, monkeypatch):
    """What bounds the memory: the largest input of the upscaler while gradients are kept."""
    pair = load("bicubic", 4, "cpu")
    monkeypatch.setattr(module, "UNDIVIDED", 0)
    monkeypatch.setattr(module, "CORE", 24)
    seen = []
    honest = pair.networks.up.forward

    def spy(lr):
        if torch.is_grad_enabled():
            seen.append(lr.shape[2:])
        return honest(lr)

    monkeypatch.setattr(pair.networks.up, "forward", spy)
    image = np.tile(photo, (3, 3, 1))[:400, :500]
    lr = pair.down(image)
    refine(pair, image, lr, Refinement(1))
    assert len(seen) == 2 * 5 * 6
    assert max(max(shape) for shape in seen) <= 24 + 2 * (ANSWERS + pair.networks.up.halo)


def test_an_image_that_is_no_multiple_of_the_scale(tad, photo):
    odd = photo[:61, :50]
    lr = tad.down(odd)
    found = refine(tad, odd, lr, Refinement(6))
    assert found.lr.shape == lr.shape == (16, 13, 3)
    assert found.gain > 0


def test_grey_stays_grey(tad, photo):
    grey = photo[:64, :64].mean(2, keepdims=True).round().astype(np.uint8)
    lr = tad.down(grey)
    found = refine(tad, grey, lr, Refinement(8))
    assert found.lr.shape == (16, 16, 1)
    assert found.gain > 0


def test_an_observer_hears_the_gain_and_may_stop(tad, crop):
    heard = []

    def observe(done, gain):
        heard.append((done, gain))
        return len(heard) == 5

    found = refine(tad, crop, tad.down(crop), Refinement(50), observe)
    assert len(heard) == 5
    assert [d for d, _ in heard] == sorted(d for d, _ in heard)
    assert found.gain >= 0


def test_the_weights_are_left_alone(tad, crop):
    before = {k: v.clone() for k, v in tad.networks.up.state_dict().items()}
    refine(tad, crop, tad.down(crop), Refinement(2))
    assert all(torch.equal(v, before[k]) for k, v in tad.networks.up.state_dict().items())
    assert all(p.grad is None for p in tad.networks.up.parameters())


def test_the_tag_and_the_note_say_what_was_done(tad, crop):
    output = Downscaler(tad, Refinement(4))(Picture(crop))
    lr, (note,) = output.picture, output.notes
    assert lr.tag.refinement.startswith("fast 4 +")
    assert lr.tag.refinement.endswith(" dB")
    assert "LR against bicubic" in note
    assert "bytes" in note
    assert tad.up_picture(lr).pixels.shape == crop.shape


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"method": "slow"}, {"lr_weight": -1}, {"epsilon": 0}, {"alpha": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        Refinement(**{"iterations": 5, **wrong})


@pytest.mark.parametrize("method", METHODS)
def test_a_refinement_that_nobody_waits_for_is_given_up(bicubic, crop, method):
    """Before the next iteration of either descent."""
    lr, cancel, steps = bicubic.down(crop), Cancel(), []

    def cancelled():
        steps.append(1)
        if len(steps) == 10:
            cancel.request()
        return cancel()

    with pytest.raises(Abandoned):
        refine(bicubic, crop, lr, Refinement(1000, method), turn=Turn(cancelled=cancelled))
    assert len(steps) == 10
