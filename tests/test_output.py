"""What the program prints, and where: for people, for other programs, and for nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, noise, write_photos
from PIL import Image

from carcli.images import formats, tag
from carcli.images.codec import to_bytes
from carcli.images.picture import Picture

DOWN = ["down", "photos", "--model", "bicubic", "--device", "cpu"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def program(*arguments: str | bytes, **options) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "carcli", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, env=environment, check=False, **options)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PHOTOS.parents[1]), os.environ.get("PYTHONPATH")])))
    return write_photos(tmp_path / "photos", 3, 16, 24)


@posix
def test_names_that_the_terminals_encoding_cannot_say_are_shown_escaped_and_all_are_done(photos):
    image = (photos / "0.png").read_bytes()
    for name in ("東京.png".encode(), b"caf\xe9.png", b"\x1b[31mred\nline.png"):
        (photos / os.fsdecode(name)).write_bytes(image)
    ended = program(*DOWN, env={"PYTHONIOENCODING": "latin-1"})
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.decode("latin-1").splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("6 done")
    assert any(r"\x1b[31mred\nline.png" in line for line in lines)
    assert any(r"caf\xe9.png" in line for line in lines)
    assert any(r"\u6771\u4eac" in line for line in lines)
    assert b"\x1b" not in ended.stdout + ended.stderr


@posix
def test_names_survive_in_json(photos):
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes((photos / "0.png").read_bytes())
    lines = [json.loads(line) for line in program(*DOWN, "--json").stdout.splitlines()]
    assert {os.fsencode(Path(line["source"]).name) for line in lines[:-1]} >= {b"caf\xe9.png"}
    journal = [json.loads(line) for line in Path("lr/.carcli-journal.jsonl").read_text().splitlines()]
    assert {os.fsencode(Path(line["source"]).name) for line in journal} >= {b"caf\xe9.png"}


def test_the_names_in_events_and_in_the_journal_are_the_same_and_versioned(photos):
    *events, summary = [json.loads(line) for line in program(*DOWN, "--json").stdout.splitlines()]
    journal = [json.loads(line) for line in Path("lr/.carcli-journal.jsonl").read_text().splitlines()]
    assert {event["schema"] for event in [*events, summary, *journal]} == {1}
    assert [event["event"] for event in [*events, summary]] == ["image"] * 3 + ["summary"]
    by_source = {line["source"]: line for line in journal}
    for event in events:
        line = by_source[os.path.abspath(event["source"])]
        shared = set(event) & set(line) - {"source", "target", "time", "settings"}
        assert shared >= {"status", "model", "input_width", "input_bytes", "output_height", "output_bytes", "seconds"}
        assert {name: event[name] for name in shared} == {name: line[name] for name in shared}
        assert not any(isinstance(value, list) and value for value in event.values())


@pytest.mark.slow
@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_reason_to_fail_or_to_print_into_an_image(photos, closed):
    arguments = " ".join([sys.executable, "-m", "carcli", *DOWN])
    ended = subprocess.run(["sh", "-c", f"{arguments} {closed}"], capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    for i in range(3):
        with Image.open(f"lr/{i}.png") as image:
            assert image.size == (6, 4)


@pytest.mark.slow
@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "arguments", [DOWN, [*DOWN, "--json"], [*DOWN, "--dry-run"], ["weights", "list"], ["info"], ["train", "--list"], ["--help"]]
)
def test_a_full_standard_output_is_one_line(photos, arguments):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "carcli", *arguments], stdout=full, stderr=subprocess.PIPE, timeout=120, check=False
        )
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("carcli: ")
    assert line.endswith("No space left on device")
    assert ended.returncode == 3


@posix
def test_a_reader_that_goes_away_is_no_traceback(photos):
    arguments = " ".join([sys.executable, "-m", "carcli", *DOWN])
    ended = subprocess.run(["sh", "-c", f"{arguments} | true"], capture_output=True, timeout=120, check=False)
    assert ended.stderr == b""


@pytest.mark.slow
@posix
def test_ctrl_c_at_any_moment_of_the_start_is_one_line(photos):
    for pause in (0.02, 0.1, 0.3, 0.8):
        running = subprocess.Popen(
            [sys.executable, "-m", "carcli", *DOWN, "--overwrite"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(pause)
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
        if pause > 0.1:  # before that, Python itself may not yet have begun
            assert b"Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*DOWN, "--refine-method", "hcd"], "--refine-method does nothing without --refine"),
        ([*DOWN, "--refine-keep"], "--refine-keep does nothing without --refine"),
        ([*DOWN, "--refine", "2", "--seed", "1"], "--seed does nothing without --refine-method hcd"),
        ([*DOWN, "--fail-fast", "--max-errors", "2"], "--fail-fast and --max-errors contradict each other"),
        ([*DOWN, "--dry-run", "--watch"], "--dry-run and --watch contradict each other"),
        (["bench", "--dataset", "photos", "--region", "0,0,1,1"], "--region does nothing without --offsets"),
        (["bench", "--dataset", "photos", "--refine-method", "hcd"], "--refine-method does nothing without --refine"),
        (["bench", "--dataset", "photos", "--json", "--format", "md"], "--json and --format contradict each other"),
        (["train", "tad-x2", "photos", "--minutes", "1", "--steps", "3"], "--minutes and --steps contradict each other"),
        (["train", "tad-x2", "photos", "--minutes", "inf"], "--minutes is a finite number"),
        (["train", "tad-x2", "--list"], "--list and a recipe contradict each other"),
        (["down", "--frob"], "No such option: --frob"),
        (["frob\x1b[31m"], r"No such command 'frob\x1b[31m'"),
        ([*DOWN, "--scale", "1000"], "'--scale'"),
    ],
)
def test_wrong_usage_is_one_line(photos, arguments, message):
    ended = program(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.decode().startswith("carcli: ")
    assert message in ended.stderr.decode()
    assert ended.stderr.count(b"\n") == 1
    assert ended.stdout == b""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [(".heic", "heic"), (".jxl", "jxl")])
def test_images_of_kinds_that_an_extra_reads_are_counted_and_named(photos, tmp_path, monkeypatch, kind):
    suffix, extra = kind
    (tmp_path / "without").mkdir()  # a Python without the extras' modules
    modules = [e.module for e in formats.EXTRAS]
    (tmp_path / "without/sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({modules}))\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "without"), os.environ["PYTHONPATH"]]))
    for i in range(3):
        (photos / f"a{i}{suffix}").write_bytes(b"x")
    (photos / "raw.NEF").write_bytes(b"x")
    (photos / "notes.txt").write_bytes(b"x")
    for more in ([], ["--dry-run"]):
        ended = program(*DOWN, *more)
        assert ended.returncode == 0
        text = ended.stderr.decode()
        assert f"3 {suffix} files were left out: pip install 'carcli[{extra}]'" in text
        assert "1 .nef file was left out: develop them to TIFF or JPEG first" in text
        assert ".txt" not in text
    summary = json.loads(program(*DOWN, "--json").stdout.splitlines()[-1])
    assert summary["left_out"] == {suffix: 3, ".nef": 1}


@pytest.mark.slow
def test_outputs_made_with_other_settings_are_said_to_be(photos):
    assert program(*DOWN).returncode == 0
    again = program("down", "photos", "--model", "lanczos", "--device", "cpu")
    assert "3 outputs existed already, made with other settings" in again.stderr.decode()
    assert "--overwrite" in again.stderr.decode()
    same = program(*DOWN, "--json")
    assert json.loads(same.stdout.splitlines()[-1])["existing"] == {"same": 3}


def test_names_are_text_and_no_markup(photos):
    shutil.copy(photos / "0.png", photos / "[bold]x [link=a].png")
    ended = program("bench", "--dataset", "photos", "--model", "bicubic", "--scale", "2", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert b"[bold]x [link=a]" in ended.stderr


def test_an_absurd_scale_in_a_tag_is_refused_before_anything_is_allocated(photos):
    """1.8 kB that ask for gigapixels."""
    side = 640
    told = tag.Tag("bicubic", "", 128, side * 128, side * 128)
    Path("lr").mkdir()
    Path("lr/huge.png").write_bytes(to_bytes(Picture(np.zeros((side, side, 1), np.uint8), tag=told)))
    ended = program("up", "lr", "--device", "cpu", "--ignore-space")
    assert ended.returncode == 1
    assert "would become 81920x81920, more than 512 megapixels" in ended.stderr.decode()
    untagged = program("up", "lr", "--ignore-tag", "--model", "bicubic", "--scale", "100", "--device", "cpu", "--ignore-space")
    assert "more than 512 megapixels" in untagged.stderr.decode()


def test_no_library_prints_lines_of_its_own(photos):
    """libtiff does, of a damaged file, and names it tempfile.tif."""
    for i in range(12):
        file = photos / f"damaged{i}.tif"
        Image.fromarray(noise(40, 40, seed=i)).save(file, compression="tiff_lzw" if i % 2 else "tiff_adobe_deflate")
        data = bytearray(file.read_bytes())
        data[60 + 20 * i : 64 + 20 * i] = b"\xff\xff\xff\xff"
        file.write_bytes(data)
    ended = program(*DOWN)
    assert ended.returncode == 1
    assert ended.stderr
    assert all(line.startswith("carcli: ") for line in ended.stderr.decode().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--model", "nosuch"], 3),
        (["--device", "xyz"], 2),
        (["--precision", "xyz"], 2),
    ],
)
def test_the_same_mistake_has_the_same_code_in_every_command(photos, arguments, code):
    init = ["--init", arguments[1]] if arguments[0] == "--model" else arguments
    Image.fromarray(noise(200, 200)).save(photos / "large.png")
    Image.fromarray(noise(200, 200, seed=1)).save(photos / "large2.png")
    commands = [["down", "photos", *arguments], ["up", "photos", *arguments], ["bench", "--dataset", "photos", *arguments]]
    if "--precision" not in arguments:
        commands.append(["train", "tad-x2", "photos", "--steps", "1", *init])
    for command in commands:
        ended = program(*command)
        assert ended.returncode == code, (command, ended.stderr)
        assert ended.stderr.count(b"\n") == 1, (command, ended.stderr)
