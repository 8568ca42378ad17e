"""Files appear whole or not at all; nothing of anybody else's is followed, waited on or removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carcli.runtime import files
from carcli.runtime.files import TEMPORARY, remove_leftovers, temporary, write_whole
from carcli.runtime.host import host
from carcli.runtime.paths import is_folder, kind, open_ordinary

HERE, ELSEWHERE = host(), "0" * 8
posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes")

HOLD = """
import sys, time
from pathlib import Path
from carcli.runtime.files import write_whole
write_whole(Path(sys.argv[1]), lambda file: (file.write(b"x"), file.flush(), print("writing", flush=True), time.sleep(60)))
"""


def leftover(folder: Path, of: str = HERE, age: float = 0.0, token: str = "ab") -> Path:
    path = folder / f"{TEMPORARY}{of}-{token}.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def temporaries(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(TEMPORARY)]


def test_what_another_run_is_writing_stays_and_what_it_leaves_when_killed_goes(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a.png")], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"writing\n"
        remove_leftovers([tmp_path])
        assert len(temporaries(tmp_path)) == 1
    finally:
        child.kill()
        child.communicate()
    remove_leftovers([tmp_path])
    assert not list(tmp_path.iterdir())


def test_what_this_run_is_writing_stays(tmp_path):
    with temporary(tmp_path) as (path, _):
        remove_leftovers([tmp_path])
        assert path.exists()
    assert not path.exists()


def test_another_hosts_stay_for_a_day(tmp_path):
    young, old = leftover(tmp_path, ELSEWHERE, 3600), leftover(tmp_path, ELSEWHERE, 25 * 3600, "cd")
    remove_leftovers([tmp_path])
    assert (young.exists(), old.exists()) == (True, False)


def test_where_there_are_no_locks_they_stay_for_a_day(tmp_path, monkeypatch):
    young, old = leftover(tmp_path), leftover(tmp_path, age=25 * 3600, token="cd")
    monkeypatch.setattr(files, "try_lock", lambda file: None)
    write_whole(tmp_path / "a.png", lambda file: file.write(b"x"))
    remove_leftovers([tmp_path])
    assert (young.exists(), old.exists()) == (True, False)


@posix
def test_a_leftover_from_the_future_goes_all_the_same(tmp_path):
    leftover(tmp_path, age=-3600)
    remove_leftovers([tmp_path])
    assert not list(tmp_path.iterdir())


def test_a_file_system_whose_locks_are_never_free_ends_in_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "try_lock", lambda file: False)
    with pytest.raises(OSError, match="other runs remove"):
        write_whole(tmp_path / "a.png", lambda file: file.write(b"x"))
    assert not list(tmp_path.iterdir())


@posix
def test_only_leftovers_are_removed_and_no_link_is_followed(tmp_path):
    name = f"{TEMPORARY}{HERE}-"
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    (tmp_path / f"{name}01.tmp").symlink_to(precious)
    (tmp_path / f"{name}02.tmp").mkdir()
    os.mkfifo(tmp_path / f"{name}03.tmp")
    for other in ("journal.jsonl", "x.tmp", f"{HERE}-0g.tmp", f"{HERE}-01.tmp.png"):
        (tmp_path / f"{TEMPORARY}{other}").write_bytes(b"")
    gone = leftover(tmp_path)
    before = set(tmp_path.iterdir())
    remove_leftovers([tmp_path, tmp_path / "nothing", precious, tmp_path / "a\0b"])
    assert before - set(tmp_path.iterdir()) == {gone}
    assert precious.read_bytes() == b"precious"


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, removed = files.try_lock, []

    def first_taken_for_a_leftover(file):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        return lock(file)

    monkeypatch.setattr(files, "try_lock", first_taken_for_a_leftover)
    write_whole(tmp_path / "a.png", lambda file: file.write(b"whole"))
    assert removed
    assert (tmp_path / "a.png").read_bytes() == b"whole"


@posix
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    for name, target in (("link", "precious"), ("dangling", "nothing"), ("circle", "circle")):
        (tmp_path / name).symlink_to(target)
        write_whole(tmp_path / name, lambda file: file.write(b"new"))
        assert kind(tmp_path / name, follow=False) == "file"
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


@posix
@pytest.mark.parametrize("what", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_neither_replaced_nor_read(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = Path("a.png")
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    with pytest.raises(OSError, match="is no ordinary file"):
        write_whole(path, lambda file: file.write(b"new"))
    with pytest.raises(OSError, match=r"is no ordinary file|Is a directory"):
        open_ordinary(path)
    assert list(Path().iterdir()) == [path]
    assert kind(path) != "file"


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_whole(path, lambda file: file.write(b"x"))
    assert path.read_bytes() == b"x"


def test_what_there_is_or_why_it_cannot_be_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    found = {name: kind(tmp_path / name) for name in ("", "file", "nothing", "file/below")}
    assert found == {"": "folder", "file": "file", "nothing": "nothing", "file/below": "nothing"}
    for name in ("n" * 300, "a\0b"):
        with pytest.raises(OSError, match=r"name|too long"):
            kind(tmp_path / name)
        assert not is_folder(tmp_path / name)
