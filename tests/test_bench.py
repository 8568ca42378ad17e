"""``carcli bench``: several datasets, scales and models in one table beside the published rows, in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, noise
from PIL import Image, ImageCms
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from carcli.bench import analysis, compare, files, names, published, report, table
from carcli.bench.benchmark import pairs_of
from carcli.bench.compare import Mean, Setup, measure
from carcli.cli import app as program
from carcli.cli.bench_flags import BenchFlags
from carcli.cli.benchmark import Terminal
from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images import codec
from carcli.images.metrics import psnr_rgb, psnr_y, ssim_y
from carcli.images.picture import Picture
from carcli.models.registry import build
from carcli.rescale.rescaler import load
from carcli.weights import checkpoint, manifest
from carcli.weights.description import Description


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    shutil.copy(PHOTOS / "eyes.png", "set/eyes.png")


def bench(*arguments):
    result = CliRunner().invoke(program.app, ["bench", "-q", *[str(a) for a in arguments]])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_several_datasets_scales_and_models_in_one_table():
    Path("other").mkdir()
    shutil.copy(PHOTOS / "eyes.png", "other/eyes.png")
    code, out, _ = bench(
        "--dataset", "set", "--dataset", "other", "--scale", 2, "--scale", 4, "--model", "bicubic,lanczos", "--format", "json"
    )
    assert code == 0
    rows = json.loads(out)
    assert [(r["dataset"], r["scale"], r["model"]) for r in rows] == [
        (d, s, m) for d in ("set", "other") for s in (2, 4) for m in ("bicubic", "lanczos")
    ]
    assert all(r["images"] == 1 and not r["published"] for r in rows)
    assert rows[0]["lr_psnr_y"] is None  # infinite


def test_at_scale_1_only_colour_from_grey_is_measured():
    code, out, err = bench("--dataset", "set", "--scale", 1, "--model", "tad,bicubic", "--format", "json")
    assert code == 0
    assert "bicubic changes nothing at scale 1" in err
    (row,) = json.loads(out)
    assert row["model"] == "tad-grey"
    assert row["psnr_rgb"] > 30
    with pytest.raises(WeightsError, match="none of bicubic"):
        bench("--dataset", "set", "--scale", 1, "--model", "bicubic")


def test_csv_and_markdown_say_the_same():
    arguments = ("--dataset", "set", "--scale", 2, "--model", "lanczos", "--format")
    (row,) = csv.DictReader(io.StringIO(bench(*arguments, "csv")[1]))
    lines = bench(*arguments, "md")[1].splitlines()
    heads, cells = ([c.strip() for c in line.strip("|").split("|")] for line in (lines[0], lines[2]))
    shown = dict(zip(heads, cells, strict=True))
    assert shown["model"] == row["model"] == "lanczos"
    assert shown["PSNR-Y"] == f"{float(row['psnr_y']):.2f}"
    assert shown["b/px LR"] == f"{float(row['lr_bpp']):.2f}"
    assert float(row["hr_bytes"]) == Path("set/eyes.png").stat().st_size


@pytest.mark.slow
def test_of_all_those_are_measured_that_compute_as_asked(monkeypatch):
    monkeypatch.setattr("carcli.bench.benchmark.manifest.entries", list)  # what is bundled takes long
    said: list[str] = []
    pairs = pairs_of(["all"], 4, "cpu", "bf16", say=said.append)
    assert [pair.id for pair in pairs] == ["bicubic", "lanczos", "perceptual", "dpid", "dpid-0.5"]
    assert said == ["l0 is left out: l0 does not compute in bf16; use fp32"]
    with pytest.raises(UsageError, match="l0 does not compute in bf16"):
        pairs_of(["all", "l0"], 4, "cpu", "bf16", say=said.append)


@pytest.mark.slow
def test_all_means_every_checkpoint_that_is_here():
    rows = json.loads(bench("--dataset", "set", "--model", "all", "--format", "json")[1])
    models = [r["model"] for r in rows]
    assert {"edsr-base-x4", "tad-x4", "bicubic", "lanczos"} <= set(models)
    assert "edsr-official-x4" not in models
    assert len(models) == len(set(models))


def test_a_model_without_the_scale_is_left_out_with_a_word():
    code, out, err = bench("--dataset", "set", "--scale", 3, "--model", "tad-grey,bicubic", "--format", "json")
    assert code == 0
    assert [r["model"] for r in json.loads(out)] == ["bicubic"]
    assert "no checkpoint at scale 3" in err
    with pytest.raises(WeightsError, match="no checkpoint at scale 3"):
        bench("--dataset", "set", "--scale", 3, "--model", "tad-grey")


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_any_scale_is_measured_on_images_as_they_are():
    arguments = ("--dataset", "set", "--scale", 2.5, "--scale", 3, "--scale", 2.0, "--model", "tad,bicubic,lanczos")
    code, out, err = bench(*arguments, "--format", "json", "--save", "out")
    assert code == 0, err
    rows = json.loads(out)
    assert [(r["scale"], r["model"]) for r in rows] == [
        (scale, model)
        for scale, ours in ((2.5, "tad-x4"), (3, "tad-x4"), (2, "tad-x2"))
        for model in (ours, "bicubic", "lanczos")
    ]
    by_scale = {scale: [r["psnr_y"] for r in rows if r["scale"] == scale] for scale in (2, 2.5, 3)}
    assert by_scale[2][1] > by_scale[2.5][1] > by_scale[3][1]
    for path in sorted(Path("set").iterdir()):
        width, height = size_of(path)
        for scale, (w, h) in ((2.5, (width, height)), (3, (width // 3 * 3, height // 3 * 3))):
            folder = Path("out/set") / f"tad-x4-x{scale}"
            assert size_of(folder / f"{path.stem}.sr.png") == (w, h)
            assert size_of(folder / f"{path.stem}.lr.png") == (math.ceil(w / scale), math.ceil(h / scale))
    assert "| x2.5 | bicubic |" in bench("--dataset", "set", "--scale", 2.5, "--model", "bicubic", "--format", "md")[1]
    with pytest.raises(UsageError, match="--refine takes scales that the models have"):
        bench("--dataset", "set", "--scale", 2.5, "--model", "tad", "--refine", "2")


def test_published_rows_stand_beside_ours(photo):
    bicubic = load("bicubic", 4)
    ours, _ = measure(Picture(photo), Setup(bicubic, bicubic), "set5", "x.png")
    made = table.assemble([Mean(ours, 5, 5)])
    assert [r["published"] for r in made] == [False] + [True] * 5
    assert made[0]["ahead_of_car"] == pytest.approx(ours.psnr_y - 33.88)
    assert made[0]["ahead_of_irn"] == pytest.approx(ours.psnr_y - 36.19)
    assert table.cells(made[-1])["model"] == "published: IRN"
    assert table.cells(made[-1])["psnr_y"] == "36.19"
    assert published.rows("holiday", 4) == ()
    assert published.ahead(40.0, "holiday", 4, published.CAR) is None


def test_a_narrow_terminal_keeps_the_essential(photo):
    bicubic = load("bicubic", 4)
    ours, _ = measure(Picture(photo), Setup(bicubic, bicubic), "set5", "x.png")
    made = table.assemble([Mean(ours, 5, 5)])
    wide, narrow = (table.rich(made, width) for width in (300, 80))
    assert len(narrow.columns) < len(wide.columns)
    assert {"dataset", "model", "PSNR-Y", "vs CAR"} <= {str(c.header) for c in narrow.columns}


def test_the_tad_protocol_compares_whole_images_over_rgb(photo):
    arguments = ("--dataset", "set", "--scale", 2, "--model", "lanczos", "--protocol", "tad", "--format")
    heads = [c.strip() for c in bench(*arguments, "md")[1].splitlines()[0].strip("|").split("|")]
    assert {"PSNR-RGB", "LR-RGB"} <= set(heads)
    assert not {"PSNR-Y", "SSIM-Y"} & set(heads)
    (row,) = json.loads(bench(*arguments, "json")[1])
    pair = load("lanczos", 2)
    whole = photo[:160, :220]
    assert row["psnr_rgb"] == pytest.approx(psnr_rgb(whole, pair.up(pair.down(whole)), 0))


def test_scales_beyond_any_checkpoint():
    rows = json.loads(bench("--dataset", "set", "--scale", 16, "--model", "tad,bicubic", "--format", "json")[1])
    assert [r["scale"] for r in rows] == [16, 16]
    assert rows[0]["psnr_y"] > rows[1]["psnr_y"] + 1


def test_an_image_smaller_than_the_scale_is_measured_whole(photo):
    pair = load("bicubic", 128, "cpu")
    found, _ = measure(Picture(photo[:60, :200]), Setup(pair, pair))
    assert 5 < found.psnr_y < 40


def test_images_are_saved():
    bench("--dataset", "set", "--scale", 4, "--model", "bicubic", "--save", "out")
    lr, sr = (np.asarray(Image.open(f"out/set/bicubic-x4/eyes.{kind}.png")) for kind in ("lr", "sr"))
    assert lr.shape == (40, 55, 3)
    assert sr.shape == (160, 220, 3)


def pictures(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_two_images_of_one_stem_are_saved_beside_each_other(photo):
    Image.fromarray(photo).save("set/eyes.bmp")
    bench("--dataset", "set", "--model", "bicubic", "--save", "out")
    assert pictures("out") == [f"set/bicubic-x4/eyes{n}.{kind}.png" for n in ("-2", "") for kind in ("lr", "sr")]
    assert not list(Path("out").rglob(".carcli-*"))


def test_two_datasets_of_one_name_stay_two():
    for folder in ("a/photos", "b/photos"):
        shutil.copytree("set", folder)
    code, out, _ = bench(
        "--dataset", "a/photos", "--dataset", "b/photos", "--dataset", "a/photos", "--model", "bicubic", "--format", "json"
    )
    assert [(row["dataset"], row["images"]) for row in json.loads(out)] == [("photos", 1), ("photos-2", 1)]
    assert code == 0


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "/", "a/b", "a\\b", "c:", "con", "AUX.png", "nul", "a.", "a ", "x" * 300, "東" * 300, "\ud800", "\n", "-"],
)
def test_a_name_becomes_a_file_name_that_leads_nowhere(name, tmp_path):
    made = names.plain(name)
    assert made.strip(". ") == made != ""
    assert not set(made) & set('/\\:*?"<>|\n')
    assert not re.fullmatch("(?i)(con|aux|nul)(\\..*)?", made)
    (tmp_path / f"{made}.sr.png").write_bytes(b"")
    assert {path.name for path in tmp_path.iterdir()} == {f"{made}.sr.png", "set"}


def test_no_two_names_become_one():
    given = names.Names()
    made = [given.of(name, name) for name in ("a:b", "a/b", "A_B", "a_b", "a:b", "a_b-2")]
    assert made == ["a_b", "a_b-2", "A_B-3", "a_b-4", "a_b", "a_b-2-2"]


BAD = {
    "two.gif": lambda path: Image.new("RGB", (64, 64)).save(
        path, save_all=True, append_images=[Image.new("RGB", (64, 64), "red")]
    ),
    "text.png": lambda path: path.write_text("no image"),
    "empty.png": lambda path: path.write_bytes(b""),
    "folder.png": lambda path: path.mkdir(),
    "gone.png": lambda path: path.symlink_to("nowhere"),
    "pipe.png": os.mkfifo if hasattr(os, "mkfifo") else lambda path: path.write_bytes(b""),
    "cut.png": lambda path: path.write_bytes((PHOTOS / "eyes.png").read_bytes()[:9000]),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_image_is_named_and_the_others_are_measured(name):
    BAD[name](Path("set") / name)
    code, out, err = bench("--dataset", "set", "--model", "bicubic,lanczos", "--format", "json")
    assert code == 1
    assert [(row["images"], row["of"]) for row in json.loads(out)] == [(1, 2), (1, 2)]
    said = [line for line in err.splitlines() if "left out" in line]
    assert len(said) == 2
    assert said[0].startswith(f"carcli: set/{name}: left out (")
    assert said[1] == "carcli: 1 image left out"
    code, out, _ = bench("--dataset", "set", "--model", "bicubic", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert (failed["dataset"], failed["image"], sorted(failed)) == (
        "set",
        name,
        ["dataset", "event", "image", "reason", "schema"],
    )
    assert [(event["images"], event["of"]) for event in events if event["event"] == "mean"] == [(1, 2)]
    assert code == 1


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")])
def test_an_image_that_takes_too_much_memory_is_left_out(monkeypatch, error):
    honest = compare.measure
    shutil.copy("set/eyes.png", "set/large.png")

    def measured(picture, setup, dataset, image, size):
        if image == "large.png":
            raise error
        return honest(picture, setup, dataset, image, size)

    monkeypatch.setattr(compare, "measure", measured)
    code, _, err = bench("--dataset", "set", "--model", "bicubic")
    assert code == 1
    assert re.search(r"set/large\.png: left out \((not enough memory|CUDA out of memory\.)\)", err)


def test_nothing_that_can_be_measured_is_an_error():
    Path("set/eyes.png").write_bytes(b"")
    with pytest.raises(ImageError, match="none of the images could be measured"):
        bench("--dataset", "set", "--model", "bicubic")


def test_a_mean_of_a_part_is_not_held_against_what_is_published(photo):
    bicubic = load("bicubic", 4)
    ours, _ = measure(Picture(photo), Setup(bicubic, bicubic), "set14", "x.png")
    made = table.assemble([Mean(ours, 13, 14)])
    assert table.cells(made[0])["images"] == "13 of 14"
    assert "ahead_of_car" not in made[0]
    assert "ahead_of_car" in table.assemble([Mean(ours, 14, 14)])[0]
    assert "images" in {str(c.header) for c in table.rich(made, 60).columns}
    assert "13 of 14" in table.markdown(made)


MARKUP = "[bold]x[/y] | `a` <b> =1"


def test_names_are_text_in_every_format(photo):
    bicubic = load("bicubic", 4)
    ours, _ = measure(Picture(photo), Setup(bicubic, bicubic), MARKUP, "x.png")
    made = table.assemble([Mean(ours, 1, 1)])
    out = io.StringIO()
    Console(file=out, width=300).print(table.rich(made, 300))
    assert MARKUP in out.getvalue()
    assert r"\[bold\]x\[/y\] \| \`a\` \<b\> =1" in table.markdown(made)
    for name in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\ud800"):
        ours, _ = measure(Picture(photo), Setup(bicubic, bicubic), name, "x.png")
        made = table.assemble([Mean(ours, 1, 1)])
        (row,) = csv.DictReader(io.StringIO(table.comma_separated(made)))
        assert not row["dataset"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert float(row["psnr_y"]) == ours.psnr_y
        for text in (table.comma_separated(made), table.markdown(made), table.as_json(made)):
            text.encode()
        table.markdown(made).encode()


def test_a_progress_bar_shows_names_as_they_are(photo):
    out = io.StringIO()
    with Progress(console=Console(file=out, width=200, force_terminal=True)) as bar:
        terminal = Terminal(bar, 1, BenchFlags(dataset=["set"]))
        bicubic = load("bicubic", 4)
        terminal.image(*measure(Picture(photo), Setup(bicubic, bicubic), "set", "[/nonsense].png"))
    assert "[/nonsense].png" in out.getvalue()


def test_what_is_measured_is_the_file_that_a_user_gets(photo):
    pair = load("bicubic", 4, "cpu")
    with Image.open(PHOTOS / "eyes.png") as image:
        image.load()
        image.crop((0, 0, 220, 160)).convert("RGB").save(
            "set/own.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        )
    pair.down(Path("set/own.png")).save("lr.png")
    found, _ = measure(codec.read(Path("set/own.png")), Setup(pair, pair))
    assert found.lr_bytes == Path("lr.png").stat().st_size
    assert found.lr_bpp == pytest.approx(8 * found.lr_bytes / (55 * 40))


@pytest.mark.parametrize("option", ["--save", "--spectrum", "--offsets", "--report"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half(monkeypatch, option):
    def full(path, write):
        raise OSError(28, "No space left on device")

    for module in (files, report):
        monkeypatch.setattr(module, "write_whole", full)
    code, _, err = bench("--dataset", "set", "--model", "edsr-base-x4", option, "out")
    assert code == 3
    assert err.splitlines()[-1] == "carcli: out: No space left on device"


def test_two_files_of_one_id_are_not_taken_for_one(tmp_path):
    description = Description("mine", "tad", 4, {"features": 8, "blocks": 1}, {"features": 8, "blocks": 1, "tail": "direct"})
    for seed in (0, 1):
        torch.manual_seed(seed)
        checkpoint.write(
            tmp_path / f"{seed}.safetensors", description, *build("tad", 4, {"down": description.down, "up": description.up})
        )
    code, out, err = bench(
        "--dataset", "set", "--model", f"{tmp_path}/0.safetensors,{tmp_path}/1.safetensors", "--format", "json"
    )
    assert [row["model"] for row in json.loads(out)] == ["mine"]
    assert "1.safetensors has the id of another model that is measured, mine" in err
    assert code == 0


@pytest.mark.parametrize("name", ["x" * 300, "gone", "set/eyes.png/x", "../gone", "a\0b"])
def test_a_dataset_that_cannot_be_read_is_one_line(name):
    with pytest.raises(UsageError) as caught:
        bench("--dataset", name, "--model", "bicubic")
    assert "\n" not in str(caught.value)


def test_published_figures_are_of_datasets_that_there_are():
    datasets = {dataset.id for dataset in manifest.manifest().datasets}
    methods = [method for scale in (1, 2, 4) for name in datasets for method, _ in published.rows(name, scale)]
    assert {published.CAR, published.IRN} <= set(methods)
    assert published.rows("source", 4) == ()  # a folder may be called anything
    assert dict(published.rows("bsd100", 1))["TAD, paper"].psnr_rgb == 36.14
    assert dict(published.rows("set5", 2))["CNN-CR & CNN-SR"].ssim_y is None


def test_an_output_that_cannot_be_written_is_one_line():
    code, out, err = bench("--dataset", "set", "--model", "bicubic", "--report", "gone/r.html", "--format", "csv")
    assert code == 3
    assert "gone" in err
    assert len(out.splitlines()) == 2  # what took so long to measure is not lost


def test_the_spectrum_of_a_wave_is_where_its_frequency_is():
    x = np.arange(128)
    wave = (127 + 100 * np.sin(2 * np.pi * x / 4))[None, :].repeat(128, 0).astype(np.uint8)  # a quarter of the sampling rate
    found = analysis.spectrum(np.stack([wave] * 3, 2))
    y, peak = np.unravel_index(found.argmax(), found.shape)
    assert abs(int(y) - 128) <= 2
    assert min(abs(int(peak) - 64), abs(int(peak) - 192)) <= 2


def test_spectra_and_offsets_are_drawn():
    bench("--dataset", "set", "--model", "edsr-base-x4,bicubic", "--spectrum", "s", "--offsets", "o", "--region", "3,4,2,1")
    assert {p.name for p in Path("s").iterdir()} == {"set-edsr-base-x4-x4.spectrum.png", "set-bicubic-x4.spectrum.png"}
    (drawing,) = Path("o").iterdir()
    margin = 13 // 2 + 4
    with Image.open(drawing) as picture:
        assert picture.size == ((2 * 4 + 2 * margin) * analysis.ZOOM, (4 + 2 * margin) * analysis.ZOOM)


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", "0,0,999,1", "-1,0,1,1"])
def test_a_region_that_is_none_is_refused(region):
    with pytest.raises(UsageError, match="region"):
        bench("--dataset", "set", "--model", "edsr-base-x4", "--offsets", "o", "--region", region)


def test_what_is_too_small_to_be_drawn_is_measured_all_the_same(photo):
    for name, (width, height) in {"a": (1, 1), "b": (40, 2), "z": (5, 9)}.items():
        Image.fromarray(photo[:height, :width]).save(f"set/{name}.png")
    options = ("--report", "r.html", "--save", "out", "--spectrum", "out", "--offsets", "o")
    code, out, _ = bench("--dataset", "set", "--model", "edsr-base-x4,tad,bicubic", *options, "--format", "json")
    assert code == 0
    assert {row["images"] for row in json.loads(out)} == {4}
    assert [path.name for path in sorted(Path("o").iterdir())] == [f"set-{n}-edsr-base-x4-x4.offsets.png" for n in ("eyes", "z")]


def test_offsets_of_a_model_without_kernels_are_refused(photo):
    with pytest.raises(UsageError, match="no resampling kernels"):
        analysis.draw_offsets(load("tad", 4), photo)


def test_the_metrics_are_scikit_images():
    """Our own small code against a library's: PSNR and SSIM of RGB and Y, on the valid window."""
    metrics = pytest.importorskip("skimage.metrics")
    a, b = noise(60, 50, seed=1), noise(60, 50, seed=2)
    b = (a.astype(int) * 3 // 4 + b // 4).astype(np.uint8)
    cut = (slice(4, -4), slice(4, -4))
    assert psnr_rgb(a, b, 4) == pytest.approx(metrics.peak_signal_noise_ratio(a[cut], b[cut], data_range=255), abs=1e-9)
    y = [16 + image.astype(np.float64) @ [65.481, 128.553, 24.966] / 255 for image in (a, b)]
    assert psnr_y(a, b, 4) == pytest.approx(metrics.peak_signal_noise_ratio(y[0][cut], y[1][cut], data_range=255), abs=1e-9)
    _, full = metrics.structural_similarity(
        y[0][cut], y[1][cut], data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_y(a, b, 4) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-7)


def test_peak_memory_and_sizes_are_measured(photo):
    bicubic = load("bicubic", 2)
    found, _ = measure(Picture(photo), Setup(bicubic, bicubic), hr_bytes=1000)
    assert found.lr_bpp_webp < found.lr_bpp
    assert found.lr_bytes * 8 == pytest.approx(found.lr_bpp * (photo.shape[0] // 2) * (photo.shape[1] // 2))
    assert math.isnan(found.peak_mb) or found.peak_mb > 10


def test_bits_as_jpeg_ls_where_its_codec_is_here(photo):
    bicubic = load("bicubic", 2)
    found, _ = measure(Picture(photo), Setup(bicubic, bicubic))
    if find_spec("imagecodecs") is None:
        assert math.isnan(found.lr_bpp_jpegls)
        pytest.skip("imagecodecs is not here (pip install 'carcli[jpegls]')")
    import imagecodecs

    lr = np.asarray(bicubic.down(photo))
    plain = 8 * len(imagecodecs.jpegls_encode(lr)) / (lr.shape[0] * lr.shape[1])
    assert 0.8 * found.lr_bpp_webp < found.lr_bpp_jpegls < plain


def test_several_kinds_of_thumbnails_in_one_table():
    _, out, _ = bench("--dataset", "set", "--scale", 2, "--model", "bicubic", "--thumbnails", "bicubic, dpid-1,l0 q75", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["model"] for row in rows if row["event"] == "mean"] == [
        f"bicubic of {kind}" for kind in ("bicubic", "dpid", "l0 q75")
    ]
