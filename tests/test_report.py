"""``bench --report``: one page that needs nothing else, bounded in bytes, whose names hide nothing and harm nobody."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, noise
from PIL import Image
from typer.testing import CliRunner

from carcli.bench import chart, excerpt, labels, report
from carcli.bench.compare import Mean, Measured, Setup, Shown, measure
from carcli.bench.table import assemble
from carcli.cli import app as program
from carcli.cli.bench_flags import BenchFlags, Format
from carcli.cli.flags import command_line
from carcli.images.picture import Picture
from carcli.rescale.rescaler import load

VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """What a page consists of; fails where its elements are not closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.elements if name == tag and attributes.items() <= given.items()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    shutil.copy(PHOTOS / "eyes.png", "set/eyes.png")


def page_of(*arguments) -> Page:
    words = ["bench", "-q", "--dataset", "set", "--report", "r.html", *map(str, arguments)]
    result = CliRunner().invoke(program.app, words)
    assert result.exit_code == 0, result.output
    return Page(Path("r.html").read_text(encoding="utf-8"))


def measured(pixels: np.ndarray, scale: int = 4) -> tuple[Measured, Shown]:
    pair = load("bicubic", scale, "cpu")
    return measure(Picture(pixels), Setup(pair, pair), "set", "a.png")


# The page


def test_it_draws_fidelity_against_bytes_seconds_and_likeness():
    page = page_of("--model", "edsr,tad,bicubic")
    titles = [given["aria-label"] for given in page.of("svg")]
    assert [title.partition(";")[0].partition(" over ")[2] for title in titles] == [
        "kB an LR file",
        "seconds an image, down and up",
        "LR PSNR against bicubic, RGB, dB",
    ]
    assert len(page_of("--model", "lanczos,bicubic").of("svg")) == 2  # one that is not bicubic has no trade of likeness to draw


def test_it_needs_nothing_else_and_runs_no_script_but_its_own():
    page = page_of("--model", "bicubic,lanczos")
    addresses = [given[key] for _, given in page.elements for key in ("src", "href") if key in given]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert not any(key.startswith("on") for _, given in page.elements for key in given)
    (policy,) = page.of("meta", **{"http-equiv": "Content-Security-Policy"})
    text = Path("r.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy["content"]
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"https?://|url\(", text)


def test_each_picture_is_in_it_once_and_says_what_it_is():
    page = page_of("--model", "bicubic,lanczos")
    images = page.of("img")
    held = [given["src"] for given in images if "src" in given]
    assert len(held) == len(set(held)) == 1 + 2 * 3  # the original; restored, LR and error of two models
    ids = {given["id"] for _, given in page.elements if "id" in given}
    assert {given["data-same"] for given in images if "data-same" in given} <= ids
    assert all(given["alt"] for given in images)
    for words in ("Original to the left, restored to the right", "LR at its size, 55×40", "LR magnified by pixel", "Error on Y"):
        assert page.text.count(words) == 2
    assert len(page.of("input", type="range")) == 2
    assert all(given["aria-label"] for given in page.of("input"))


def test_names_are_text():
    hostile = """<b>&"'onload=x.png"""
    shutil.copy(PHOTOS / "eyes.png", f"set/{hostile}")
    page = page_of("--model", "bicubic")
    assert page.of("b", onload="x") == []
    assert f"set/{hostile}" in page.text
    assert "<b>&" not in Path("r.html").read_text(encoding="utf-8")
    assert not re.search(r"\$\{(?!event|range|100|what)|\{\{|\{%", re.sub(r"<script>.*</script>", "", page.text))


def test_two_names_that_are_shown_alike_are_two_images():
    data, shown = measured(noise(40, 40))
    found = report.Report([("set", "a\n"), ("set", "a\\n")], 1)
    for name in ("a\n", "a\\n"):
        found.keep(replace(data, image=name), shown)
    found.write(Path("r.html"), assemble([Mean(data, 2, 2)]))
    page = Page(Path("r.html").read_text(encoding="utf-8"))
    assert len(page.of("details")) == 2


def test_it_says_the_command_that_it_came_of():
    page = page_of("--model", "bicubic", "--scale", 2.5)
    assert "carcli bench --dataset set --scale 2.5 --model bicubic --report r.html --quiet" in page.text


