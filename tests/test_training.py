"""Training: the losses are the paper's, a run learns, resumes exactly, and survives bad data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import LONG, PHOTOS, noise, write_photos
from PIL import Image

from carcli.errors import UsageError, WeightsError
from carcli.models.registry import build
from carcli.models.resampler_heads import ResamplerHeads, offset_distance, offset_regularisers, partial_tv
from carcli.ops.quantise import to_float, to_uint8
from carcli.rescale.rescaler import load
from carcli.runtime.host import host
from carcli.training import losses, recipe
from carcli.training import state as states
from carcli.training.loop import Run, Stopped, train
from carcli.training.objective import Objective, Terms
from carcli.weights import checkpoint
from carcli.weights.description import describe

TINY = """
[model]
family = "edsr"
scale = 2
down = { net = "base", features = 8, blocks = 1 }
up = { features = 8, blocks = 1, res_scale = 1.0, tail = "direct" }
[data]
patch = 8
batch = 2
[loss]
offset_distance = 0.001
partial_tv = 0.001
lr_guidance = 0.05
"""


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos", 12, 40, 48)


def tiny(**loss) -> recipe.Recipe:
    return recipe.change(recipe.parse(TINY, "tiny"), loss=loss)


def state(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def equal(a, b) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


def test_offset_distance_is_equation_9():
    h, v = torch.zeros(1, 9, 1, 2), torch.zeros(1, 9, 1, 2)
    h[0, 0, 0, 0], v[0, 0, 0, 0] = 0.3, 0.4  # length 0.5 at the corner tap, sqrt(2) from the centre
    assert float(offset_distance(h, v)) == pytest.approx(0.5 * math.sqrt(2) / 3 / 2, abs=1e-3)


def test_offset_distance_has_a_finite_slope_at_zero():
    h = torch.zeros(1, 9, 2, 2, requires_grad=True)
    offset_distance(h, torch.zeros(1, 9, 2, 2)).backward()
    assert bool(h.grad.isfinite().all())


def test_partial_tv_is_equation_10():
    kernels = torch.full((1, 1, 2, 2), 0.5)
    v = torch.tensor([[[[0.0, 0.3], [0.0, 0.0]]]])
    h = torch.tensor([[[[0.0, 0.0], [0.2, 0.0]]]])
    expected = (0.3 * 0.5 + 0.2 * 0.5) / 4  # vertical offsets along rows, horizontal ones along columns
    assert float(partial_tv(kernels, h, v)) == pytest.approx(expected)
    assert float(partial_tv(kernels, v, h)) == pytest.approx((0.2 + 0.3) * 0.5 / 4 - 0.0)


def test_regularisers_take_raw_heads():
    heads = ResamplerHeads(*(torch.randn(1, 49, 3, 3) for _ in range(3)))
    assert all(float(x) > 0 for x in offset_regularisers(heads, 2, "residual"))


def test_out_of_range_is_the_mean_excess():
    assert float(losses.out_of_range(torch.tensor([-0.5, 0.2, 1.0, 1.5]))) == pytest.approx(0.25)


def test_the_log_error_falls_as_the_mean_psnr_rises():
    target = torch.rand(3, 3, 8, 8)
    noise = torch.randn(3, 3, 8, 8)
    noise = noise / noise.square().flatten(1).mean(1).sqrt().view(3, 1, 1, 1)

    def both(sizes):
        image = target + noise * torch.tensor(sizes).view(3, 1, 1, 1)
        errors = (image - target).square().flatten(1).mean(1)
        return float(losses.log_error(image, target)), float((-10 * errors.log10()).mean())

    (a, psnr_a), (b, psnr_b) = both([0.02, 0.05, 0.1]), both([0.01, 0.05, 0.1])
    assert (a - b) * 10 / math.log(10) == pytest.approx(psnr_b - psnr_a, rel=0.02)
    assert float(losses.log_error(target, target)) == 0


def test_guidance_counts_by_its_share():
    made = tiny(guidance_rise=0.5)
    torch.manual_seed(0)
    objective = Objective(build("edsr", 2, {"down": made.model.down, "up": made.model.up}), made)
    hr = torch.rand(1, 3, 16, 16)
    none, some, all_of_it = (float(objective(hr, 1, share).loss.detach()) for share in (0.0, 0.1, 1.0))
    assert some - none == pytest.approx(0.1 * (all_of_it - none), rel=1e-3)
    assert all_of_it - none == pytest.approx(0.05 * float(objective(hr).lr_distance), rel=1e-3)


def test_nothing_is_the_best_before_guidance_has_risen(folder, tmp_path):
    made, best = tiny(guidance_rise=0.6), tmp_path / "run" / "best.safetensors"
    kept = []
    train(made, [folder], Run(tmp_path / "run", 1, steps=5, validations=5), lambda progress: kept.append(best.exists()))
    assert kept == [False, False, True, True, True]


@pytest.mark.parametrize("rounding", ["straight-through", "soft", "none"])
@pytest.mark.parametrize("reconstruction", ["l1", "l2", "log"])
def test_every_kind_of_loss_trains(folder, tmp_path, rounding, reconstruction):
    best = train(tiny(rounding=rounding, reconstruction=reconstruction), [folder], Run(tmp_path / "run", 1, steps=2))
    assert best.exists()


def test_a_run_learns_and_its_checkpoint_is_ready_for_use(tmp_path):
    seen = []
    made = recipe.change(tiny(), optimiser={"rate": 3e-3})
    best = train(made, [PHOTOS], Run(tmp_path / "run", 1, steps=60), seen.append)
    assert seen[-1].step == 60
    assert seen[-1].fidelity.hr > 15
    pair = load(str(best))
    photo = np.asarray(Image.open(PHOTOS / "cat.jpg"))
    assert pair.up(pair.down(photo), size=(451, 300)).shape == photo.shape
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [r["event"] for r in records] == ["start", *["validation"] * (len(records) - 1)]
    assert records[-1]["step"] == 60


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_cut_run_resumed_equals_the_uncut_run(folder, tmp_path, kind):
    made = recipe.change(tiny(), optimiser={"kind": kind})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(made, [folder], Run(whole, 1, steps=6))
    stop = RuntimeError("power cut")
    count = 0

    def after_two(_progress):
        nonlocal count
        count += 1
        if count == 2:
            raise stop

    with pytest.raises(RuntimeError, match="power cut"):
        train(made, [folder], Run(cut, 1, steps=6, validations=6), after_two)
    assert state(cut)["counters"]["step"] == 2
    train(made, [folder], Run(cut, 1, steps=6, resume=True))
    a, b = state(whole), state(cut)
    assert a["counters"]["step"] == b["counters"]["step"] == 6
    assert equal(a["model"], b["model"])
    assert equal(a["average"], b["average"])


def test_a_run_is_not_overwritten_by_accident(folder, tmp_path):
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1))
    with pytest.raises(UsageError, match="--resume"):
        train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1))


def test_a_damaged_state_cannot_be_resumed_and_says_so(folder, tmp_path):
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1))
    (tmp_path / "run" / "state.pt").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="cannot resume"):
        train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1, resume=True))


def test_a_run_starts_from_a_checkpoint(folder, tmp_path):
    best = train(tiny(), [folder], Run(tmp_path / "a", 1, steps=2))
    train(tiny(), [folder], Run(tmp_path / "b", 1, steps=1, init=str(best), learning_rate=1e-12))
    from carcli.weights import checkpoint

    started = checkpoint.read(best, describe(best))
    for name, tensor in started.up.state_dict().items():
        torch.testing.assert_close(state(tmp_path / "b")["model"][f"up.{name}"], tensor, atol=1e-6, rtol=0)


def test_non_finite_steps_are_skipped_and_counted(folder, tmp_path, monkeypatch):
    honest = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda *a: Terms(honest(*a).loss * math.nan, torch.zeros(())))
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=3))
    assert state(tmp_path / "run")["counters"]["skipped"] == 3
    assert all(bool(t.isfinite().all()) for t in state(tmp_path / "run")["model"].values())


def test_a_step_whose_gradient_alone_is_not_finite_is_skipped_too(folder, tmp_path, monkeypatch):
    honest = Objective.forward

    def endless_slope(objective, *given):
        terms = honest(objective, *given)
        return terms._replace(loss=terms.loss + (terms.loss * 0).sqrt())

    monkeypatch.setattr(Objective, "forward", endless_slope)
    seen = []
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=2), seen.append)
    assert state(tmp_path / "run")["counters"]["skipped"] == 2
    assert all(bool(t.isfinite().all()) for t in state(tmp_path / "run")["model"].values())


def test_a_rate_that_is_none_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="recipe tiny, optimiser: rate must be greater than 0, not -1"):
        train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1, learning_rate=-1.0))


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(folder, tmp_path):
    seen = []
    with pytest.raises(Stopped, match="--resume"):
        train(tiny(), [folder], Run(tmp_path / "run", 1, steps=6), seen.append, stop=lambda: len(seen) == 2)
    assert state(tmp_path / "run")["counters"]["step"] == 3
    train(tiny(), [folder], Run(tmp_path / "whole", 1, steps=6))
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=6, resume=True))
    assert equal(state(tmp_path / "run")["model"], state(tmp_path / "whole")["model"])


def test_a_run_is_not_resumed_with_another_recipe(folder, tmp_path):
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1))
    with pytest.raises(UsageError, match="another recipe"):
        train(tiny(lr_guidance=0.5), [folder], Run(tmp_path / "run", 1, steps=2, resume=True))


def test_bad_and_small_files_are_left_out_by_name(folder, tmp_path):
    (folder / "bad.jpg").write_bytes(b"junk")
    Image.fromarray(noise(4, 4)).save(folder / "small.png")
    skipped = {}
    train(tiny(), [folder], Run(tmp_path / "run", 1, steps=1), skip=lambda path, reason: skipped.update({path.name: reason}))
    assert set(skipped) == {"bad.jpg", "small.png"}
    assert "smaller than a patch" in skipped["small.png"]


def _recipes() -> Iterator[object]:
    """Every recipe; for long runs alone are the widest networks, the largest patches, and all but the first of a kind."""
    kinds = set()
    for name in recipe.names():
        made = recipe.load(name)
        kind = made.model.family, made.model.down.get("net"), made.loss.carrier, made.loss.reconstruction, made.optimiser.kind
        slow = kind in kinds or name in ("edsr-full-x4", "tad-recursive")
        kinds.add(kind)
        yield pytest.param(name, marks=[pytest.mark.slow, LONG] if slow else [])


@pytest.mark.parametrize("name", list(_recipes()))
def test_every_recipe_of_the_package_starts(name, tmp_path):
    made = recipe.load(name)
    assert len(recipe.purpose(name)) > 20
    small = recipe.change(made, data={"batch": 1, "patch": max(8, 2 ** (max(made.model.recursion) - 1))})
    if name == "edsr-full-x4":  # as wide as it is, but 30 blocks fewer
        small = recipe.change(small, model={"up": {**made.model.up, "blocks": 2}})
    init = f"edsr-base-x{made.model.scale}" if made.model.freeze != "none" else None
    train(small, [PHOTOS], Run(tmp_path / "run", 1, steps=1, init=init))


@LONG
@pytest.mark.parametrize("name", [n for n in recipe.names() if "full" not in n])
def test_two_minutes_of_every_recipe_learn(name, tmp_path):
    """As committed, from fresh weights where it can, on a handful of pictures: the loss is lower than after a tenth of the time.

    What is held out is one picture, unlike the three others: it says nothing yet.
    """
    made = recipe.load(name)
    init = f"edsr-base-x{made.model.scale}" if made.model.freeze != "none" else None
    seen = []
    train(made, [PHOTOS], Run(tmp_path / "run", 2, init=init, validations=10), seen.append)
    losses = [p.loss for p in seen if p.validated]
    assert losses[-1] < losses[0]
    assert seen[-1].rollbacks == 0


def test_recursion_applies_the_pair_so_often_and_rounds_once():
    two = recipe.change(tiny(), model={"recursion": (1, 2)}, loss=recipe.LossPart(out_of_range=0).model_dump())
    torch.manual_seed(0)
    pair = load("tad-x2", None, "cpu").networks
    objective = Objective(pair, two)
    hr = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        once, twice = (float(objective(hr, times).loss) for times in (1, 2))
        lr = to_float(to_uint8(pair.down(pair.down(hr))))
        assert twice == pytest.approx(float((pair.up(pair.up(lr)) - hr).abs().mean()), rel=1e-4)
    assert twice > once


def test_patches_must_be_large_enough_for_the_deepest_recursion(folder, tmp_path):
    deep = recipe.change(tiny(), model={"recursion": (1, 5)})
    with pytest.raises(UsageError, match="patches of 16 pixels cannot be made 32 times smaller"):
        train(deep, [folder], Run(tmp_path / "run", 1, steps=1))


def test_what_a_killed_run_was_writing_is_cleared_away(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for resume in (False, True):
        (run / f".carcli-{host()}-0.tmp").write_bytes(b"half")
        train(tiny(), [folder], Run(run, 1, steps=2, resume=resume))
        assert {path.name for path in run.iterdir()} == {"state.pt", "best.safetensors", "log.jsonl"}


def _file(path):
    path.write_bytes(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: _file(run), "run: .*name another --output"),
        (lambda run: (run / "log.jsonl").mkdir(parents=True), r"log\.jsonl: .*"),
        (lambda run: (run / "state.pt").mkdir(parents=True), r"state\.pt: cannot resume from it \(Is a directory\)"),
        (
            lambda run: (run / "best.safetensors").mkdir(parents=True),
            r"run.*: is no ordinary file; mend that and continue with --resume",
        ),
        (lambda run: (run.mkdir(), os.mkfifo(run / "state.pt")), r"state\.pt: cannot resume from it \(is no ordinary file"),
        (lambda run: (run.mkdir(), _file(run / "state.pt")), r"state\.pt: cannot resume from it, for it is no state"),
    ],
)
def test_a_run_folder_that_cannot_be_used_is_one_line(folder, tmp_path, spoil, message):
    spoil(tmp_path / "run")
    with pytest.raises(WeightsError, match=message) as caught:
        train(tiny(), [folder], Run(tmp_path / "run", 1, steps=2, resume=True))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("other", ["pipe", "device"])
def test_a_log_that_is_no_file_is_not_waited_for_and_the_run_is_kept(folder, tmp_path, other):
    run = tmp_path / "run"
    train(tiny(), [folder], Run(run, 1, steps=2))
    (run / "log.jsonl").unlink()
    if other == "pipe":
        os.mkfifo(run / "log.jsonl")
    else:
        (run / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"log\.jsonl: is no ordinary file; mend that and continue with --resume"):
        train(tiny(), [folder], Run(run, 1, steps=4, resume=True))
    (run / "log.jsonl").unlink()
    train(tiny(), [folder], Run(run, 1, steps=4, resume=True))
    assert state(run)["counters"]["step"] == 4


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_there_is_room_for(folder, tmp_path, monkeypatch):
    run, honest = tmp_path / "run", checkpoint.write

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device", str(run / "best.safetensors"))

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(WeightsError, match=r"best\.safetensors: No space left on device; mend that and continue with --resume"):
        train(tiny(), [folder], Run(run, 1, steps=3, validations=1))
    assert state(run)["counters"]["step"] == 3
    monkeypatch.setattr(checkpoint, "write", honest)
    assert train(tiny(), [folder], Run(run, 1, steps=5, resume=True)).exists()


def test_torchs_own_words_for_a_full_disk_are_the_systems(tmp_path, monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(states, "write_whole", lambda path, write: write(Full()))
    kept = SimpleNamespace(collect=lambda recipe: {"a": torch.zeros(9)})
    with pytest.raises(OSError, match="No space left"):
        states.save(tmp_path / "state.pt", kept, tiny())


@pytest.mark.parametrize("name", ["x" * 300, "gone", "file/photos"])
def test_photographs_that_cannot_be_read_are_one_line(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        train(tiny(), [tmp_path / name], Run(tmp_path / "run", 1, steps=1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300, "../recipes/tad-x2", "gone", "x" * 300 + ".toml", "."])
def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path, name):
    with pytest.raises(UsageError, match="recipe"):
        recipe.load(name)
