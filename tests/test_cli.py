"""The program as a person or a pipeline meets it: files, exit codes, and what is printed where."""

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
from conftest import PHOTOS
from PIL import Image
from typer.testing import CliRunner

from carcli.batch import journal
from carcli.cli import app as program
from carcli.images.codec import read
from carcli.images.metrics import psnr_y
from carcli.weights.description import describe


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def carcli(*arguments: object, capture=None) -> tuple[int, str, str]:
    """Run the program in this process; exit code, standard output and standard error."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["carcli", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            program.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def test_the_main_job_on_real_photographs():
    shutil.copytree(PHOTOS, "photos")
    code, out, _ = carcli("down", "photos", "--scale", 4)
    assert code == 0
    assert "done" in out
    code, out, _ = carcli("up", "lr", "--model", "edsr")
    assert code == 0
    for path in sorted(Path("photos").glob("*.[jp][pn]g")):
        original, restored = read(path), read(Path("sr") / f"{path.stem}.png")
        assert restored.size == original.size
        bicubic = Image.open(path).convert("RGB")
        small = bicubic.resize([-(-n // 4) for n in bicubic.size], Image.Resampling.BICUBIC)
        classical = np.asarray(small.resize(bicubic.size, Image.Resampling.BICUBIC))
        ours, theirs = (psnr_y(original.pixels, p, 4) for p in (restored.pixels, classical))
        assert ours > theirs + 1, f"{path.name}: {ours:.2f} dB, bicubic {theirs:.2f} dB"


@pytest.mark.parametrize("scale", [2, 4])
def test_the_lr_looks_like_a_thumbnail(scale):
    carcli("down", PHOTOS / "coffee.jpg", "--scale", scale, "-o", "small.png")
    small = Image.open("small.png")
    original = Image.open(PHOTOS / "coffee.jpg").convert("RGB")
    thumbnail = np.asarray(original.resize(small.size, Image.Resampling.BICUBIC))
    assert small.mode == "RGB"
    assert psnr_y(thumbnail, np.asarray(small), 0) > 30


def test_json_is_one_object_a_line_and_nothing_else():
    Path("bad.jpg").write_bytes(b"junk")
    code, out, err = carcli("down", PHOTOS / "eyes.png", "bad.jpg", "--model", "bicubic", "--json")
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["event"] for r in records] == ["image", "image", "summary"]
    assert [r.get("status") for r in records] == ["done", "failed", None]
    assert (records[0]["output_width"], records[0]["output_height"]) == (56, 41)
    assert records[2]["done"] == records[2]["failed"] == 1
    assert "bad.jpg: not an image" in err


def test_quiet_says_nothing_but_errors():
    Path("bad.jpg").write_bytes(b"junk")
    code, out, err = carcli("down", PHOTOS / "eyes.png", "bad.jpg", "--model", "bicubic", "--quiet")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1


def test_a_second_run_skips_and_says_so():
    carcli("down", PHOTOS / "eyes.png", "--model", "bicubic")
    first = Path("lr/eyes.png").read_bytes()
    code, out, err = carcli("down", PHOTOS / "eyes.png", "--model", "bicubic")
    assert code == 0
    assert "1 skipped" in out
    assert "--overwrite" in err
    assert Path("lr/eyes.png").read_bytes() == first


def test_a_larger_lr_is_not_passed_over_in_silence():
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("tiny.png")
    _, _, err = carcli("down", "tiny.png", "--model", "bicubic")
    assert "more bytes than the file it was made from" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["down"], 2, "name image files or folders, or --from-file"),
        (["nonsense"], 2, "No such command"),
        (["down", "x.png", "--scale", "777"], 2, "128"),
        (["down", "empty"], 2, "no images in empty"),
        (["down", "gone.jpg"], 1, "gone.jpg: no such file or folder"),
        (["down", "a.png", "-o", "a.bmp"], 2, "name a .png, .webp, .jpg or .avif file"),
        (["down", "a.png", "--device", "toaster"], 2, "unknown device"),
        (["down", "a.png", "--precision", "fp8"], 2, "'fp8' is not one of 'auto', 'fp32', 'bf16', 'fp16'"),
        (["down", "a.png", "--model", "nonsense"], 3, "unknown model"),
        (["down", "a.png", "--model", "gone.safetensors"], 3, "no such checkpoint file"),
        (
            ["down", "a.png", "--model", "tad-grey", "--scale", "3"],
            3,
            "tad-grey' keeps the size, and has no checkpoint at scale 3",
        ),
        (["down", "a.png", "--scale", "1"], 2, "a number above 1"),
        (["down", "a.png", "--scale", "nan"], 2, "128"),
        (["down", "a.png", "--width", "0"], 2, "1"),
        (["down", "a.png", "--width", "5", "--fit", "3x3"], 2, "--width and --fit contradict each other; name one"),
        (["down", "a.png", "--size", "640"], 2, "give width and height in pixels, as in 640x480"),
        (["down", "a.png", "--size", "0x5"], 2, "each at least 1"),
        (["down", "a.png", "--size", "²x5"], 2, "give width and height in pixels"),
        (["down", "a.png", "--to-grey", "--max-pixels", "9"], 2, "--to-grey keeps the size; leave --max-pixels out"),
        (["down", "a.png", "--width", "5", "--refine", "3"], 2, "refinement takes a scale that edsr has"),
        (["down", "a.png", "--scale", "2.5", "--refine", "3"], 2, "refinement takes a scale that edsr has"),
        (["up", "a.png", "--model", "nonsense"], 3, "unknown model"),
        (["down", "a.png", "-o", "a.png/lr"], 3, "cannot write there"),
        (["info", "gone.png"], 1, "gone.png: No such file"),
        (["weights", "path", "nonsense"], 3, "unknown checkpoint"),
        (["bench", "--dataset", "nonsense"], 2, "no dataset"),
        (["bench", "--dataset", "a", "--refine", "x"], 2, "numbers of iterations"),
        (["down", "a.png", "--refine", "3", "--refine-method", "slow"], 2, "'slow' is not one of 'fast', 'hcd'"),
        (["train"], 2, "name a recipe"),
        (["train", "nonsense", "."], 2, "unknown recipe"),
        (["train", "edsr-base-x4", "empty"], 2, "at least two training images"),
    ],
)
def test_every_failure_is_one_line_and_a_code_of_its_own(arguments, code, message):
    Path("empty").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    got, _, err = carcli(*arguments)
    assert got == code
    assert message in err
    assert "Traceback" not in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_unreadable_inputs_and_read_only_outputs():
    shutil.copy(PHOTOS / "eyes.png", "secret.png")
    Path("secret.png").chmod(0)
    code, _, err = carcli("down", "secret.png", PHOTOS / "cat.jpg", "--model", "bicubic")
    assert code == 1
    assert "secret.png: Permission denied" in err
    assert Path("lr/cat.png").exists()
    Path("locked").mkdir(mode=0o500)
    code, _, err = carcli("down", PHOTOS / "cat.jpg", "--model", "bicubic", "-o", "locked")
    assert code == 3
    assert "cannot write there" in err


def test_up_into_its_own_folder_is_refused():
    carcli("down", PHOTOS / "eyes.png", "--model", "bicubic")
    before = Path("lr/eyes.png").read_bytes()
    code, _, err = carcli("up", "lr", "-o", "lr", "--overwrite")
    assert code == 1
    assert "replace itself" in err
    assert Path("lr/eyes.png").read_bytes() == before


def test_a_tag_made_with_another_family_is_an_error_that_says_how_to_go_on():
    carcli("down", PHOTOS / "eyes.png", "--model", "bicubic")
    code, _, err = carcli("up", "lr", "--model", "edsr")
    assert code == 1
    assert "was made with bicubic, not edsr; leave --model out, or pass --ignore-tag" in err
    assert carcli("up", "lr", "--model", "edsr", "--ignore-tag")[0] == 0
    assert read(Path("sr/eyes.png")).size == (224, 164)


def test_info_tells_the_tag_and_the_machine():
    carcli("down", PHOTOS / "eyes.png", "--scale", 2)
    code, out, _ = carcli("info", "lr/eyes.png", PHOTOS / "cat.jpg")
    assert code == 0
    assert "edsr-x2" in out
    assert "original 221x161" in out
    assert "no carcli tag" in out
    _, out, _ = carcli("info", "lr/eyes.png", "--json")
    assert json.loads(out)["tag"]["padding"] == [1, 1]
    code, out, _ = carcli("info", "--json")
    machine = json.loads(out)
    assert machine["resampler"] in ("numba", "composition")
    assert "edsr-base-x4" in machine["checkpoints"]


def test_bench_compares_families_on_a_folder():
    Path("set").mkdir()
    shutil.copy(PHOTOS / "eyes.png", "set")
    code, out, _ = carcli("bench", "--dataset", "set", "--scale", 2, "--model", "edsr,bicubic", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    means = {r["model"]: r for r in rows if r["event"] == "mean"}
    assert means["edsr-x2"]["psnr_y"] > means["bicubic"]["psnr_y"] + 1
    assert means["bicubic"]["lr_psnr_y"] is None
    code, out, _ = carcli("bench", "--dataset", "set", "--scale", 2, "--model", "bicubic", "-q")
    assert f"{means['bicubic']['psnr_y']:.2f}" in out


def test_weights_are_listed_verified_and_found():
    code, out, _ = carcli("weights", "list")
    assert code == 0
    assert "edsr-base-x4" in out
    assert carcli("weights", "verify")[0] == 0
    _, out, _ = carcli("weights", "path", "edsr-base-x4")
    assert Path(out.strip()).is_file()


@pytest.mark.parametrize("command", [[], ["down"], ["up"], ["bench"], ["train"], ["info"], ["weights"], ["weights", "list"]])
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(program.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: carcli" in " ".join(result.output.split())


def test_help_does_not_load_torch():
    code = "import sys; sys.argv = ['carcli', 'down', '--help']\n"
    code += "from carcli.cli.app import main\ntry: main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_interrupting_leaves_whole_files_only_and_exits_with_130():
    Path("many").mkdir()
    for i in range(200):
        shutil.copy(PHOTOS / "rocket.jpg", f"many/{i:03}.jpg")
    child = subprocess.Popen(
        [sys.executable, "-m", "carcli", "down", "many", "--model", "bicubic"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(Path("lr").glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Traceback" not in err
    done = sorted(Path("lr").glob("*.png"))
    assert 3 <= len(done) < 200
    assert {p.name for p in Path("lr").iterdir()} - {p.name for p in done} == {journal.NAME}
    recorded = [json.loads(line) for line in Path("lr", journal.NAME).read_text().splitlines()]
    assert {r["target"] for r in recorded} == {p.name for p in done}
    assert all(read(path).tag is not None for path in done)


def test_a_pair_of_ones_own_from_training_to_restoring():
    Path("tiny.toml").write_text(
        "[model]\nfamily = 'edsr'\nscale = 2\ndown = { net = 'base', features = 8, blocks = 1 }\n"
        "up = { features = 8, blocks = 1, res_scale = 1.0, tail = 'direct' }\n[data]\npatch = 8\nbatch = 2\n",
        encoding="utf-8",
    )
    code, out, err = carcli("train", "tiny.toml", PHOTOS, "--steps", 3, "--lr-guidance", 0.25, "-o", "guided")
    assert code == 0, err
    assert json.loads(Path("guided/log.jsonl").read_text().splitlines()[0])["recipe"]["loss"]["lr_guidance"] == 0.25
    assert describe(Path("guided/best.safetensors")).id == "tiny-guidance-0.25"
    code, out, err = carcli("train", "tiny.toml", PHOTOS, "--steps", 3, "-o", "run")
    assert code == 0
    assert "run/best.safetensors" in out
    assert "held-out HR" in err
    own = "run/best.safetensors"
    assert carcli("down", PHOTOS / "eyes.png", "--scale", 2, "--model", own)[0] == 0
    code, _, err = carcli("up", "lr")
    assert code == 1
    assert "pass its .safetensors file as --model" in err
    assert carcli("up", "lr", "--model", own)[0] == 0
    assert read(Path("sr/eyes.png")).size == (221, 161)


def test_train_names_every_recipe():
    from carcli.training import recipe

    code, out, _ = carcli("train", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == recipe.names()


@pytest.mark.slow
def test_an_interrupted_training_run_saves_and_says_how_to_go_on():
    command = [
        sys.executable,
        "-m",
        "carcli",
        "train",
        "edsr-base-x2",
        str(PHOTOS),
        "--steps",
        "9999",
        "-o",
        "run",
        "--device",
        "cpu",
    ]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("run/log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert b"--resume" in err
    assert b"Traceback" not in err
    assert Path("run/state.pt").exists()


def test_best_is_whatever_an_image_was_made_with():
    assert carcli("down", PHOTOS / "eyes.png", "--model", "best")[0] == 0
    assert carcli("up", "lr", "--model", "best")[0] == 0
    assert read(Path("sr/eyes.png")).size == (221, 161)


def test_an_emulated_precision_is_noted(monkeypatch):
    from carcli.runtime import device as precision

    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    _, _, err = carcli("down", "a.png", "--precision", "bf16", "--model", "bicubic", "--device", "cpu")
    assert "emulates it" in err


def test_a_refined_image_says_what_it_gained_and_is_restored_like_any_other():
    code, _, err = carcli("down", PHOTOS / "eyes.png", "--refine", 3)
    assert code == 0
    assert "refined by +" in err
    tag = read(Path("lr/eyes.png")).tag
    assert tag.refinement.startswith("fast 3 +")
    assert carcli("up", "lr")[0] == 0
    assert read(Path("sr/eyes.png")).size == (221, 161)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_ctrl_c_while_refining_keeps_the_image_only_if_asked(keep):
    command = [sys.executable, "-m", "carcli", "down", str(PHOTOS / "eyes.png"), str(PHOTOS / "coffee.jpg"), "--refine", "99999"]
    command += ["--device", "cpu", "--json", *(["--refine-keep"] if keep else [])]
    script = (
        "import sys, runpy, os, signal; from carcli.rescale import refine; honest = refine._Problem.error; seen = []\n"
        "def error(self, lr):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 20: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return honest(self, lr)\n"
        "refine._Problem.error = error; refine.RATES = (1 / 255, 1 / 255)\n"
        "sys.argv = ['carcli', *sys.argv[1:]]; runpy.run_module('carcli', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script, *command[3:]], capture_output=True, text=True, timeout=300)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in Path("lr").iterdir() if p.name != journal.NAME] == (["eyes.png"] if keep else [])


def test_bench_refines_too():
    shutil.copytree(PHOTOS, "set", ignore=lambda d, names: [n for n in names if n != "eyes.png"])
    code, out, _ = carcli("bench", "--dataset", "set", "--model", "bicubic", "--refine", "2,8", "--format", "json", "-q")
    assert code == 0
    rows = json.loads(out)
    assert [r["model"] for r in rows] == ["bicubic", "bicubic +2", "bicubic +8"]
    assert rows[0]["psnr_y"] < rows[1]["psnr_y"] < rows[2]["psnr_y"]
