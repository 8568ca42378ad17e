"""Pairs that were trained through a lossy format: what a checkpoint says of it, and when it is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write_photos
from PIL import Image
from safetensors import safe_open
from test_cli import carcli as command

import carcli
from carcli.batch import Down, Options, Refinement, Up, run
from carcli.bench.compare import Setup, measure
from carcli.errors import UsageError, WeightsError
from carcli.images.picture import Picture
from carcli.images.written import Encoding, encoding
from carcli.models.registry import build
from carcli.rescale.rescaler import Rescaler, load
from carcli.weights import checkpoint, manifest, store
from carcli.weights.choose import choose, choose_carried, family_of, known_models, loss
from carcli.weights.description import Description, describe
from carcli.weights.manifest import Entry, Figures, Manifest
from tools.bundle import measure_again, to_toml

NARROW = {"features": 8, "blocks": 1}
JPEG, WEBP = encoding("jpeg"), encoding("webp", 80)


def figures(dataset: str, psnr: float, carrier: str = "", quality: int = 0, scale: int = 0) -> Figures:
    return Figures(
        dataset=dataset, psnr_y=psnr, ssim_y=0.9, lr_psnr_y=40.0, lr_psnr_rgb=35.0, lr_bpp=5.0, command="carcli bench",
        carrier=carrier, quality=quality, scale=scale,
    )  # fmt: skip


def entry(folder: Path, scale: int, carrier: str = "", reached: tuple[Figures, ...] = ()) -> Entry:
    """A tiny checkpoint of family tad, written and described."""
    about = Description(f"tad{f'-{carrier}' * bool(carrier)}-x{scale}", "tad", scale, NARROW, NARROW, carrier or None)
    path = folder / f"{about.id}.safetensors"
    digest = checkpoint.write(path, about, *build("tad", scale, {"down": NARROW, "up": NARROW}))
    return Entry(
        id=about.id, family="tad", scale=scale, file=path.name, licence="MIT", parameters=1, sha256=digest,
        bytes=path.stat().st_size, down=NARROW, up=NARROW, carrier=carrier, figures=reached,
    )  # fmt: skip


@pytest.fixture
def entries(tmp_path, monkeypatch) -> list[Entry]:
    """A manifest of one's own, whose pairs through JPEG stand before the others and have the better figures."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(manifest, "BUNDLED", folder)
    every = [
        entry(folder, 2, "jpeg", (figures("set5", 50.0),)),
        entry(folder, 4, "jpeg"),
        entry(folder, 2, reached=(figures("set5", 40.0), figures("set5", 30.5, "jpeg", 90), figures("set5", 29.5, "jpeg", 75))),
        entry(folder, 4),
    ]
    monkeypatch.setattr(manifest, "manifest", lambda: Manifest(version=1, checkpoints=tuple(every)))
    return every


# What a checkpoint says


def test_a_checkpoint_says_what_it_was_trained_through(tmp_path):
    through = entry(tmp_path, 2, "jpeg")
    assert describe(tmp_path / through.file) == Description.of(through)
    assert Description.of(through).carrier == "jpeg"
    assert (through.variety, Description.of(through).variety) == ("tad-jpeg", "tad-jpeg")
    exact = entry(tmp_path, 4)
    assert describe(tmp_path / exact.file).carrier is None
    with safe_open(tmp_path / exact.file, "pt") as file:  # files are as they were where there is none
        assert "carrier" not in file.metadata()["carcli"]


@pytest.mark.parametrize("carrier", ["png", "gif", "JPEG", 5])
def test_only_a_lossy_format_can_be_one(tmp_path, carrier):
    pair = build("tad", 2, {"down": NARROW, "up": NARROW})
    with pytest.raises(WeightsError, match="carrier"):
        checkpoint.write(tmp_path / "a.safetensors", Description("a", "tad", 2, NARROW, NARROW, carrier), *pair)
    assert not (tmp_path / "a.safetensors").exists()


def test_the_manifest_reads_and_the_tool_writes_it(tmp_path):
    through = entry(tmp_path, 2, "jpeg", (figures("set5", 40.0), figures("set5", 30.0, "jpeg", 90)))
    (again,) = manifest.parse(f"version = 1\n{to_toml(through)}", "test").checkpoints
    assert again == through
    assert "carrier" not in to_toml(entry(tmp_path, 4))
    for text, said in (('carrier = "gif"', "none of webp, jpeg, avif"), ("quality = 90", "unknown key")):
        with pytest.raises(WeightsError, match=said):
            manifest.parse(f"version = 1\n{to_toml(entry(tmp_path, 4))}{text}\n", "test")
    with pytest.raises(WeightsError, match="carrier and quality go together"):
        manifest.parse(f"version = 1\n{to_toml(through)}".replace("quality = 90\n", ""), "test")


