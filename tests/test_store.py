"""The store: datasets and checkpoints come from mirror or sources, are checked before use, and survive every kill."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image
from server import Faults, serving
from typer.testing import CliRunner

from carcli.bench.datasets import find
from carcli.cli import app as program
from carcli.errors import WeightsError
from carcli.weights import choose, fetch, loading, manifest, store
from carcli.weights import download as downloads
from carcli.weights.manifest import Dataset, Entry, Manifest, PinnedFile


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise(48, 40, seed=seed)).save(out, "png")
    return out.getvalue()


FILES = {f"{i}.png": png(i) for i in range(4)}


def pinned(files: dict[str, bytes]) -> tuple[PinnedFile, ...]:
    return tuple(PinnedFile(name=n, bytes=len(d), sha256=hashlib.sha256(d).hexdigest()) for n, d in files.items())


SET = Dataset(id="four", title="Four", licence="free", sources=("https://example.invalid/four/",), files=pinned(FILES))
BUNDLED = manifest.entries()[0]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(downloads, "sleep", lambda seconds: None)
    return tmp_path / "home"


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """A checkpoint that is not bundled: a copy of one that is, under another id."""
    data = BUNDLED.bundled.read_bytes()
    sources = ("https://example.invalid/far.safetensors",)
    entry = BUNDLED.model_copy(update={"id": "far", "file": "far.safetensors", "sources": sources})
    known = Manifest(version=1, checkpoints=(BUNDLED, entry), datasets=(SET,))
    monkeypatch.setattr(manifest, "manifest", lambda: known)
    return entry, data


@pytest.fixture
def mirror(monkeypatch, fetched):
    with serving() as server:
        server.files = {f"/four/{name}": data for name, data in FILES.items()}
        server.files["/far.safetensors"] = fetched[1]
        monkeypatch.setenv("CARCLI_MIRROR", server.url)
        yield server


def carcli(*arguments):
    result = CliRunner().invoke(program.app, [str(a) for a in arguments])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_dataset_is_fetched_by_name_and_only_once(mirror):
    images = find("four")
    assert images.pinned
    assert [p.name for p in images.files] == list(FILES)
    assert all(p.read_bytes() == FILES[p.name] for p in images.files)
    asked = len(mirror.asked)
    find("FOUR")
    assert len(mirror.asked) == asked


def test_only_what_is_missing_or_damaged_is_fetched_again(mirror, home):
    folder = find("four").files[0].parent
    (folder / "1.png").unlink()
    flipped = bytearray(FILES["2.png"])
    flipped[100] ^= 1
    (folder / "2.png").write_bytes(flipped)
    mirror.asked.clear()
    find("four")
    assert [path for path, _ in mirror.asked] == ["/four/1.png", "/four/2.png"]
    assert (folder / "2.png").read_bytes() == FILES["2.png"]


def test_a_local_folder_is_a_mirror_too(fetched, tmp_path, monkeypatch):
    for name, data in FILES.items():
        (tmp_path / "copy" / "four").mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / "four" / name).write_bytes(data)
    monkeypatch.setenv("CARCLI_MIRROR", str(tmp_path / "copy"))
    assert len(find("four").files) == 4


def test_a_mirror_below_the_home_folder_is_found(fetched, tmp_path, monkeypatch):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "far.safetensors").write_bytes(fetched[1])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("CARCLI_MIRROR", "~/copy")
    assert fetch.fetch_checkpoint(fetched[0]).read_bytes() == fetched[1]


@pytest.mark.parametrize("mirror", ["https://[", "https://a:99999", "nowhere", "~nobody-of-that-name/x", "a\x01b"])
def test_a_mirror_that_makes_no_sense_is_one_line(fetched, monkeypatch, mirror):
    monkeypatch.setenv("CARCLI_MIRROR", mirror)
    with pytest.raises(WeightsError, match="could not be fetched") as caught:
        fetch.fetch_checkpoint(fetched[0])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_when_all_sources_fail_every_reason_is_told_with_what_to_do(mirror):
    mirror.faults = Faults(statuses=[404])
    with pytest.raises(WeightsError) as caught:
        find("four")
    message = str(caught.value)
    assert f"{mirror.url}/four/0.png: HTTP 404" in message
    assert "https://example.invalid/four/0.png: " in message
    assert "By hand: put it into" in message
    assert "CARCLI_MIRROR" in message
    assert "\n" not in message


def test_a_mirror_with_other_content_is_passed_over(mirror, fetched):
    mirror.files["/far.safetensors"] = b"x" * len(fetched[1])
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        fetch.fetch_checkpoint(fetched[0])
    assert store.state(fetched[0]) == "missing"


def test_a_fetched_checkpoint_is_used_and_a_flipped_bit_is_noticed(mirror, fetched):
    entry, data = fetched
    with pytest.raises(WeightsError, match="weights fetch far"):
        loading.load(choose.choose("far", 4))
    fetch.fetch_checkpoint(entry)
    choice = choose.choose("far", 4)
    assert choice.digest == entry.sha256
    loading.load(choice)
    path = store.checkpoint_path(entry)
    flipped = bytearray(data)
    flipped[-9] ^= 8
    path.write_bytes(flipped)
    with pytest.raises(WeightsError, match="weights remove far"):
        loading.load(choose.choose("far", 4))


def test_a_change_that_leaves_size_and_time_as_they_were_is_noticed(mirror, fetched):
    """A disk that errs changes neither."""
    entry, _ = fetched
    fetch.fetch_checkpoint(entry)
    loading.load(choose.choose("far", 4))
    images = find("four")
    for path in (store.checkpoint_path(entry), images.files[0]):
        before, data = path.stat(), bytearray(path.read_bytes())
        data[-9] ^= 8
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsError, match="weights remove far"):
        loading.load(choose.choose("far", 4))
    mirror.asked.clear()
    find("four")
    assert [path for path, _ in mirror.asked] == ["/four/0.png"]


def test_what_is_loaded_is_what_was_checked(mirror, fetched, monkeypatch):
    """A file that is replaced between the check and the use is not used."""
    entry, _ = fetched
    fetch.fetch_checkpoint(entry)
    honest = store.content

    def replaced(entry):
        data = honest(entry)
        store.checkpoint_path(entry).write_bytes(b"something else")
        return data

    monkeypatch.setattr(store, "content", replaced)
    assert loading.load(choose.choose("far", 4)).up.scale == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("other", ["pipe", "device", "folder"])
def test_a_checkpoint_that_is_no_file_is_neither_waited_for_nor_read(mirror, fetched, other):
    path = store.checkpoint_path(fetched[0])
    path.parent.mkdir(parents=True)
    if other == "pipe":
        os.mkfifo(path)
    elif other == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(WeightsError, match=r"far\.safetensors: (is no ordinary file|Is a directory)"):
        loading.load(choose.choose("far", 4))


def test_a_store_that_cannot_be_written_is_read_all_the_same(mirror, fetched, monkeypatch, tmp_path):
    find("four")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert len(find("four").files) == 4
    with pytest.raises(WeightsError, match="CARCLI_HOME"):
        fetch.fetch_checkpoint(fetched[0])


def test_a_store_that_cannot_be_is_one_line(fetched, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for home in (tmp_path / ("x" * 300), tmp_path / "file"):
        monkeypatch.setenv("CARCLI_HOME", str(home))
        assert store.state(fetched[0]) == "missing"
        assert carcli("weights", "list")[0] == 0
        with pytest.raises(WeightsError, match="CARCLI_HOME") as caught:
            carcli("weights", "remove", "four")
        assert "\n" not in str(caught.value)
        code, _, err = carcli("weights", "fetch", "far")
        assert code == 3
        assert "let CARCLI_HOME name another folder" in err


def test_a_file_system_without_locks_is_said(monkeypatch):
    def refuse(lock):
        raise NotImplementedError("no flock")

    monkeypatch.setattr(store.FileLock, "acquire", refuse)
    with pytest.raises(WeightsError, match="no file can be locked there"), store.writing("x"):
        pass


def test_fetch_list_path_verify_and_remove(mirror, fetched):
    entry, _ = fetched
    code, out, _ = carcli("weights", "list")
    assert (code, "missing" in out) == (0, True)
    code, out, _ = carcli("weights", "fetch", "far", "four")
    assert code == 0
    assert out.splitlines()[0] == f"far: {store.checkpoint_path(entry)}"
    assert carcli("weights", "path", "four")[1].strip() == str(store.dataset_folder("four"))
    code, out, _ = carcli("weights", "verify")
    assert (code, out.count("intact")) == (0, 3)
    (store.dataset_folder("four") / "3.png").write_bytes(b"junk")
    code, _, err = carcli("weights", "verify", "four")
    assert code == 1
    assert "3.png: damaged" in err
    states = {json.loads(line)["id"]: json.loads(line) for line in carcli("weights", "list", "--json")[1].splitlines()}
    assert states["far"]["state"] == "fetched"
    assert states["four"]["present"] == 4
    assert "4 files removed" in carcli("weights", "remove", "four")[1]
    assert not store.dataset_folder("four").exists()
    assert "1 file removed" in carcli("weights", "remove", "far")[1]
    assert store.state(entry) == "missing"
    with pytest.raises(WeightsError, match="came with the package"):
        carcli("weights", "remove", BUNDLED.id)


def test_fetch_all_reports_what_failed(mirror):
    del mirror.files["/far.safetensors"]
    code, out, err = carcli("weights", "fetch", "--all", "--json")
    assert code == 1
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert sorted(events) == ["failed", "fetched", "fetched"]
    assert "far could not be fetched" in err


CHILD = """
import sys
from carcli.weights.fetch import fetch_dataset
from carcli.weights.manifest import Dataset
fetch_dataset(Dataset.model_validate_json(sys.argv[1]))
"""


def child(server, home):
    spec = SET.model_dump_json()
    environment = {**os.environ, "CARCLI_HOME": str(home), "CARCLI_MIRROR": server.url}
    return subprocess.Popen([sys.executable, "-c", CHILD, spec], env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_it_ends_the_same(home):
    big = {name: data + bytes(2_000_000) for name, data in FILES.items()}
    with serving() as server:
        server.files = {f"/four/{name}": data for name, data in big.items()}
        spec = SET.model_copy(update={"files": pinned(big)}).model_dump_json()
        environment = {**os.environ, "CARCLI_HOME": str(home), "CARCLI_MIRROR": server.url}
        rng = np.random.default_rng(0)
        command = [sys.executable, "-c", CHILD, spec]
        for _ in range(4):
            process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            asked = len(server.asked)
            while len(server.asked) == asked and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.05)
            process.kill()
            process.wait()
            visible = home / "data" / "datasets" / "four"
            for path in visible.glob("[!.]*") if visible.exists() else ():
                assert path.read_bytes() == big[path.name]
        subprocess.run(command, env=environment, check=True, timeout=60)
    assert {p.name: p.read_bytes() for p in visible.glob("[!.]*")} == big
    assert not list(home.rglob("*.tmp"))


def test_several_processes_fetch_at_once_and_every_file_comes_once(home):
    with serving() as server:
        server.files = {f"/four/{name}": data for name, data in FILES.items()}
        processes = [child(server, home) for _ in range(3)]
        assert [p.wait(timeout=120) for p in processes] == [0, 0, 0]
        assert sorted(path for path, _ in server.asked) == sorted(f"/four/{name}" for name in FILES)


@pytest.mark.parametrize("command", [["list"], ["path", "set5"], ["fetch", "tad-x2"]])
def test_the_store_is_looked_after_without_loading_torch(command):
    code = (
        "import sys\nfrom carcli.cli.app import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code, "weights", *command], stdout=subprocess.DEVNULL, check=False)
    assert child.returncode == 0


def test_the_package_pins_the_four_sets():
    sizes = {d.id: len(d.files) for d in manifest.manifest().datasets}
    assert sizes == {"set5": 5, "set14": 14, "bsd100": 100, "urban100": 100, "urban100-25": 25}
    urban = {d.id: d.files for d in manifest.manifest().datasets}
    assert set(urban["urban100-25"]) <= set(urban["urban100"])


def test_the_authors_checkpoints_are_known_and_honestly_missing():
    with pytest.raises(WeightsError, match="weights import FILES"):
        loading.load(choose.choose("edsr-official-x4", None))
    assert isinstance(BUNDLED, Entry)
    assert Path(BUNDLED.bundled).exists()
