"""Batches from the command line: what is taken, what is planned, what stops them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PHOTOS, noise, write_photos
from PIL import Image
from test_cli import carcli

from carcli.batch import Result, estimate
from carcli.batch.journal import NAME
from carcli.cli.reports import Terminal
from carcli.rescale.resolve import Untagged
from carcli.runtime import paths


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(4):
        Image.fromarray(noise(16, 24, seed=i)).save(f"photos/{i}.png")


DOWN = ("down", "--model", "bicubic", "--device", "cpu")


def names(folder: str) -> list[str]:
    return sorted(p.name for p in Path(folder).glob("*.png"))


def test_a_dry_run_says_what_would_be_and_does_nothing():
    code, out, err = carcli(*DOWN, "photos", "--dry-run")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == f"{Path('photos/0.png')} -> {Path('lr/0.png')}"
    assert lines[-1].startswith("4 images to do, 0 done already, 0 that cannot be; 0.002 megapixels")
    assert not Path("lr").exists()
    code, out, _ = carcli(*DOWN, "photos", "--dry-run", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["event"] for r in records] == ["plan"] * 4 + ["estimate"]
    assert records[-1]["waiting"] == 4
    assert records[-1]["seconds"] > 0


def test_inputs_from_a_file_and_from_standard_input(monkeypatch):
    Path("list.txt").write_text("photos/0.png\n\nphotos/2.png\n")
    assert carcli(*DOWN, "--from-file", "list.txt")[0] == 0
    assert names("lr") == ["0.png", "2.png"]
    done = subprocess.run(
        [sys.executable, "-m", "carcli", *DOWN, "--from-file", "-", "-o", "piped"],
        input=b"photos/1.png\0photos/3.png\0", capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert names("piped") == ["1.png", "3.png"]
    code, _, err = carcli(*DOWN, "--from-file", "nothing.txt")
    assert code == 2
    assert "nothing.txt: No such file" in err


def test_patterns_choose():
    assert carcli(*DOWN, "photos", "--include", "[0-2].png", "--exclude", "1*")[0] == 0
    assert names("lr") == ["0.png", "2.png"]


@pytest.mark.parametrize(("options", "most"), [(("--fail-fast",), 1), (("--max-errors", 2), 2)])
def test_failures_stop_a_batch_if_asked(options, most):
    for i in range(40):
        Path(f"photos/a{i:02}.png").write_bytes(b"bad")
    code, out, _ = carcli(*DOWN, "photos", "--json", "-j", 1, *options)
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert most <= sum(r.get("status") == "failed" for r in records) <= most + 1
    assert records[-1]["failed"] == sum(records[-1]["reasons"].values())


def test_a_report_of_many_failures_groups_them():
    for i in range(5):
        Path(f"photos/a{i}.png").write_bytes(b"bad")
    Path("photos/b.png").write_bytes(b"")
    err = carcli(*DOWN, "photos")[2]
    assert "5 failed: not an image that Pillow can read" in err
    assert "1 failed: the file is empty" in err


def test_a_full_disk_is_refused_at_the_start_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1})())
    code, _, err = carcli(*DOWN, "photos")
    assert code == 3
    assert "--ignore-space" in err
    assert not Path("lr").exists()
    assert carcli(*DOWN, "photos", "--ignore-space")[0] == 0


def test_two_devices_give_the_bytes_of_one():
    carcli(*DOWN, "photos", "-o", "one")
    code, _, err = carcli("down", "photos", "--model", "bicubic", "--device", "cpu,cpu", "-o", "two")
    assert code == 0, err
    assert {n: Path("one", n).read_bytes() for n in names("one")} == {n: Path("two", n).read_bytes() for n in names("two")}


def test_a_changed_source_is_told_and_updated_if_asked():
    carcli(*DOWN, "photos")
    Image.fromarray(noise(16, 24, seed=8)).save("photos/1.png")
    os.utime("photos/1.png", (1, 1))
    before = Path("lr/1.png").read_bytes()
    carcli(*DOWN, "photos")
    assert Path("lr/1.png").read_bytes() == before
    code, out, _ = carcli(*DOWN, "photos", "--update", "--json")
    assert code == 0
    assert [Path(r["source"]).name for r in map(json.loads, out.splitlines()) if r.get("status") == "done"] == ["1.png"]
    assert Path("lr/1.png").read_bytes() != before


def test_a_single_output_file_has_no_journal():
    assert carcli(*DOWN, "photos/0.png", "-o", "small.png")[0] == 0
    assert Path("small.png").exists()
    assert not Path(NAME).exists()


def test_a_watched_folder_is_worked_on_as_it_fills():
    command = [sys.executable, "-m", "carcli", *DOWN, "photos", "--watch", "--json"]
    for path in Path("photos").iterdir():
        os.utime(path, (1, 1))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(["0.png", "1.png", "2.png", "3.png"])
        Path("photos/half.png").write_bytes((PHOTOS / "eyes.png").read_bytes()[:100])  # still being copied
        time.sleep(0.5)
        shutil.copy(PHOTOS / "eyes.png", "photos/half.png")
        _wait_for(["0.png", "1.png", "2.png", "3.png", "half.png"])
    finally:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert [json.loads(line)["status"] for line in out.splitlines() if '"image"' in line] == ["done"] * 5


def _wait_for(wanted: list[str]) -> None:
    deadline = time.monotonic() + 60
    while names("lr") != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert names("lr") == wanted


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal of its own")
@pytest.mark.parametrize("as_json", [True, False])
def test_results_go_to_standard_output_whatever_the_progress_bar_does(tmp_path, as_json):
    """A terminal on standard error, a pipe on standard output: n images are n + 1 lines there."""
    photos = write_photos(tmp_path / "three", 3, 16, 24)
    terminal, other_end = os.openpty()
    command = [sys.executable, "-m", "carcli", "down", str(photos), "--model", "bicubic", "-o", str(tmp_path / "lr")]
    try:
        ended = subprocess.run(
            command + ["--json"] * as_json,
            stdout=subprocess.PIPE,
            stderr=other_end,
            env={**os.environ, "TERM": "xterm"},
            check=True,
        )
    finally:
        os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: an error where the other end is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    lines = ended.stdout.decode().splitlines()
    assert len(lines) == 3 + 1
    if as_json:
        assert [json.loads(line)["event"] for line in lines] == ["image", "image", "image", "summary"]
        assert shown == b""
    else:
        assert all(str(photos) in line for line in lines[:3])
        assert b"down" in shown  # the bar


def test_what_cannot_be_read_is_named_and_the_rest_done():
    Path("circle.png").symlink_to("circle.png")
    code, out, err = carcli(*DOWN, "photos", "n" * 300, "circle.png", "--json")
    assert code == 1
    assert [json.loads(line).get("status") for line in out.splitlines()] == ["done"] * 4 + ["failed"] * 2 + [None]
    assert err.count("\n") == 2
    assert "Traceback" not in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_the_journal_is_one_line():
    Path("lr").mkdir()
    os.mkfifo(Path("lr") / NAME)
    code, _, err = carcli(*DOWN, "photos")
    assert code == 3
    assert "journal cannot be used (is no ordinary file)" in err
    assert err.count("\n") == 1


def test_a_dry_run_leaves_nothing_where_names_are_tried():
    before = sorted(Path().iterdir())
    assert carcli(*DOWN, "photos", "--dry-run", "-o", "new/lr")[0] == 0
    assert sorted(Path().iterdir()) == before


@pytest.mark.skipif(os.name != "posix", reason="needs limits of processes")
def test_a_journal_that_can_grow_no_more_ends_the_batch_and_what_was_done_is_told():
    import resource

    Path("lr").mkdir()
    (Path("lr") / NAME).write_bytes(b"-" * 100_000 + b"\n")  # larger than any of the images
    ended = subprocess.run(
        [sys.executable, "-m", "carcli", *DOWN, "photos", "--json", "-j", "1"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (101_000, 101_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert "journal cannot be written (File too large); what is done stays" in ended.stderr
    assert ended.stderr.count("\n") == 1
    *told, summary = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [Path(r["target"]).name for r in told] == names("lr")
    assert 1 <= summary["done"] == len(told) < 4
    code, out, _ = carcli(*DOWN, "photos", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["done"] == 4 - len(told)


def test_an_unreadable_file_is_one_failure_wherever_it_is_named(monkeypatch):
    access, opened = os.access, paths.open_ordinary

    def refuse(path):
        if path.name == "0.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "0.png" and access(path, mode))
    monkeypatch.setattr(paths, "open_ordinary", refuse)
    code, _, err = carcli(*DOWN, "photos/0.png", "photos/1.png", "photos/2.png")
    assert (code, err) == (1, f"carcli: {Path('photos/0.png')}: Permission denied\n")
    assert names("lr") == ["1.png", "2.png"]


def test_that_images_have_no_tag_is_said_once_a_batch_and_noted_of_each_in_json():
    code, _, err = carcli("up", "photos", "--device", "cpu", "--model", "lanczos", "--scale", 2)
    assert code == 0, err
    assert err.count("carcli tag") == 1
    assert "4 images have no carcli tag: restored with lanczos, as super-resolution of ordinary images" in err
    _, out, err = carcli("up", "photos", "--device", "cpu", "--model", "lanczos", "--scale", 2, "-o", "again", "--json")
    *images, summary = [json.loads(line) for line in out.splitlines()]
    note = "has no carcli tag: restored with lanczos, as super-resolution of an ordinary image"
    assert [image["notes"] for image in images] == [[note]] * 4
    assert summary["untagged"] == 4
    assert err == ""


def test_a_pair_that_hides_is_taken_at_its_word_and_the_user_told_what_that_costs():
    code, _, err = carcli("up", "photos/0.png", "--device", "cpu", "--model", "tad-x2")
    assert code == 0, err
    assert "1 image has no carcli tag: restored with tad-x2, which is for what its own down made" in err


def test_a_watch_says_at_once_that_an_image_has_no_tag_and_then_no_more(capsys):
    report = Terminal("up", bar=False)
    untagged = Untagged("lanczos")
    with report.begin(None, endless=True):
        for name in ("a.png", "b.png"):
            report.show(Result(Path(name), None, "done", untagged=untagged), "compute")
    assert capsys.readouterr().err.count("no carcli tag") == 1
    report.sum_up("compute")
    assert "2 images have no carcli tag" in capsys.readouterr().err