# Which one is chosen


def test_no_lossless_name_ever_means_it(entries):
    assert choose("tad", 2).description.id == "tad-x2"
    assert choose("best", 2).description.id == "tad-x2"
    assert choose("tad", 8).description.id == "tad-x2+tad-x4"
    assert choose("best", 8).description.id == "tad-x2+tad-x4"
    assert family_of("tad-x2") == "tad"


def test_its_own_names_mean_it(entries):
    assert choose("tad-jpeg", None).description.id == "tad-jpeg-x4"
    assert choose("tad-jpeg-x2", None).description.carrier == "jpeg"
    assert choose("tad-jpeg", 8).description.id == "tad-jpeg-x2+tad-jpeg-x4"
    assert choose("tad-jpeg", 8).description.carrier == "jpeg"
    assert choose("tad-jpeg-x2", 4).description.carrier == "jpeg"
    assert family_of("tad-jpeg-x2+tad-jpeg-x4") == "tad-jpeg"
    assert {"tad", "tad-jpeg", "tad-jpeg-x2"} <= set(known_models())
    with pytest.raises(WeightsError, match="joins families"):
        choose("tad-x2+tad-jpeg-x4", None)


def test_a_lossy_format_means_it(entries, tmp_path):
    for name in ("jpeg", "webp", "avif"):
        assert choose_carried(name, None).description.id == "tad-jpeg-x4"
        assert choose_carried(name, 2).description.id == "tad-jpeg-x2"
        assert choose_carried(name, 3) is None
    entries.append(entry(tmp_path / "bundled", 4, "webp"))
    assert choose_carried("webp", 4).description.id == "tad-webp-x4"
    assert choose_carried("jpeg", 4).description.id == "tad-jpeg-x4"


def test_down_takes_it_by_itself_and_up_knows_it(entries, tmp_path):
    photos = write_photos(tmp_path / "photos", 2, 24, 32)
    for name, quality in (("jpeg", None), ("webp", 80)):
        options = Options(format=name, quality=quality, devices=("cpu",))
        results = list(run(Down(scale=2), [photos], tmp_path / name, options))
        assert {(r.status, r.model, r.notes) for r in results} == {("done", "tad-jpeg-x2", ())}
        back = list(run(Up(), [tmp_path / name], tmp_path / f"{name}-sr", Options(devices=("cpu",))))
        assert {(r.status, r.model, r.output_size, r.notes) for r in back} == {("done", "tad-jpeg-x2", (32, 24), ())}
    (lossless,) = list(run(Down("tad-jpeg", 2), [photos / "0.png"], tmp_path / "png", Options(devices=("cpu",))))
    assert (lossless.status, lossless.format) == ("done", "png")


def test_a_file_of_ones_own_says_it_too(entries, tmp_path):
    path = tmp_path / "bundled" / "tad-jpeg-x2.safetensors"
    Down(str(path)).load("cpu", encoding=JPEG)
    with pytest.raises(UsageError, match="survives a lossy file"):
        Down(str(path.with_name("tad-x2.safetensors"))).load("cpu", encoding=JPEG)


# Others are refused


def test_another_model_is_refused_with_what_was_measured(entries):
    said = r"tad-x2 needs every level of its LR images: on set5 it restores {} dB from jpeg {}, 40\.00 without loss; .*--lossy"
    with pytest.raises(UsageError, match=said.format(r"30\.50", 90)):
        Down("tad", 2).load("cpu", encoding=JPEG)
    with pytest.raises(UsageError, match=said.format(r"29\.50", 75)):
        Down("tad", 2).load("cpu", encoding=encoding("webp", 70))
    with pytest.raises(UsageError, match=r"nothing that tad-x4 hides in an LR image survives .* no better than bicubic"):
        Down("tad", 4).load("cpu", encoding=JPEG)
    with pytest.raises(UsageError, match="nothing that tad-x2 hides"):  # twice: measured for once alone
        Down("tad-x2", 4).load("cpu", encoding=JPEG)


def test_it_is_done_all_the_same_where_that_is_wanted(entries, tmp_path):
    photos = write_photos(tmp_path / "photos", 1, 24, 32)
    options = Options(format="jpeg", devices=("cpu",))
    (result,) = run(Down("tad", 2, lossy=True), [photos], tmp_path / "lr", options)
    assert (result.status, result.model) == ("done", "tad-x2")
    (back,) = run(Up(), [tmp_path / "lr"], tmp_path / "sr", Options(devices=("cpu",)))
    assert "was saved with loss: what tad-x2 hid" in back.notes[0]


def test_without_loss_everything_goes_and_classical_models_always(entries):
    for how in (Encoding(), encoding("webp")):
        Down("tad", 2).load("cpu", encoding=how)
    for model in ("bicubic", "lanczos"):
        Down(model, 2).load("cpu", encoding=JPEG)
        assert load(model, 2, "cpu").loss(JPEG) is None