def test_a_command_is_written_as_a_shell_takes_it():
    flags = BenchFlags(dataset=["my photos", "set5"], scale=[2, 2.5], form=Format.md, rate=True, quality=[80, 90], refine="")
    assert command_line("bench", flags) == (
        "carcli bench --dataset 'my photos' --dataset set5 --scale 2 --scale 2.5 --quality 80 --quality 90 --rate --format md"
    )


@pytest.mark.parametrize(
    ("options", "row"),
    [
        (("--scale", 2.5, "--model", "tad,bicubic"), "x2.5"),
        (("--scale", 1, "--model", "tad"), "tad-grey x1"),
        (("--scale", 2, "--scale", 4, "--model", "tad"), "tad-x4 x4"),
        (("--scale", 2, "--model", "bicubic", "--carrier", "jpeg", "--quality", 80, "--quality", 95), "bicubic jpeg 95 x2"),
        (("--scale", 2, "--model", "tad", "--thumbnails", "lanczos q75"), "tad-x2 of lanczos q75 x2"),
        (("--scale", 2, "--model", "tad", "--refine", 1), "tad-x2 +1 x2"),
    ],
    ids=["fraction", "colour from grey", "two scales", "carrier", "thumbnails", "refined"],
)
def test_whatever_is_measured_is_shown(photo, options, row):
    shutil.rmtree("set")
    Path("set").mkdir()
    Image.fromarray(photo[:50, :70]).save("set/odd.png")
    Image.fromarray(photo[:50, :70, 0]).save("set/grey.png")
    Image.fromarray(np.dstack([photo[:40, :60], photo[:40, :60, 0]])).save("set/alpha.png")
    Image.fromarray(photo[:1, :1]).save("set/one.png")
    page = page_of(*options)
    assert row in page.text
    assert len(page.of("details")) == 4
    assert "nan" not in page.text
    assert "inf" not in page.text


# Bytes


@pytest.mark.slow
@pytest.mark.parametrize("models", [4, 1])
def test_forty_large_photographs_stay_under_fifteen_megabytes(models):
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)  # nothing takes more bytes than noise
    data, shown = measured(pixels)
    names = [("set", f"{i}.jpg") for i in range(40)]
    found = report.Report(names, models)
    for model in range(models):
        for _, image in names:
            found.keep(replace(data, model=f"m{model}", image=image), shown)
    found.write(Path("r.html"), assemble([Mean(data, 40, 40)]))
    assert 3e6 < Path("r.html").stat().st_size < 12e6
    page = Page(Path("r.html").read_text(encoding="utf-8"))
    assert len(page.of("details")) == 40
    assert page.text.count("in the frame the part below") == 40


def test_of_more_photographs_than_there_is_room_for_some_are_shown_evenly_and_that_is_said():
    data, shown = measured(noise(24, 24))
    names = [("set", f"{i:03}.png") for i in range(1000)]
    found = report.Report(names, models=32)
    for _, image in names:
        found.keep(replace(data, image=image), shown)
    found.write(Path("r.html"), assemble([Mean(data, 1000, 1000)]))
    page = Page(Path("r.html").read_text(encoding="utf-8"))
    assert "Of 1000 photographs 10 are shown." in page.text
    assert [name in page.text for name in ("set/000.png", "set/100.png", "set/900.png")] == [True] * 3


def test_the_part_that_is_shown_is_where_the_error_is():
    hr = noise(900, 1200)
    sr = hr.copy()
    sr[640:700, 900:960] ^= 64
    shown = Shown(hr=hr, lr=noise(225, 300), sr=sr)
    assert excerpt.Excerpts(shown).whole is None
    for widest in (480, 320, 64):
        part = excerpt.Excerpts(shown).of(widest)
        assert (part.hr.width, part.hr.height) == (widest, widest * 3 // 16 * 4)
        box = part.hr
        wrong = np.abs(box.of(sr).astype(int) - box.of(hr)).max(axis=(1, 2))
        assert wrong.any()
        assert (box.left, box.top, box.width, box.height) == tuple(4 * n for n in vars(part.lr).values())


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (577, 577), (601, 803)])
@pytest.mark.parametrize("scale", [1, 2.5, 4])
def test_a_part_is_the_same_of_both_sizes(size, scale):
    width, height = size
    lr = noise(max(1, round(height / scale)), max(1, round(width / scale)))
    shown = Shown(hr=noise(height, width), lr=lr, sr=noise(height, width, seed=1))
    for most in (1e9, 3e5, 1e4, 10, 0):
        part = excerpt.fitting(shown, lambda part: part.hr.width * part.hr.height, most)
        assert part.hr.width * part.hr.height <= max(most, 64 * 48)
        assert part.lr.of(lr).shape[:2] == (part.lr.height, part.lr.width)
        assert part.hr.of(noise(height, width)).shape[:2] == (part.hr.height, part.hr.width)
        assert min(part.hr.width, part.hr.height) >= 1
        assert part.lr.left * width / lr.shape[1] == pytest.approx(part.hr.left, abs=0.51)


