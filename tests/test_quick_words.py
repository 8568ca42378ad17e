"""What can be judged without networks is: torch is not loaded to say that a command makes no sense, nor to list or complete."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carcli.weights import manifest

PHOTOS = Path(__file__).parent / "photos"
HEAVY = ("torch", "numba", "scipy")
WRONG = [
    ("down", 2, "name image files"),
    ("down a.png --nonsense", 2, "No such option"),
    ("down a.png --precision fp8", 2, "'fp8' is not one of 'auto', 'fp32', 'bf16', 'fp16'"),
    ("down a.png --format bmp", 2, "'bmp' is not one of 'png', 'webp', 'jpeg', 'avif'"),
    ("down a.png --refine 3 --refine-method slow", 2, "'slow' is not one of 'fast', 'hcd'"),
    ("down a.png --model nonsense", 3, "unknown model"),
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
    ("down a.png --backend caffe", 2, "'caffe' is not one of 'auto', 'torch', 'onnx', 'openvino'"),
    ("up a.png --backend onnx --precision bf16", 2, "backend onnx computes in fp32 or fp16, not bf16"),
    ("up a.png --backend openvino --device cuda", 2, "backend openvino computes on the CPU, not on cuda"),
    ("bench --dataset . --backend onnx --precision bf16", 2, "backend onnx computes in"),
    ("serve --backend openvino --precision fp16", 2, "backend openvino computes in"),
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
    ("export nonsense", 3, "unknown model"),
    ("export tad-x4 --precision bf16", 2, "'bf16' is not one of 'fp32', 'fp16'"),
    ("export edsr --scale 8", 2, "export each by itself: edsr-x2 and edsr-x4-v3"),
    ("export tad-recursive --scale 8", 2, "tad-recursive (applied 3 times)"),
    ("export lanczos", 2, "and is no network"),
    ("export l0", 2, "and is no network"),
    ("down a.png --model l0 --backend onnx", 2, "l0 is computed by torch alone"),
    ("up a.png --model lanczos --backend openvino", 2, "lanczos is computed by torch alone"),
    ("weights path nonsense", 3, "unknown checkpoint"),
    ("info gone.png", 1, "gone.png: No such file"),
]
LISTS = [
    "--version",
    "down --help",
    "weights list",
    "weights path edsr-x2 --json",
    "weights remove set5 --json",
    "train --list",
    "info a.png",
]
COMPLETED = [
    ("down --model ed", "edsr-x2"),
    ("down --model c", "car"),
    ("up --model b", "best"),
    ("bench --model edsr,ta", "edsr,tad"),
    ("down --scale 1", "16"),
    ("down --device c", "cuda"),
    ("down --device cpu,c", "cpu,cpu"),
    ("down --format w", "webp"),
    ("down --precision b", "bf16"),
    ("up --backend o", "openvino"),
    ("down --refine-method h", "hcd"),
    ("bench --dataset se", "set14"),
    ("bench --carrier j", "jpeg"),
    ("train edsr-x", "edsr-x2"),
    ("train --init ta", "tad-x4"),
    ("weights path urb", "urban100"),
    ("weights remove set1", "set14"),
    ("serve --model be", "best"),
]


class Wall:
    """Lets nothing heavy be imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in HEAVY:
            raise AssertionError(f"{name} was loaded")


def run(line: str) -> dict[str, object]:
    """Run the program in this process: exit code and what it printed."""
    from carcli.cli import app

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["carcli", *line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main()
            code: object = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        except AssertionError as error:  # the wall's
            code = str(error)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "made": Path("lr").exists()}


def complete(words: str) -> dict[str, object]:
    os.environ.update(_CARCLI_COMPLETE="complete_bash", COMP_WORDS=f"carcli {words}", COMP_CWORD=str(len(words.split())))
    return run("")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, dict[str, object]]:
    """What each command line says, all in one process, in which torch cannot be loaded."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "a.png").write_bytes((PHOTOS / "eyes.png").read_bytes())
    command = [sys.executable, __file__]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("line", "code", "message"), WRONG)
def test_what_makes_no_sense_is_said_without_torch(told, line, code, message):
    said = told[line]
    assert (said["code"], said["err"].count("\n"), said["made"]) == (code, 1, False), said["err"]
    assert message in said["err"]


@pytest.mark.parametrize("line", LISTS)
def test_what_needs_no_network_loads_none(told, line):
    assert (told[line]["code"], told[line]["err"]) == (0, "")


@pytest.mark.parametrize(("words", "expected"), COMPLETED)
def test_a_shell_completes(told, words, expected):
    assert expected in told[f"complete {words}"]["out"].split()


def test_words_that_an_option_may_be_are_those_that_there_are():
    from carcli.cli import choices
    from carcli.engines.names import BACKENDS
    from carcli.export.request import PRECISIONS as STORED
    from carcli.images.written import NAMES
    from carcli.rescale.refinement import METHODS
    from carcli.runtime.device import DTYPES
    from carcli.runtime.device_names import AUTO, PRECISIONS

    assert tuple(word.value for word in choices.FileFormat) == NAMES
    assert tuple(word.value for word in choices.RefineMethod) == METHODS
    assert tuple(word.value for word in choices.FixedPrecision) == PRECISIONS == tuple(DTYPES)
    assert tuple(word.value for word in choices.Precision) == (AUTO, *PRECISIONS)
    assert tuple(word.value for word in choices.StoredPrecision) == STORED
    assert tuple(word.value for word in choices.Backend) == BACKENDS == (AUTO, *(word.value for word in choices.FixedBackend))


def test_to_load_a_checkpoint_takes_no_compiler():
    bundled = [entry.id for entry in manifest.entries() if entry.bundled.exists()]
    code = (
        "import sys; from carcli.rescale.rescaler import load_networks\n"
        f"for name in {bundled}: load_networks(name, None, 'cpu')\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_store_speaks_json(told):
    record = json.loads(told["weights path edsr-x2 --json"]["out"])
    assert (record["event"], record["id"], record["state"]) == ("path", "edsr-x2", "bundled")
    record = json.loads(told["weights remove set5 --json"]["out"])
    assert record == {"schema": 1, "event": "removed", "id": "set5", "files": 0}


if __name__ == "__main__":
    sys.meta_path.insert(0, Wall())  # type: ignore[arg-type]
    said = {line: run(line) for line in [*(line for line, *_ in WRONG), *LISTS]}
    said |= {f"complete {words}": complete(words) for words, _ in COMPLETED}
    print(json.dumps(said))
