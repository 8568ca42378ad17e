"""``bench --rate``: bits of whole files, and what other codecs make of the full-size picture in as many."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import PHOTOS, noise
from PIL import Image
from test_cli import carcli

from carcli.bench import chart, rate
from carcli.bench.rate import Original

BENCH = ("bench", "-q", "--dataset", "set", "--model", "bicubic", "--device", "cpu", "--rate")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rate, "codecs", lambda: ["JPEG", "WEBP"])  # the quick ones
    Path("set").mkdir()
    for name in ("eyes.png", "cat.jpg"):
        with Image.open(PHOTOS / name) as image:
            image.convert("RGB").crop((0, 0, 96, 64)).save(Path("set", name).with_suffix(".png"))


def test_codecs_are_those_that_this_pillow_writes(monkeypatch):
    monkeypatch.undo()
    assert rate.codecs()[:2] == ["JPEG", "WEBP"]
    original = Original(noise(24, 32), 2)
    for codec in rate.codecs():
        assert original.coded(codec, rate.WORST).bytes < original.coded(codec, rate.BEST).bytes


def test_the_best_quality_whose_file_is_not_larger_is_found(photo):
    original = Original(photo, 4)
    for codec in ("JPEG", "WEBP"):
        most = 6000
        found = original.within(codec, most)
        assert found.bytes <= most < original.coded(codec, found.quality + 1).bytes
        assert found == original.coded(codec, found.quality)
        assert original.within(codec, 1e9).quality == rate.BEST
        assert original.within(codec, 1).quality == rate.WORST  # nothing is that small


def test_ours_stand_beside_codecs_of_the_full_size_at_the_same_bytes():
    code, out, err = carcli(*BENCH, "--scale", 2, "--format", "json")
    assert code == 0, err
    rates = json.loads(out)
    ours = [r for r in rates if r["codec"] is None]
    assert [(r["model"], r["file"], r["images"]) for r in ours] == [("bicubic", "png", 2), ("bicubic", "webp", 2)]
    for own in ours:
        beside = [r for r in rates if r["model"] == "bicubic" and r["file"] == own["file"] and r["codec"]]
        assert [r["codec"] for r in beside] == ["jpeg", "webp"]
        assert all(0 < r["bpp"] <= own["bpp"] for r in beside)
    for codec in ("jpeg", "webp"):
        curve = [r for r in rates if r["model"] is None and r["codec"] == codec]
        assert len(curve) == len(rate.CURVE)
        assert all(a["bpp"] < b["bpp"] and a["psnr_y"] < b["psnr_y"] for a, b in pairwise(curve))


def test_bits_are_of_the_file_that_down_writes(tmp_path):
    shutil.rmtree("set")
    Path("set").mkdir()
    shutil.copy(PHOTOS / "eyes.png", "set/eyes.png")  # 221x161, of which 220x160 are measured
    Image.open("set/eyes.png").crop((0, 0, 220, 160)).save("whole.png")
    assert carcli("down", "whole.png", "--model", "bicubic", "--scale", 4, "--device", "cpu")[0] == 0
    rates = json.loads(carcli(*BENCH, "--format", "json")[1])
    assert rates[0]["bpp"] * 220 * 160 / 8 == pytest.approx(Path("lr/whole.png").stat().st_size, abs=64)


def test_every_format_says_the_same_and_json_has_a_line_for_each():
    rates = json.loads(carcli(*BENCH, "--format", "json")[1])
    rows = list(csv.DictReader(io.StringIO(carcli(*BENCH, "--format", "csv")[1])))
    assert [float(row["bpp"]) for row in rows] == [r["bpp"] for r in rates]
    lines = [json.loads(line) for line in carcli(*BENCH, "--json")[1].splitlines()]
    events = [line for line in lines if line["event"] == "rate"]
    assert [{k: e[k] for k in rates[0]} for e in events] == rates
    for form in ("md", "table"):
        out = carcli(*BENCH, "--format", form)[1]
        assert "bicubic, LR as PNG" in out
        assert f"{rates[0]['bpp']:.2f}" in out


def test_the_report_draws_our_points_above_the_codecs_curves():
    assert carcli(*BENCH, "--report", "page.html")[0] == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Rate and distortion" in page
    assert page.count("<polyline") == 2
    for places in re.findall(r'<polyline [^>]*points="([^"]*)"', page):
        for place in places.split():
            x, y = map(float, place.split(","))
            assert chart.PLOT.left <= x <= chart.PLOT.right
            assert chart.PLOT.top <= y <= chart.PLOT.bottom


def test_without_the_option_the_report_has_none_of_it():
    assert carcli(*BENCH[:-1], "--report", "page.html")[0] == 0
    assert "Rate and distortion" not in Path("page.html").read_text(encoding="utf-8")
