"""Many images at once: everything overlaps, nothing is lost, and no result depends on how it was run."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, noise, write_photos
from PIL import Image
from workers import Copy

from carcli.batch.job import Job
from carcli.batch.observer import Observer
from carcli.batch.options import Options
from carcli.batch.pace import Pace
from carcli.batch.pipeline import HELD, Pipeline
from carcli.batch.plan import plan
from carcli.batch.workers import Downscaler, Upscaler
from carcli.errors import Abandoned
from carcli.images import codec, policy
from carcli.images.codec import Header
from carcli.images.picture import Picture
from carcli.models.bicubic import BicubicDown
from carcli.rescale import tiling
from carcli.rescale.rescaler import load
from carcli.rescale.resolve import Request
from carcli.rescale.turn import ALONE, Cancel, Turn
from carcli.runtime.files import TEMPORARY
from carcli.runtime.threads import streams


@pytest.fixture(scope="module")
def shrink():
    return Downscaler(load("bicubic", 4, "cpu"))


@pytest.fixture
def jobs(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    jobs = []
    for i in range(24):
        path = folder / f"{i:02}.png"
        if i % 6 == 5:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(noise(20 + i, 40, seed=i)).save(path)
        jobs.append(Job(path, tmp_path / "lr" / path.name))
    return jobs


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("devices", [1, 3])
def test_results_come_in_order_and_do_not_depend_on_how_many_work(jobs, tmp_path, shrink, workers, devices):
    results = list(Pipeline([shrink] * devices, Options(workers=workers)).run(jobs))
    assert [r.source for r in results] == [j.source for j in jobs]
    assert [r.status for r in results] == ["failed" if i % 6 == 5 else "done" for i in range(24)]
    for job, result in zip(jobs, results, strict=True):
        if result.status == "done":
            picture = codec.read(job.source)
            assert np.array_equal(codec.read(job.target).pixels, shrink(picture).picture.pixels)
    assert not [p for p in contents(tmp_path / "lr") if p.startswith(TEMPORARY)]


def test_stages_overlap(jobs):
    """While one image is computed, others are decoded and encoded."""
    seen, most, lock = Counter(), Counter(), threading.Lock()

    def work(picture, turn):
        with lock:
            seen["computing"] += 1
            most["computing"] = max(most["computing"], seen["computing"])
        time.sleep(0.02)
        with lock:
            seen["computing"] -= 1

    honest = codec.read

    def read(path):
        with lock:
            most["read while computing"] += seen["computing"]
        return honest(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "read", read)
        list(Pipeline([Copy(work)], Options(workers=3)).run(jobs))
    assert most["computing"] == 1  # a device has one thread
    assert most["read while computing"] > 3


def test_streams_divide_the_cores_among_the_images_that_are_left(jobs, set_threads):
    """Two side by side have half of the threads each; one that is alone has all of them, and so has the caller afterwards."""
    set_threads(4)
    seen, both = [], threading.Barrier(2)

    def work(picture, turn):
        both.wait(10)  # two are computed at once
        alone(picture, turn)
        both.wait(10)  # and neither is done before the other has looked

    def alone(picture, turn):
        turn.begin()
        seen.append(torch.get_num_threads())

    assert len(list(Pipeline([Copy(work)] * 2, Options(workers=4)).run(jobs[:2]))) == 2
    assert seen == [2, 2]
    list(Pipeline([Copy(alone)] * 2, Options(workers=4)).run(jobs[2:3]))
    assert seen[2:] == [4]
    assert torch.get_num_threads() == 4
    with ThreadPoolExecutor(1) as another:
        assert another.submit(torch.get_num_threads).result() == 4


def test_streams_that_share_networks_write_what_one_image_after_the_other_gives(jobs, tmp_path, set_threads):
    down = Downscaler(load("edsr", 4, "cpu"))
    up = Upscaler(Request(), lambda name, scale: load(name, scale, "cpu"))
    set_threads(2)
    for side_by_side, folder in ((1, "one"), (2, "two")):
        small = [Job(j.source, tmp_path / folder / "lr" / j.source.name) for j in jobs[:5]]
        back = [Job(j.target, tmp_path / folder / "sr" / j.source.name) for j in small]
        for these, work in ((small, down), (back, up)):
            results = list(Pipeline([work] * side_by_side, Options(workers=2 * side_by_side)).run(these))
            assert {r.status for r in results} == {"done"}
    for kind in ("lr", "sr"):
        assert contents(tmp_path / "one" / kind) == contents(tmp_path / "two" / kind)


def test_a_cpu_of_several_cores_has_two_streams(set_threads):
    for threads, expected in ((1, 1), (2, 2), (16, 2)):
        set_threads(threads)
        assert streams(torch.device("cpu")) == expected
    assert streams(torch.device("cuda")) == 1


class Held(Observer):
    """Counts the bytes that images in flight take, from when they are computed until they are written."""

    def __init__(self):
        self.now = self.most = 0
        self._weights, self._lock = {}, threading.Lock()

    def compute(self, picture, turn):
        weight = HELD * picture.pixels.shape[0] * picture.pixels.shape[1]
        with self._lock:
            self._weights[picture.size] = weight
            self.now += weight
            self.most = max(self.most, self.now)
        time.sleep(0.005)

    def settled(self, result):
        with self._lock:
            self.now -= self._weights.get(result.output_size, 0)


@pytest.mark.parametrize("images", [3, 1, 0])
def test_images_in_flight_stay_within_the_memory_given(jobs, images):
    largest = max(HELD * header.pixels for job in jobs if (header := codec.peek(job.source)) is not None)
    held, options = Held(), Options(workers=20, memory=max(1, images * largest))
    assert len(list(Pipeline([Copy(held.compute)] * 20, options, observer=held).run(jobs))) == len(jobs)
    assert 0 < held.most <= max(1, images) * largest  # where there is no room for one, it is alone
    assert held.now == 0


def test_a_caller_that_stops_listening_leaves_nothing_half_done(jobs, tmp_path, shrink):
    results = Pipeline([shrink], Options(workers=3)).run(jobs)
    assert next(results).status == "done"
    results.close()
    done = contents(tmp_path / "lr")
    assert 1 <= len(done) < 20
    assert not [name for name in done if name.startswith(TEMPORARY)]
    assert all(codec.read(tmp_path / "lr" / name).tag is not None for name in done)
    assert not [t for t in threading.enumerate() if t.name.startswith(("image", "compute"))]


def test_a_computation_that_nobody_waits_for_is_given_up():
    calls, cancel = [], Cancel()

    class Slow(BicubicDown):
        def forward(self, hr):
            calls.append(1)
            cancel.request()
            return super().forward(hr)

    with pytest.raises(Abandoned):
        tiling.run(Slow(2), noise(64, 64), down=True, device=torch.device("cpu"), tile=8, turn=Turn(cancelled=cancel))
    assert len(calls) == 1


class Gate(BicubicDown):
    """A network that waits in its first tile until it is let through."""

    def __init__(self, scale):
        super().__init__(scale)
        self.reached, self.open = threading.Event(), threading.Event()

    def forward(self, hr):
        self.reached.set()
        assert self.open.wait(30)
        return super().forward(hr)

    def shrink(self, picture, turn=ALONE):
        return tiling.run(self, picture.pixels, down=True, device=torch.device("cpu"), tile=8, turn=turn)


def test_cancelling_a_batch_leaves_others_alone(jobs, tmp_path):
    """Neither another batch at the same time, nor a call in another thread, hears of it."""
    ours, theirs, alone = Gate(2), Gate(2), Gate(2)
    others = [Job(job.source, tmp_path / "others" / job.source.name) for job in jobs]
    results = Pipeline([Copy(ours.shrink)], Options(workers=2)).run(jobs)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(next, results)
        batch = threads.submit(list, Pipeline([Copy(theirs.shrink)], Options(workers=2)).run(others))
        call = threads.submit(alone.shrink, Picture(noise(64, 64)))
        for gate in (ours, theirs, alone):
            assert gate.reached.wait(30)
        ours.open.set()
        assert first.result().status == "done"
        results.close()
        for gate in (theirs, alone):
            gate.open.set()
        assert [r.status for r in batch.result()] == ["failed" if i % 6 == 5 else "done" for i in range(24)]
        assert call.result().shape == (32, 32, 3)


def test_an_interrupted_batch_leaves_others_alone(jobs, tmp_path):
    """What Ctrl-C does to a batch: an exception comes through it, while another computes."""
    theirs = Gate(2)

    def interrupted(picture, turn):
        assert theirs.reached.wait(30)
        raise KeyboardInterrupt

    others = [Job(job.source, tmp_path / "others" / job.source.name) for job in jobs]
    with ThreadPoolExecutor(1) as threads:
        batch = threads.submit(list, Pipeline([Copy(theirs.shrink)], Options(workers=2)).run(others))
        with pytest.raises(KeyboardInterrupt):
            list(Pipeline([Copy(interrupted)], Options(workers=2)).run(jobs))
        theirs.open.set()
        assert {r.status for r in batch.result()[:5]} == {"done"}


def test_nothing_is_begun_once_it_is_told_to_stop(jobs):
    done = []

    worker = Copy(lambda picture, turn: done.append(1))
    results = list(Pipeline([worker], Options(workers=2), stop=lambda: len(done) >= 4).run(jobs))
    assert 4 <= len(done) <= 6
    order = [[j.source for j in jobs].index(r.source) for r in results]
    assert order == sorted(order)
    assert max(order) <= 6


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_batch_ends_after_so_many_failures(jobs, most):
    results = list(Pipeline([Copy()], Options(workers=1, max_errors=most)).run(jobs))
    assert most <= sum(r.status == "failed" for r in results) <= most + 1
    assert len(results) < len(jobs) or most == 4


def test_the_slowest_stage_is_known(jobs):
    pipeline = Pipeline([Copy(lambda picture, turn: time.sleep(0.02))], Options(workers=2))
    list(pipeline.run(jobs))
    assert pipeline.slowest() == "compute"
    assert all(seconds > 0 for seconds in pipeline.pace.seconds.values())
    assert Pace({"decode": 9.0, "compute": 4.0, "encode": 1.0}).slowest(1, 1) == "decode"
    assert Pace({"decode": 9.0, "compute": 4.0, "encode": 1.0}).slowest(3, 1) == "compute"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), MemoryError()])
def test_a_tile_that_does_not_fit_is_halved_until_it_does(error):
    sides = []

    class Greedy(BicubicDown):
        def forward(self, hr):
            sides.append(max(hr.shape[2:]))
            if max(hr.shape[2:]) > 100:
                raise error
            return super().forward(hr)

    image = noise(256, 256)
    network = Greedy(2)
    made = tiling.run(network, image, down=True, device=torch.device("cpu"), tile=128)
    assert np.abs(made.astype(int) - tiling.run(BicubicDown(2), image, down=True, device=torch.device("cpu"))).max() <= 1
    assert sides[0] == 256
    network.forward = lambda hr: (_ for _ in ()).throw(error)
    with pytest.raises(type(error)):
        tiling.run(network, image, down=True, device=torch.device("cpu"), tile=128)


def test_a_large_image_is_turned_into_an_array_in_bands(monkeypatch):
    pixels = noise(130, 37)
    for mode in ("RGB", "L", "RGBA", "LA"):
        image = Image.fromarray(pixels).convert(mode)
        whole = policy.pixels_of(image)
        with monkeypatch.context() as patch:
            patch.setattr(policy, "BAND", 1000)
            assert np.array_equal(policy.pixels_of(image), whole)
        assert np.array_equal(whole, np.asarray(image))


@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30, 1), (1, 1, 3)])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_large_image_is_written_in_bands(monkeypatch, shape, alpha):
    plane = noise(*shape[:2], seed=5)[..., :1] if alpha else None
    picture = Picture(noise(*shape), plane)
    whole = codec.image_of(picture)
    monkeypatch.setattr(policy, "BAND", 500)
    banded = codec.image_of(picture)
    assert banded.mode == whole.mode == {1: "L", 3: "RGB"}[shape[2]] + ("A" if alpha else "")
    assert np.array_equal(np.asarray(banded), np.asarray(whole))
    assert np.array_equal(np.asarray(whole).reshape(*shape[:2], -1)[..., : shape[2]], picture.pixels)


def test_a_header_tells_the_size_and_the_tag(tmp_path, shrink):
    assert codec.peek(PHOTOS / "eyes.png") == Header(221, 161, format="PNG")
    assert codec.peek(tmp_path / "nothing.png") is None
    with (tmp_path / "lr.png").open("wb") as file:
        codec.encode(shrink(Picture(noise(16, 16))).picture, file)
    assert codec.peek(tmp_path / "lr.png").tag.scale == 4
    whole = (tmp_path / "lr.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: whole.index(b"IDAT") + 8])
    assert codec.peek(tmp_path / "cut.png") == codec.peek(tmp_path / "lr.png")


@pytest.mark.parametrize(
    "error", [TypeError("expected bytes"), ZeroDivisionError("division by zero"), KeyError("x"), AssertionError()]
)
def test_whatever_is_raised_for_an_image_is_that_images_failure(error, tmp_path):
    photos = write_photos(tmp_path / "photos", 4, 16, 24)
    shown = []

    def fail_once(picture, turn):
        shown.append(picture)
        if len(shown) == 2:
            raise error

    every = list(Pipeline([Copy(fail_once)], Options(workers=1)).run(plan([photos], tmp_path / "lr")))
    assert [r.status for r in every].count("done") == 3
    (failed,) = [r for r in every if r.status == "failed"]
    assert type(error).__name__ in failed.reason
    assert "please report it" in failed.reason
    assert "\n" not in failed.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_a_source_that_becomes_something_else_is_a_failure_and_no_hang(jobs, monkeypatch, what):
    path = jobs[1].source
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    results = list(Pipeline([Copy()], Options(workers=2)).run(jobs[:3]))
    why = "Is a directory" if what == "folder" else "is no ordinary file"
    assert [(r.status, r.reason) for r in results] == [("done", None), ("failed", why), ("done", None)]
    assert codec.peek(path) is None


def test_a_source_that_vanishes_is_a_failure(jobs):
    jobs[1].source.unlink()
    results = list(Pipeline([Copy()], Options(workers=2)).run(jobs[:3]))
    assert [r.status for r in results] == ["done", "failed", "done"]
    assert results[1].reason == results[1].kind == os.strerror(errno.ENOENT)


def test_an_output_folder_that_cannot_be_is_a_failure_of_its_images(jobs, tmp_path):
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "file").write_bytes(b"")
    targets = ["a.png", "file/b.png", "file/c/d.png", "n" * 300 + ".png", "n" * 300 + "/e.png", "f.png", "z\0.png"]
    these = [Job(job.source, tmp_path / "lr" / target) for job, target in zip(jobs[6:], targets, strict=False)]
    these = [job for job in these if job.source != jobs[11].source]
    results = list(Pipeline([Copy()], Options(workers=2)).run(these))
    assert [r.target.name for r in results if r.status == "done"] == ["a.png"]
    assert all(str(tmp_path) not in r.kind for r in results if r.status == "failed")


@pytest.mark.parametrize("where", ["lr", "lr/sub"])
def test_failures_of_one_kind_can_be_counted(jobs, tmp_path, monkeypatch, where):
    made = Path.mkdir

    def refuse(path, *arguments, **options):
        if path.name in ("0", "1"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return made(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    these = [Job(job.source, tmp_path / where / str(i % 3) / "a.png") for i, job in enumerate(jobs[:3])]
    results = list(Pipeline([Copy()], Options(workers=1)).run(these))
    assert Counter(r.kind for r in results) == {"its output folder cannot be made (Permission denied)": 2, None: 1}
    assert {r.reason for r in results[:2]} == {
        f"its output folder {tmp_path / where / i} cannot be made (Permission denied)" for i in ("0", "1")
    }


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("tried 2 GiB"), KeyError("p/a.png")])
def test_kinds_have_no_numbers_and_names_of_one_image(jobs, error):
    def fail(picture, turn):
        raise error

    (result,) = list(Pipeline([Copy(fail)]).run(jobs[:1]))
    assert str(error) in result.reason
    assert str(error) not in result.kind