@pytest.mark.parametrize("how", [JPEG, WEBP, encoding("jpeg", 100)])
def test_refinement_and_grey_need_every_level(entries, how):
    with pytest.raises(UsageError, match="refinement settles single levels"):
        Down("tad-jpeg", 2, refinement=Refinement(3)).load("cpu", encoding=how)


def test_colours_hidden_in_grey_do_not_survive():
    with pytest.raises(UsageError, match="its colours do not come back"):
        Down(to_grey=True).load("cpu", encoding=JPEG)
    Down(to_grey=True).load("cpu", encoding=encoding("webp"))


def test_where_there_is_none_a_line_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    every = tuple(e for e in manifest.entries() if not e.carrier)
    monkeypatch.setattr(manifest, "manifest", lambda: Manifest(version=1, checkpoints=every, archives=ARCHIVES))
    Image.fromarray(noise(16, 16)).save("a.png")
    code, _, err = command("down", "a.png", "--format", "jpeg", "--device", "cpu")
    assert code == 2
    assert "no checkpoint here was trained for lossy files," in err
    assert len(err.splitlines()) == 1
    assert command("down", "a.png", "--format", "jpeg", "--lossy", "--device", "cpu")[0] == 0
    assert carcli.read("lr/a.jpg").tag.checkpoint == choose("edsr", 4).description.id


ARCHIVES = manifest.manifest().archives


def test_the_words_for_a_chain_are_those_of_words(entries):
    assert loss(choose("tad", 8), JPEG).startswith("nothing that tad-x2+tad-x4 hides")


# What it reaches


def test_bench_sends_lr_images_through_such_files(entries):
    pair, bicubic = load("tad-jpeg", 2, "cpu"), load("bicubic", 2, "cpu")
    picture = Picture(noise(48, 64))
    rows = {how.name: measure(picture, Setup(pair, bicubic, encoding=how))[0] for how in (Encoding(), JPEG, encoding("webp"))}
    assert {name: row.model for name, row in rows.items()} == {
        "png": "tad-jpeg-x2", "jpeg 90": "tad-jpeg-x2 jpeg 90", "webp": "tad-jpeg-x2 webp",
    }  # fmt: skip
    assert [(row.carrier, row.quality) for row in rows.values()] == [("png", None), ("jpeg", 90), ("webp", None)]
    assert rows["webp"].psnr_y == rows["png"].psnr_y != rows["jpeg 90"].psnr_y
    assert len({row.lr_bytes for row in rows.values()}) == 3


def test_bench_takes_several_qualities(entries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(Path("set"), 1, 32, 32)
    arguments = ("bench", "--dataset", "set", "--scale", 2, "--model", "tad-jpeg,bicubic", "--device", "cpu", "--carrier", "jpeg")
    code, out, err = command(*arguments, "--quality", 50, "--quality", 90, "--format", "csv")
    assert code == 0, err
    rows = [line.split(",") for line in out.splitlines()]
    at = {name: i for i, name in enumerate(rows[0])}
    assert [(row[at["model"]], row[at["carrier"]], row[at["quality"]]) for row in rows[1:]] == [
        (f"{model} jpeg {quality}", "jpeg", str(quality)) for model in ("tad-jpeg-x2", "bicubic") for quality in (50, 90)
    ]
    code, _, err = command(*arguments, "--refine", 3)
    assert (code, "leave one of them out" in err) == (2, True)
    assert command(*arguments[:-1], "png", "--quality", 90)[0] == 2


def test_the_tool_measures_through_them_and_again(entries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(Path("set"), 1, 32, 32)
    monkeypatch.setattr(store, "verified", lambda entry: entry.bundled)
    first = entries[2].model_copy(update={"figures": (figures("set", 1.0),)})
    through = measure_again(first, [encoding("jpeg", 50), encoding("jpeg", 90)])
    assert [(f.carrier, f.quality) for f in through.figures] == [("", 0), ("jpeg", 50), ("jpeg", 90)]
    assert through.figures[1].command == "carcli bench --dataset set --scale 2 --carrier jpeg --quality 50 --model tad-x2"
    assert through.figures[1].lr_bpp < through.figures[2].lr_bpp
    assert measure_again(through) == through


def test_a_pair_keeps_to_itself_what_it_was_trained_through(entries):
    pair = load("tad-jpeg", 2, "cpu")
    small = pair.down(Picture(noise(16, 16)))
    assert isinstance(pair, Rescaler)
    assert (small.exact, replace(small, exact=None).tag) == (None, small.tag)
    assert load("tad", 2, "cpu").down(Picture(noise(16, 16))).exact is not None
    assert np.array_equal(pair.down(noise(16, 16)), small.pixels)
