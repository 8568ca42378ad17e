"""The report and the server's page as a browser shows them: wide and narrow, light and dark."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image
from typer.testing import CliRunner

from carcli.cli import app as program

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
from selenium.webdriver.chrome.service import Service as Driver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or CHROMEDRIVER is None, reason="needs chromium and chromedriver on the path"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

GEOMETRY = """
const all = (selector, within = document) => Array.from(within.querySelectorAll(selector)).filter(e => e.checkVisibility());
const style = e => getComputedStyle(e);
const box = e => {
  const {left, top, right, bottom} = e.getBoundingClientRect();
  return {left, top, right, bottom, text: e.textContent};
};
const image = e => ({box: box(e), natural: [e.naturalWidth, e.naturalHeight], rendering: style(e).imageRendering});
const compare = e => ({
  picture: box(e.querySelector('.slide img')), over: box(e.querySelector('.over')), range: box(e.querySelector('input')),
});
return {
  pageWidth: document.documentElement.scrollWidth, width: document.documentElement.clientWidth,
  compares: all('.compare:has(input)').map(compare),
  charts: all('svg').map(e => ({box: box(e), texts: all('text', e).map(box)})),
  lr: all('img.lr').map(image), large: all('img.large').map(image),
  broken: all('img').filter(e => !e.complete || !e.naturalWidth).length,
  tables: all('table').map(e => [box(e).right, box(e.parentNode).right, style(e.parentNode).overflowX]),
  paper: style(document.body).backgroundColor, ink: style(document.body).color,
  captions: all('figcaption').map(e => e.textContent.trim()),
};
"""


class Browser:
    """Chromium without a window."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Driver(CHROMEDRIVER))

    def open(self, address: str, width: int, scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(address)
        time.sleep(0.2)

    def geometry(self) -> dict[str, Any]:
        geometry: dict[str, Any] = self.driver.execute_script(GEOMETRY)
        return geometry

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    os.environ["SE_OFFLINE"] = "true"
    found = Browser()
    yield found
    found.driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """Small and large photographs, grey ones, a tiny one, in two datasets at a whole scale and at a fraction."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "set5").mkdir()
    (folder / "odd").mkdir()
    photo = np.asarray(Image.open(PHOTOS / "eyes.png").convert("RGB"))
    Image.fromarray(photo).save(folder / "set5" / "a.png")
    Image.fromarray(photo).resize((900, 700)).save(folder / "set5" / "large.jpg")
    Image.fromarray(photo[:, :, 0]).save(folder / "odd" / f"{'a-name-without-any-space' * 4}.png")
    Image.fromarray(photo[:7, :5]).save(folder / "odd" / "tiny.png")
    Image.fromarray(photo).resize((60, 900)).save(folder / "odd" / "<b>tall.png")
    words = ["bench", "-q", "--dataset", folder / "set5", "--dataset", folder / "odd", "--scale", 4, "--scale", 2.5]
    words += ["--model", "bicubic,lanczos,edsr-base-x4,tad", "--report", folder / "page.html"]
    result = CliRunner().invoke(program.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def rates(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("rates")
    (folder / "set").mkdir()
    shutil.copy(PHOTOS / "eyes.png", folder / "set" / "eyes.png")
    words = ["bench", "-q", "--dataset", folder / "set", "--rate", "--model", "bicubic,lanczos,edsr,tad"]
    result = CliRunner().invoke(program.app, [*map(str, words), "--report", str(folder / "page.html")])
    assert result.exit_code == 0, result.output
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn", reason="pip install 'carcli[serve]'")
    from carcli.serve.service import Service
    from carcli.serve.web import application

    config = uvicorn.Config(application(Service("bicubic", "cpu")), host="127.0.0.1", port=0, log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join(20)


def overlapping(a: dict[str, float], b: dict[str, float]) -> bool:
    return (
        min(a["right"], b["right"]) - max(a["left"], b["left"]) > 0.5
        and min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) > 2  # boxes of lines are higher than their letters
    )


def width(box: dict[str, float]) -> float:
    return box["right"] - box["left"]


def check_sliders(geometry: dict[str, Any]) -> None:
    assert geometry["compares"]
    for compare in geometry["compares"]:
        picture, over, slider = compare["picture"], compare["over"], compare["range"]
        assert slider["top"] >= picture["bottom"]
        assert slider["left"] == pytest.approx(picture["left"], abs=0.5)
        assert slider["right"] == pytest.approx(picture["right"], abs=0.5)
        assert [over[side] for side in ("left", "top", "right", "bottom")] == pytest.approx(
            [picture[side] for side in ("left", "top", "right", "bottom")], abs=0.5
        )
        assert width(picture) >= 40  # a slider that can be moved


def check_small_images(geometry: dict[str, Any]) -> None:
    assert geometry["lr"]
    for image in geometry["lr"]:
        box = image["box"]
        assert [width(box), box["bottom"] - box["top"]] == pytest.approx(image["natural"], abs=0.5)
    assert geometry["large"]
    for image in geometry["large"]:
        assert image["rendering"] == "pixelated"
        assert width(image["box"]) > image["natural"][0]
    assert geometry["broken"] == 0


def check_page(geometry: dict[str, Any], width: int, scheme: str) -> None:
    assert geometry["pageWidth"] <= geometry["width"] == width
    lightness = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in (geometry["paper"], geometry["ink"])]
    assert abs(lightness[0] - lightness[1]) > 180
    assert (lightness[0] > lightness[1]) == (scheme == "light")


def check_charts(geometry: dict[str, Any]) -> None:
    assert geometry["charts"]
    for drawn in geometry["charts"]:
        for text in drawn["texts"]:
            assert drawn["box"]["left"] - 1 <= text["left"] <= text["right"] <= drawn["box"]["right"] + 1, text["text"]
        for a, b in combinations(drawn["texts"], 2):
            assert not overlapping(a, b), (a["text"], b["text"])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_stands_as_it_should(browser, report, width, scheme):
    browser.open(report, width, scheme)
    browser.driver.find_element(By.ID, "every").click()
    geometry = browser.geometry()
    check_page(geometry, width, scheme)
    check_sliders(geometry)
    check_small_images(geometry)
    check_charts(geometry)
    for table, around, overflow in geometry["tables"]:
        assert table <= around or overflow == "auto"
    assert all(geometry["captions"])
    assert browser.complaints() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_charts_of_rates_are_legible(browser, rates, width):
    browser.open(rates, width)
    geometry = browser.geometry()
    check_page(geometry, width, "light")
    check_charts(geometry)
    assert len(geometry["tables"]) == 2
    assert browser.complaints() == []


def test_the_report_is_worked_by_keys_and_by_mouse(browser, report):
    browser.open(report, 1280)
    slider = browser.driver.find_element(By.CSS_SELECTOR, ".compare input")
    over = browser.driver.find_element(By.CSS_SELECTOR, ".compare .over")
    before = over.value_of_css_property("clip-path")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert over.value_of_css_property("clip-path") != before
    assert slider.get_attribute("aria-valuetext") == "51 % original"
    slider.send_keys(Keys.HOME)
    assert over.value_of_css_property("clip-path") == "inset(0px 100% 0px 0px)"
    webdriver.ActionChains(browser.driver).move_to_element(over).click().perform()
    assert float(slider.get_attribute("value")) == pytest.approx(50, abs=1)
    summary = browser.driver.find_elements(By.TAG_NAME, "summary")[1]
    summary.send_keys(Keys.ENTER)
    assert browser.driver.find_elements(By.TAG_NAME, "details")[1].get_attribute("open")


def shown(browser: Browser, file: Path) -> str:
    """What the server's page says in the end of a file that it is given."""
    browser.driver.find_element(By.ID, "files").send_keys(str(file))
    newest = browser.driver.find_element(By.CSS_SELECTOR, "article")
    WebDriverWait(browser.driver, 30).until(lambda _: newest.find_elements(By.CSS_SELECTOR, ".links, .wrong"))
    return newest.find_element(By.CSS_SELECTOR, ".state").text


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_servers_page_shrinks_and_restores(browser, server, tmp_path, width, scheme):
    browser.open(server, width, scheme)
    photo = Image.open(PHOTOS / "eyes.png").convert("RGB")
    photo.resize((2400, 1800)).save(tmp_path / "large.jpg")
    photo.crop((0, 0, 5, 7)).save(tmp_path / "tiny.png")
    said = shown(browser, PHOTOS / "eyes.png")
    assert said.startswith("221×161 restored by bicubic from ")
    assert shown(browser, tmp_path / "large.jpg").startswith("2400×1800 restored")
    assert shown(browser, tmp_path / "tiny.png").startswith("5×7 restored")
    geometry = browser.geometry()
    check_page(geometry, width, scheme)
    assert len(geometry["compares"]) == 3
    check_sliders(geometry)
    check_small_images(geometry)
    assert browser.complaints() == []


def test_the_servers_page_restores_what_was_shrunk_and_says_what_is_no_image(browser, server, tmp_path):
    import carcli

    browser.open(server, 390)
    carcli.load("bicubic", 4, "cpu").down(carcli.read(PHOTOS / "eyes.png")).save(tmp_path / "small.png")
    assert shown(browser, tmp_path / "small.png").startswith("221×161 restored by bicubic")
    assert browser.geometry()["compares"] == []
    (tmp_path / "junk.png").write_bytes(b"junk")
    assert "image" in shown(browser, tmp_path / "junk.png")
    Image.open(PHOTOS / "eyes.png").save(tmp_path / "scan.tif")
    assert shown(browser, tmp_path / "scan.tif").startswith("221×161 restored")  # which Chromium does not show
    geometry = browser.geometry()
    assert "Restored; this browser cannot show the original" in geometry["captions"]
    assert (geometry["compares"], geometry["broken"]) == ([], 0)
    check_page(geometry, 390, "light")
