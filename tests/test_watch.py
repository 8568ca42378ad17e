"""Watched folders: what is complete, by the watcher's own clock, and what is tried again."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from conftest import noise, write_photos
from PIL import Image

from carcli.batch import Batch, Down, Options
from carcli.batch.job import Idle, Job
from carcli.batch.plan import plan
from carcli.batch.watch import appearing

FUTURE = time.time() + 1e6


class Scene:
    """A watch of a folder in which something happens before each look; a look takes a second."""

    def __init__(self, folder: Path, *happens) -> None:
        self.folder, self.happens, self.now = folder, list(happens), 0.0

    def look(self) -> list[Job]:
        event = self.happens.pop(0)
        if event is not None:
            event()
        return plan([self.folder], self.folder.parent / "lr")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def jobs(self) -> list[tuple[float, str, str | None]]:
        """When, which, and with which obstacle."""
        found = appearing(self.look, lambda: not self.happens, clock=lambda: self.now, sleep=self.sleep)
        return [(self.now, job.source.name, job.obstacle) for job in found if not isinstance(job, Idle)]


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 1, 16, 24)


@pytest.mark.parametrize("changed", [1.0, FUTURE], ids=["long ago", "in the future"])
def test_a_file_is_complete_once_it_stays_the_same_whatever_its_time_of_change(photos, changed):
    os.utime(photos / "0.png", (changed, changed))
    assert Scene(photos, *[None] * 6).jobs() == [(2.0, "0.png", None)]


def test_a_file_that_grows_is_not_complete(photos):
    def grow():
        with (photos / "0.png").open("ab") as file:
            file.write(b"more")
        os.utime(photos / "0.png", (1, 1))

    assert Scene(photos, None, grow, grow, grow, None, None, None).jobs() == [(5.0, "0.png", None)]


def test_a_file_is_tried_again_once_it_has_changed(photos):
    def change():
        os.utime(photos / "0.png", (5, 5))

    assert Scene(photos, *[None] * 4, change, *[None] * 5).jobs() == [(2.0, "0.png", None), (6.0, "0.png", None)]


def test_a_file_that_comes_back_is_tried_again(photos, tmp_path):
    def go():
        (photos / "0.png").rename(tmp_path / "0.png")

    def come():
        (tmp_path / "0.png").rename(photos / "0.png")

    assert Scene(photos, *[None] * 4, go, come, *[None] * 3).jobs() == [(2.0, "0.png", None), (7.0, "0.png", None)]


def test_what_stands_in_the_way_is_told_once(photos, tmp_path):
    def go():
        photos.rename(tmp_path / "elsewhere")

    def come():
        (tmp_path / "elsewhere").rename(photos)

    told = Scene(photos, *[None] * 4, go, *[None] * 5, come, *[None] * 4).jobs()
    assert told == [(2.0, "0.png", None), (6.0, "photos", "no such file or folder"), (12.0, "0.png", None)]


def test_a_folder_that_cannot_be_read_is_told_once(photos, monkeypatch):
    (photos / "sub").mkdir()
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scene = Scene(photos, *[None] * 9)
    monkeypatch.setattr(scene, "look", lambda: scene.happens.pop() or plan([photos], photos.parent / "lr", recursive=True))
    assert scene.jobs() == [(2.0, "0.png", None), (2.0, "sub", "this folder cannot be read (Permission denied)")]


def watched(photos: Path, lr: Path, until, **options):
    """Results of a batch that watches, until there are so many, or something is true."""
    quick = Options(devices=("cpu",), watch=True, poll=0.02, quiet_for=0.05, **options)
    results, ended = [], threading.Event()
    deadline = time.monotonic() + 60
    for result in Batch(Down("bicubic"), [photos], lr, quick).run(lambda: ended.is_set() or time.monotonic() > deadline):
        results.append(result)
        if until(results):
            ended.set()
    return [(r.source.name, r.status) for r in results]


def test_a_source_that_changes_is_done_again_with_update(photos, tmp_path):
    def until(results):
        if len(results) == 1:
            Image.fromarray(noise(16, 24, seed=9)).save(photos / "0.png")
            os.utime(photos / "0.png", (FUTURE, FUTURE))
        return len(results) == 2

    assert watched(photos, tmp_path / "lr", until, update=True) == [("0.png", "done")] * 2
    Image.fromarray(noise(16, 24, seed=8)).save(photos / "0.png")  # while nobody watches
    assert watched(photos, tmp_path / "lr", bool, update=True) == [("0.png", "done")]
    assert watched(photos, tmp_path / "lr", bool, update=True) == [("0.png", "skipped")]


def test_a_failure_is_tried_again_and_a_folder_that_goes_ends_nothing(photos, tmp_path):
    whole = (photos / "0.png").read_bytes()
    (photos / "0.png").write_bytes(whole[:50])

    def until(results):
        if len(results) == 1:
            shutil.rmtree(photos)
        if len(results) == 2:
            photos.mkdir()
            (photos / "0.png").write_bytes(whole)
        return len(results) == 3

    assert watched(photos, tmp_path / "lr", until) == [("0.png", "failed"), ("photos", "failed"), ("0.png", "done")]