# Charts


def rects(drawn: chart.Chart) -> list[labels.Rect]:
    marks = [*drawn.points, *drawn.lines, *drawn.curves]
    return [mark.label.place.rect(mark.label.text) for mark in marks if mark.label is not None]


@pytest.mark.parametrize("models", [1, 3, 12, 40])
@pytest.mark.parametrize("spread", [0.0, 0.02, 3.0])
def test_names_in_a_chart_stand_inside_it_and_none_over_another(models, spread):
    rng = np.random.default_rng(models)
    points = [
        (f"tad-jpeg-x2 jpeg {i}", float(x), float(y)) for i, (x, y) in enumerate(20 + spread * rng.standard_normal((models, 2)))
    ]
    lines = [("CAR & EDSR, released", 33.9), ("CAR & EDSR, paper", 33.88), ("IRN", 36.2)]
    curves = {"JPEG": [(1, 25.0), (15, 31.0)], "WEBP": [(1, 25.5), (15, 31.2)], "AVIF": [(2, 29.0), (16, 35.0)]}
    drawn = chart.scatter("title", "label", points, lines, curves)
    assert len(rects(drawn)) == models + 6
    assert all(rect.within(drawn.plot) for rect in rects(drawn))
    assert not any(a.meets(b) for a, b in combinations(rects(drawn), 2))
    discs = [labels.Rect(p.x - drawn.radius, p.y - drawn.radius, p.x + drawn.radius, p.y + drawn.radius) for p in drawn.points]
    assert not any(rect.meets(disc) for rect in rects(drawn) for disc in discs)


def test_names_without_room_are_numbered_and_said_below():
    few = chart.scatter("", "", [("a", 1.0, 30.0), ("b", 2.0, 33.0)], [("IRN", 36.0)])
    assert few.keys == ()
    assert [point.label.text for point in few.points] == ["a", "b"]
    many = chart.scatter("", "", [(f"a model with a name, {i}", 1 + i / 50, 30.0) for i in range(20)], [("IRN", 36.0)])
    assert [point.label.text for point in many.points] == [str(i) for i in range(1, 21)]
    assert [(key.text, key.name) for key in many.keys][-2:] == [("20", "a model with a name, 19"), ("a", "IRN")]


@pytest.mark.parametrize("costs", [[0.0], [0.0, 0.0], [0.001, 9.0], [1e6, 1e6], [35.0, 36.5], [1e-6]])
def test_a_chart_places_what_it_shows_inside_at_round_values(costs):
    drawn = chart.scatter("", "", [(str(i), cost, 30.0 + i) for i, cost in enumerate(costs)], [])
    for point in drawn.points:
        assert drawn.plot.left <= point.x <= drawn.plot.right
        assert drawn.plot.top <= point.y <= drawn.plot.bottom
    assert 2 <= len(drawn.x_ticks) <= 7
    assert all(drawn.plot.left <= tick.at <= drawn.plot.right for tick in drawn.x_ticks)
    ticks = [labels.Place(tick.at, 0, "middle").rect(tick.text) for tick in drawn.x_ticks]
    assert not any(a.meets(b) for a, b in combinations(ticks, 2))
    assert ticks[-1].right <= drawn.width


def test_the_axis_begins_at_zero_unless_all_are_much_alike():
    assert chart.scatter("", "", [("a", 1.0, 30.0), ("b", 9.0, 31.0)], []).x_ticks[0].text == "0"
    assert chart.scatter("", "", [("a", 8.0, 30.0), ("b", 9.0, 31.0)], []).x_ticks[0].text != "0"
