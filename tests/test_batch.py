"""Batches: every output whole or not at all, and one bad file never stops the rest."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image

import carcli.batch
from carcli.batch import Batch, Down, Job, Observer, Options, Request, Result, Up
from carcli.batch.folders import writable
from carcli.batch.journal import NAME
from carcli.batch.pipeline import Pipeline
from carcli.batch.work import Output, Worker
from carcli.batch.workers import Downscaler, Upscaler
from carcli.errors import CarcliError, UsageError, WeightsError
from carcli.images import codec
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.rescale.resolve import Untagged
from carcli.runtime import files

GREY_PROFILE = bytes(16) + b"GRAY" + bytes(16) + b"acsp" + bytes(100)  # its header is all that is looked at


@pytest.fixture(scope="module")
def bicubic() -> Rescaler:
    return load("bicubic", 4, "cpu")


@pytest.fixture(scope="module")
def shrink(bicubic) -> Downscaler:
    return Downscaler(bicubic)


def run(jobs: list[Job], worker: Worker, **options) -> list[Result]:
    return list(Pipeline([worker], Options(**options)).run(jobs))


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith(files.TEMPORARY)]


def test_a_bad_file_is_named_and_the_rest_done(tmp_path, shrink):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    jobs = [
        Job(PHOTOS / "eyes.png", tmp_path / "lr/eyes.png"),
        Job(bad, tmp_path / "lr/bad.png"),
        Job(tmp_path / "gone.jpg", None, "no such file or folder"),
        Job(PHOTOS / "cat.jpg", tmp_path / "lr/cat.png"),
    ]
    results = run(jobs, shrink)
    assert [r.status for r in results] == ["done", "failed", "failed", "done"]
    assert "not an image" in results[1].reason
    assert not (tmp_path / "lr/bad.png").exists()
    assert results[0].input_size == (221, 161)
    assert results[0].output_size == (56, 41)
    assert results[0].output_bytes == (tmp_path / "lr/eyes.png").stat().st_size


def test_existing_outputs_are_left_alone_unless_overwritten(tmp_path, shrink):
    target = tmp_path / "eyes.png"
    target.write_bytes(b"precious")
    job = Job(PHOTOS / "eyes.png", target)
    assert [r.status for r in run([job], shrink)] == ["skipped"]
    assert target.read_bytes() == b"precious"
    assert [r.status for r in run([job], shrink, overwrite=True)] == ["done"]
    assert codec.read(target).tag is not None


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_cut_at_any_point_leaves_the_old_file_and_nothing_else(tmp_path, shrink, monkeypatch, where, error):
    target = tmp_path / "eyes.png"
    target.write_bytes(b"precious")

    def fail(*_args, **_options):
        raise error

    if where == "write":
        monkeypatch.setattr(codec, "encode_kept", lambda _held, file, *_: (file.write(b"half"), fail()))
    elif where == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    attempt = partial(run, [Job(PHOTOS / "eyes.png", target)], shrink, overwrite=True)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            attempt()
    else:
        assert "No space left" in attempt()[0].reason
    monkeypatch.undo()
    assert target.read_bytes() == b"precious"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), WeightsError("damaged")])
def test_a_failing_network_is_that_images_failure(tmp_path, bicubic, error):
    class Failing(Downscaler):
        def __call__(self, picture, turn):
            raise error

    (result,) = run([Job(PHOTOS / "eyes.png", tmp_path / "a.png")], Failing(bicubic))
    assert result.status == "failed"
    assert "memory" in result.reason or "damaged" in result.reason
    assert list(tmp_path.iterdir()) == []


def test_the_same_input_gives_the_same_bytes(tmp_path, shrink):
    for name in ("a.png", "b.png"):
        run([Job(PHOTOS / "cat.jpg", tmp_path / name)], shrink)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def upscaler(model=None, scale=None, ignore_tag=False):
    return Upscaler(Request(model, scale, ignore_tag), lambda name, at: load(name, at, "cpu"))


@pytest.fixture
def tagged(bicubic, photo) -> codec.Picture:
    return bicubic.down(codec.Picture(photo))


def test_up_takes_model_scale_and_size_from_the_tag(tagged, photo):
    output = upscaler()(tagged)
    assert output.picture.pixels.shape == photo.shape
    assert output.picture.tag is None
    assert (output.model, output.notes) == ("bicubic", ())


def test_threads_that_share_an_upscaler_load_a_checkpoint_once(tagged):
    loaded = []

    def slowly(name, at):
        loaded.append(name)
        time.sleep(0.05)
        return load(name, at, "cpu")

    shared = Upscaler(Request(), slowly)
    with ThreadPoolExecutor(4) as threads:
        first, *others = [output.picture.pixels for output in threads.map(shared, [tagged] * 4)]
    assert loaded == ["bicubic"]
    assert all(np.array_equal(first, other) for other in others)


def test_up_of_an_ordinary_image_says_so(photo):
    output = upscaler(scale=2)(codec.Picture(photo[:20, :30]))
    assert output.picture.size == (60, 40)
    assert output.model == "edsr-base-x2@0.75"
    assert (output.notes, output.untagged) == ((), Untagged("edsr-base-x2@0.75"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "edsr"}, "was made with bicubic, not edsr; leave --model out"),
        ({"scale": 2}, "its tag says scale 4, not 2"),
    ],
)
def test_a_tag_that_disagrees_says_how_to_go_on(tagged, options, message):
    with pytest.raises(CarcliError, match=message):
        upscaler(**options)(tagged)


def test_an_ignored_tag_is_no_tag(tagged, photo):
    output = upscaler("edsr", 4, ignore_tag=True)(tagged)
    assert (output.model, output.notes, output.untagged) == ("edsr-base-x4@0.75", (), None)
    assert output.picture.size == (tagged.size[0] * 4, tagged.size[1] * 4)


def test_a_tag_of_unknown_or_other_weights_is_refused(tagged):
    stranger = replace(tagged, tag=replace(tagged.tag, checkpoint="edsr-future-x4"))
    with pytest.raises(CarcliError, match="does not have"):
        upscaler()(stranger)
    other = replace(tagged, tag=replace(tagged.tag, checkpoint="edsr-base-x4", digest="0" * 64))
    with pytest.raises(CarcliError, match="another version of edsr-base-x4"):
        upscaler()(other)


def test_alpha_grey_and_profile_survive_both_ways(bicubic, photo):
    grey = photo[..., :1]
    ramp = np.broadcast_to(np.linspace(0, 255, 221).astype(np.uint8)[None, :, None], grey.shape)
    picture = codec.Picture(grey, ramp, GREY_PROFILE, None)
    small = bicubic.down(picture)
    assert (small.pixels.shape, small.alpha.shape, small.icc) == ((41, 56, 1), (41, 56, 1), GREY_PROFILE)
    back = bicubic.up(small)
    assert (back.pixels.shape, back.alpha.shape, back.icc) == (grey.shape, grey.shape, GREY_PROFILE)
    assert np.abs(back.alpha.astype(int) - picture.alpha).mean() < 1


def test_an_output_folder_that_cannot_be_written_is_noticed_first(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CarcliError, match="cannot write there"):
        writable(tmp_path / "file" / "lr")


def test_the_library_takes_and_gives_the_kinds_it_promises(bicubic, photo):
    assert bicubic.down(photo).shape == (41, 56, 3)
    assert bicubic.down(Image.fromarray(photo)).size == (56, 41)
    assert bicubic.down(Image.fromarray(photo[..., 0])).mode == "L"
    assert bicubic.up(bicubic.down(photo), size=(221, 161)).shape == photo.shape
    with pytest.raises(CarcliError, match="expected a uint8 array"):
        bicubic.down(photo.astype(np.float32))


def test_a_whole_batch_from_a_program(tmp_path):
    """What ``carcli down photos`` and ``carcli up lr`` do."""
    cpu = Options(devices=("cpu",), include=("*.png",))
    (small,) = carcli.batch.run(Down("bicubic", scale=4), [PHOTOS], tmp_path / "lr", cpu)
    assert (small.status, small.target, small.model) == ("done", tmp_path / "lr" / "eyes.png", "bicubic")
    (back,) = carcli.batch.run(Up(), [tmp_path / "lr"], tmp_path / "sr", cpu)
    assert (back.status, back.output_size) == ("done", small.input_size)
    (again,) = carcli.batch.run(Down("bicubic", scale=4), [PHOTOS], tmp_path / "lr", cpu)
    assert (again.status, again.reason) == ("skipped", "done already")


def test_a_batch_that_cannot_be_run_says_so_at_once(tmp_path):
    with pytest.raises(UsageError, match="no images in"):
        carcli.batch.run(Down("bicubic"), [tmp_path], tmp_path / "lr")
    with pytest.raises(WeightsError, match="unknown model"):
        carcli.batch.run(Down("nonsense"), [PHOTOS], tmp_path / "lr")
    with pytest.raises(UsageError, match="keeps the size"):
        Down(to_grey=True, scale=2)


def test_an_observer_hears_of_every_image(tmp_path):
    class Listener(Observer):
        def __init__(self):
            self.heard = []

        def settled(self, result):
            self.heard.append(result)

    listener = Listener()
    results = list(carcli.batch.run(Down("bicubic"), [PHOTOS], tmp_path, Options(devices=("cpu",)), listener))
    assert sorted(listener.heard, key=str) == sorted(results, key=str)


def test_what_describes_a_batch_can_be_sent_anywhere():
    job = Job(Path("a.jpg"), Path("lr/a.png"))
    result = Result(Path("a.jpg"), Path("lr/a.png"), "done", notes=("note",), input_size=(3, 2))
    tasks = [Down("tad", 2, refinement=Refinement(3)), Up(Request("edsr", 4, ignore_tag=True), tile=64)]
    for data in (job, result, Options(include=("*.jpg",), workers=3), *tasks):
        assert pickle.loads(pickle.dumps(data)) == data


def test_an_output_can_be_sent_too(tagged, photo):
    output = Downscaler(load("bicubic", 4, "cpu"))(codec.Picture(photo))
    copy: Output = pickle.loads(pickle.dumps(output))
    assert np.array_equal(copy.picture.pixels, tagged.pixels)
    assert (copy.picture.tag, copy.model) == (tagged.tag, "bicubic")


CPU = Options(devices=("cpu",))


def test_a_missing_input_makes_no_folder_of_the_outputs_name(tmp_path):
    (result,) = carcli.batch.run(Down("bicubic"), [tmp_path / "gone.jpg"], tmp_path / "small.png", CPU)
    assert (result.status, result.reason) == ("failed", "no such file or folder")
    assert not list(tmp_path.iterdir())


def test_one_subfolder_that_cannot_be_written_is_no_end(tmp_path):
    for name in ("p/a/1.png", "p/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(PHOTOS / "eyes.png", tmp_path / name)
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr/a").write_bytes(b"a file")
    results = carcli.batch.run(Down("bicubic"), [tmp_path / "p"], tmp_path / "lr", replace(CPU, recursive=True))
    assert [r.status for r in results] == ["failed", "done"]


def test_images_of_kinds_that_cannot_be_read_are_told(tmp_path):
    for name in ("a.psd", "b.PSD", "c.nef", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"no images in .* that can be read here, but 2 \.psd, 1 \.nef; name"):
        Batch(Down("bicubic"), [tmp_path], tmp_path / "lr", CPU)
    shutil.copy(PHOTOS / "eyes.png", tmp_path)
    assert Batch(Down("bicubic"), [tmp_path], tmp_path / "lr", CPU).left_out == {".psd": 2, ".nef": 1}


def test_what_is_known_of_an_output_that_is_there(tmp_path):
    for down, existing in ((Down("bicubic", 2), None), (Down("bicubic", 2), "same"), (Down("bicubic", 4), "settings")):
        (result,) = carcli.batch.run(down, [PHOTOS], tmp_path / "lr", replace(CPU, include=("*.png",)))
        assert result.existing == existing
    (tmp_path / "lr" / NAME).unlink()
    (result,) = carcli.batch.run(Down("bicubic", 2), [PHOTOS], tmp_path / "lr", replace(CPU, include=("*.png",)))
    assert result.existing == "unknown"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_list_is_read_once_because_it_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "list")
    with ThreadPoolExecutor(1) as threads:
        threads.submit((tmp_path / "list").write_bytes, f"{PHOTOS / 'eyes.png'}\n".encode())
        batch = Batch(Down("bicubic"), [], tmp_path / "lr", replace(CPU, from_file=tmp_path / "list"))
    assert [r.status for r in batch.run()] == ["done"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_device_is_no_output(tmp_path):
    with pytest.raises(UsageError, match="/dev/full: is a file, but several images need a folder"):
        Batch(Down("bicubic"), [PHOTOS], "/dev/full", CPU)
    (tmp_path / "full.png").symlink_to("/dev/full")
    (result,) = carcli.batch.run(Down("bicubic"), [PHOTOS / "eyes.png"], tmp_path / "full.png", replace(CPU, overwrite=True))
    assert result.status == "failed"
    assert "is no ordinary file; remove it" in result.reason
    assert (tmp_path / "full.png").is_symlink()
