"""What can be judged without networks is: torch is not loaded to say that a command makes no sense, nor to list or complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PHOTOS

from carcli.weights import manifest

HEAVY = ("torch", "numba", "scipy")
PROGRAM = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY!r}:
            print("LOADED", name, file=sys.stderr)
            raise SystemExit(99)
sys.meta_path.insert(0, Wall())
from carcli.cli.main import main
sys.argv[0] = "carcli"
main()
"""


def quick(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program where torch cannot be loaded."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, stdin=subprocess.DEVNULL
    )


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes((PHOTOS / "eyes.png").read_bytes())


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("down", 2, "name image files"),
        ("down a.png --nonsense", 2, "No such option"),
        ("down a.png --precision fp8", 2, "'fp8' is not one of 'fp32', 'bf16', 'fp16'"),
        ("down a.png --format bmp", 2, "'bmp' is not one of 'png', 'webp', 'jpeg', 'avif'"),
        ("down a.png --refine 3 --refine-method slow", 2, "'slow' is not one of 'fast', 'hcd'"),
        ("down a.png --model nonsense", 3, "unknown model"),
        ("down a.png --model edsr-x2 --scale 3", 3, "is for scale 2"),
        ("down a.png --model gone.safetensors", 3, "no such checkpoint file"),
        ("down a.png --model ordinary", 2, "only enlarges"),
        ("down a.png -o b.bmp", 2, "name a .png, .webp, .jpg or .avif file"),
        ("down a.png -o b.png --format webp", 2, "its name says png, not webp"),
        ("down a.png --format jpeg --model edsr", 2, "pass --lossy"),
        ("down a.png --quality 80", 2, "png is lossless"),
        ("down a.png --device toaster", 2, "unknown device"),
        ("down a.png --device cpu,toaster", 2, "unknown device"),
        ("down a.png --scale 4 --width 9", 2, "contradict each other"),
        ("down a.png --width 5 --refine 3", 2, "refinement takes a scale"),
        ("down a.png --lossy", 2, "does nothing with lossless png"),
        ("down gone.png", 1, "gone.png: no such file"),
        ("down gone.png --json", 1, "gone.png: no such file"),
        ("down . --exclude *", 2, "no images in ."),
        ("down a.png --from-file gone.txt", 2, "gone.txt"),
        ("down a.png -o - --json", 2, "--json and -o - contradict each other"),
        ("down -", 3, "standard input: is empty"),
        ("up gone.png", 1, "gone.png: no such file"),
        ("up a.png --model nonsense", 3, "unknown model"),
        ("up a.png --device gpu", 2, "unknown device"),
        ("bench --dataset nonsense", 2, "no dataset"),
        ("bench --dataset . --model nonsense", 3, "unknown model"),
        ("bench --dataset . --refine x", 2, "numbers of iterations"),
        ("bench --dataset . --carrier png --quality 50", 2, "lossless"),
        ("bench --dataset . --thumbnails nearest", 2, "--thumbnails"),
        ("train", 2, "name a recipe"),
        ("train nonsense .", 2, "unknown recipe"),
        ("train edsr-x2 gone", 2, "no such file or folder of training images"),
        ("train edsr-x2 . --device gpu", 2, "unknown device"),
        ("train edsr-x2 . --init nonsense", 3, "unknown model"),
        ("serve --model nonsense", 3, "unknown model"),
        ("serve --device gpu", 2, "unknown device"),
        ("weights path nonsense", 3, "unknown checkpoint"),
        ("info gone.png", 1, "gone.png: No such file"),
    ],
)
def test_what_makes_no_sense_is_said_without_torch(line, code, message):
    done = quick(*line.split())
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr
    assert not Path("lr").exists()


@pytest.mark.parametrize(
    "line", ["--version", "down --help", "weights list", "weights path edsr-x2", "train --list", "info a.png"]
)
def test_what_needs_no_network_loads_none(line):
    done = quick(*line.split())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("down --model ed", "edsr-x2"),
        ("down --model c", "car"),
        ("up --model b", "best"),
        ("bench --model edsr,ta", "edsr,tad"),
        ("down --scale 1", "16"),
        ("down --device c", "cuda"),
        ("down --device cpu,c", "cpu,cpu"),
        ("down --format w", "webp"),
        ("down --precision b", "bf16"),
        ("down --refine-method h", "hcd"),
        ("bench --dataset se", "set14"),
        ("bench --carrier j", "jpeg"),
        ("train edsr-x", "edsr-x2"),
        ("train --init ta", "tad-x4"),
        ("weights path urb", "urban100"),
        ("weights remove set1", "set14"),
        ("serve --model be", "best"),
    ],
)
def test_a_shell_completes(words, expected):
    done = quick(_CARCLI_COMPLETE="complete_bash", COMP_WORDS=f"carcli {words}", COMP_CWORD=str(len(words.split())))
    assert expected in done.stdout.split(), done


def test_words_that_an_option_may_be_are_those_that_there_are():
    from carcli.cli import choices
    from carcli.images.written import NAMES
    from carcli.rescale.refinement import METHODS
    from carcli.runtime.device import DTYPES
    from carcli.runtime.device_names import PRECISIONS

    assert tuple(word.value for word in choices.FileFormat) == NAMES
    assert tuple(word.value for word in choices.RefineMethod) == METHODS
    assert tuple(word.value for word in choices.Precision) == PRECISIONS == tuple(DTYPES)


@pytest.mark.parametrize("entry", [e for e in manifest.entries() if e.bundled.exists()], ids=lambda e: e.id)
def test_to_load_a_checkpoint_takes_no_compiler(entry):
    code = (
        "import sys; from carcli.rescale.rescaler import load_networks\n"
        f"load_networks({entry.id!r}, None, 'cpu'); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_store_speaks_json():
    done = quick("weights", "path", "edsr-x2", "--json")
    record = json.loads(done.stdout)
    assert (record["event"], record["id"], record["state"]) == ("path", "edsr-x2", "bundled")
    done = quick("weights", "remove", "set5", "--json")
    assert json.loads(done.stdout) == {"schema": 1, "event": "removed", "id": "set5", "files": 0}
