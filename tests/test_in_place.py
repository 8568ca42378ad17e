"""An output folder that is an input folder too: what was made there is not made into something else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from conftest import write_photos

from carcli.batch import Down, Up, run
from carcli.batch.options import Options
from carcli.errors import UsageError

BICUBIC = Down(model="bicubic", scale=2)


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 2, 16, 24)
    (folder / "0.png").rename(folder / "0.bmp")
    (folder / "1.png").rename(folder / "1.bmp")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def statuses(results):
    return [(result.source.name, result.status) for result in results]


@pytest.mark.parametrize("again", ["photos", "./photos/", "link", "photos/../photos"])
def test_running_it_again_finds_everything_done(photos, tmp_path, monkeypatch, again):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("photos")
    assert statuses(run(BICUBIC, ["photos"], "photos")) == [("0.bmp", "done"), ("1.bmp", "done")]
    made = {name: (photos / name).stat() for name in names(photos)}
    assert list(made) == ["0.bmp", "0.png", "1.bmp", "1.png"]
    assert statuses(run(BICUBIC, [again], again)) == [("0.bmp", "skipped"), ("1.bmp", "skipped")]
    assert {name: (photos / name).stat().st_mtime_ns for name in names(photos)} == {n: s.st_mtime_ns for n, s in made.items()}


def test_what_is_restored_there_is_not_restored_once_more(photos):
    list(run(BICUBIC, [photos], photos, Options(format="webp")))
    assert statuses(run(Up(), [photos], photos, Options(include=["*.webp"]))) == [("0.webp", "done"), ("1.webp", "done")]
    with pytest.raises(UsageError, match="holds what carcli made"):
        run(Up(), [photos], photos, Options(include=["*.png"]))


def test_folders_in_it_too(photos):
    inner = photos / "inner"
    inner.mkdir()
    (photos / "0.bmp").rename(inner / "0.bmp")
    for status in ("done", "skipped"):
        found = statuses(run(BICUBIC, [photos], photos, Options(recursive=True)))
        assert found == [("1.bmp", status), ("0.bmp", status)]


def test_what_is_new_there_is_taken_and_what_is_named_is_too(photos):
    list(run(BICUBIC, [photos], photos))
    (photos / "0.png").rename(photos / "mine.bmp")  # of another name: nothing tells that it was made
    assert statuses(run(BICUBIC, [photos], photos, Options(overwrite=True)))[-1] == ("mine.bmp", "done")
    assert statuses(run(BICUBIC, [photos / "1.png"], photos / "small.png")) == [("1.png", "done")]


def test_another_input_folder_may_hold_files_of_the_same_names(photos, tmp_path):
    list(run(BICUBIC, [photos], photos))
    other = write_photos(tmp_path / "other", 1, 16, 24)
    assert ("0.png", "done") in statuses(run(BICUBIC, [photos, other], photos, Options(overwrite=True)))


def test_a_watched_folder_does_not_fill_itself(photos):
    end = threading.Event()
    results = run(BICUBIC, [photos], photos, Options(watch=True, poll=0.02, quiet_for=0.05), stop=end.is_set)
    threading.Timer(1.0, end.set).start()
    began = time.monotonic()
    assert sorted(statuses(results)) == [("0.bmp", "done"), ("1.bmp", "done")]
    assert time.monotonic() - began >= 0.9
    assert names(photos) == ["0.bmp", "0.png", "1.bmp", "1.png"]
