"""Bytes in and out, addresses as inputs, names with dots, and folders of results that are not taken again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PHOTOS
from PIL import Image

from carcli.batch import Down, Options, Up, inputs, run
from carcli.batch.inputs import Inputs, name_of, named_input
from carcli.batch.journal import NAME
from carcli.cli import pipes
from carcli.cli.choices import Executor
from carcli.errors import CarcliError, UsageError

EYES = PHOTOS / "eyes.png"
BICUBIC = Down("bicubic", 2)
CPU = Options(devices=("cpu",))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def piped(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "carcli", *arguments], input=data, capture_output=True, check=False)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path):
    """The address of a server of a folder's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_bytes_in_and_bytes_out_are_what_files_would_be():
    down = piped("down", "-", "-o", "-", "--model", "bicubic", "--device", "cpu", data=EYES.read_bytes())
    assert (down.returncode, down.stderr) == (0, b"")
    up = piped("up", "-", "-o", "-", "--format", "webp", "--device", "cpu", data=down.stdout)
    assert (up.returncode, up.stderr) == (0, b"")
    restored = Image.open(io.BytesIO(up.stdout))
    assert (restored.format, restored.size) == ("WEBP", (221, 161))
    (result,) = run(Down("bicubic", 4), [EYES], "lr", CPU)
    assert result.target.read_bytes() == down.stdout


@pytest.mark.slow
def test_what_cannot_be_used_is_a_line_and_no_byte():
    done = piped("down", "-", "-o", "-", data=b"junk")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"carcli: standard input: not an image that Pillow can read\n"


def flags(**given: object) -> SimpleNamespace:
    usual = {
        "executor": Executor.threads,
        "inputs": ["a.png"],
        "output": Path("-"),
        "from_file": None,
        "as_json": False,
        "dry_run": False,
        "watch": False,
    }
    return SimpleNamespace(**{**usual, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "standard output is a terminal; send the image on"),
        ({"inputs": ["-"]}, "standard input is a terminal; send an image into it"),
        ({"as_json": True}, "--json and -o - contradict each other"),
        ({"dry_run": True}, "--dry-run and -o - contradict each other"),
        ({"watch": True}, "--watch and -o - contradict each other"),
        ({"inputs": ["a.png", "b.png"]}, "-o - takes one image"),
        ({"inputs": ["."]}, "-o - takes one image"),
        ({"inputs": ["-"], "output": Path("lr"), "from_file": Path("-")}, "an input - and --from-file - contradict each other"),
    ],
)
def test_pipes_that_lead_nowhere_are_refused(monkeypatch, given, message):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(UsageError, match=message):
        pipes.check(flags(**given))


def test_a_pipe_is_bounded(monkeypatch):
    monkeypatch.setattr(inputs, "MOST", 1000)
    with pytest.raises(CarcliError, match="standard input: more than"):
        Inputs().piped(io.BytesIO(bytes(1001)))


def test_addresses_are_inputs_and_what_cannot_be_had_is_said_of_each():
    with served(PHOTOS) as address:
        names = [
            f"{address}/eyes.png?size=full",
            f"{address}/gone.jpg",
            (PHOTOS / "cat.jpg").as_uri().replace("cat", "%63at"),
            "http://example.com/a.png",
        ]
        first, gone, local, refused = run(BICUBIC, names, "lr", CPU)
        assert [r.status for r in (first, gone, local, refused)] == ["done", "failed", "done", "failed"]
        assert first.name == names[0]
        assert "the server answers 404" in gone.reason
        assert "only https is spoken" in refused.reason
        assert [first.target.name, local.target.name] == ["eyes.png", "cat.png"]
        told = [json.loads(line) for line in Path("lr", NAME).read_text().splitlines()]
        assert {r["source"] for r in told} == {names[0], names[1], str(PHOTOS / "cat.jpg"), names[3]}


def test_what_an_address_made_is_known_again():
    with served(PHOTOS) as address:
        run_again = [list(run(BICUBIC, [f"{address}/eyes.png"], "lr", CPU)) for _ in range(2)]
    assert [r.existing for (r,) in run_again] == [None, "same"]


def test_a_download_is_bounded(monkeypatch):
    monkeypatch.setattr(inputs, "MOST", 1000)
    with served(PHOTOS) as address:
        (result,) = run(BICUBIC, [f"{address}/eyes.png"], "lr", CPU)
    assert result.status == "failed"
    assert "is larger than" in result.reason


def test_an_address_in_a_list_of_names_is_one(tmp_path):
    Path("list.txt").write_text(f"{EYES.as_uri()}\n{PHOTOS / 'cat.jpg'}\n")
    results = list(run(BICUBIC, [], "lr", Options(devices=("cpu",), from_file=Path("list.txt"))))
    assert [r.target.name for r in results] == ["eyes.png", "cat.png"]


@pytest.mark.parametrize("address", ["file://elsewhere/a.png", "file://"])
def test_a_file_of_another_machine_is_refused(address):
    with pytest.raises(UsageError, match="names no file of this machine"):
        named_input(address)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.com/a/photo.jpg?x=1#y", "photo.jpg"),
        ("https://example.com/", "image"),
        ("https://example.com/%2e%2e", "image"),
        ("https://example.com/a%2Fb%00c.png", "b_c.png"),
        ("https://example.com/%C3%BCber%20uns.png", "über uns.png"),
    ],
)
def test_a_name_comes_from_the_path_of_an_address_and_leads_nowhere_else(address, name):
    assert name_of(address) == name


@pytest.mark.parametrize("output", ["photo.v2", "2024.05", "name.with.dots", ".hidden"])
def test_a_suffix_of_no_image_is_part_of_a_folders_name(output):
    (result,) = run(BICUBIC, [EYES], output, CPU)
    assert result.target == Path(output, "eyes.png")


def test_results_of_before_are_not_taken_again():
    Path("a.png").write_bytes(EYES.read_bytes())
    deep = Options(devices=("cpu",), recursive=True)
    assert [r.status for r in run(BICUBIC, ["."], "lr", deep)] == ["done"]
    assert [r.status for r in run(Up(), ["lr"], "sr", deep)] == ["done"]
    assert [r.source for r in run(BICUBIC, ["."], "other", deep)] == [Path("a.png")]
    assert [r.source for r in run(Up(), ["."], "more", deep)] == [Path("a.png"), Path("lr/a.png"), Path("other/a.png")]
    assert [r.source for r in run(Up(), ["sr"], "named", deep)] == [Path("sr/a.png")]
