"""The page that restores in the browser, as Chromium runs it: the pixels of ``carcli up``, and words where there are none."""

from __future__ import annotations

import base64
import functools
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import carcli

pages = pytest.importorskip("test_pages", reason="pip install selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

NPM = shutil.which("npm")
SECONDS = 120  # that a picture takes at most
LEVELS = 2  # that engines differ by at most

pytestmark = [*pages.pytestmark, pytest.mark.skipif(NPM is None, reason="needs npm on the path")]

READ = """
const [address, done] = arguments, reader = new FileReader();
reader.onload = () => done(reader.result);
fetch(address).then(response => response.blob()).then(blob => reader.readAsDataURL(blob));
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page of tad-x4, with onnxruntime-web."""
    pytest.importorskip("onnxscript", reason="pip install 'carcli[onnx]'")
    folder = tmp_path_factory.mktemp("web")
    subprocess.run([sys.executable, "-m", "carcli", "export", "tad-x4", "--web", str(folder / "page"), "--quiet"], check=True)
    fetched = subprocess.run([NPM, "install", "--no-audit", "--no-fund"], cwd=folder / "page", capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"npm fetches nothing: {fetched.stderr[-300:]}")
    return folder / "page"


@pytest.fixture(scope="module")
def server(folder) -> Iterator[str]:
    serving = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}/"
    serving.shutdown()
    thread.join(20)
    serving.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[pages.Browser]:
    os.environ["SE_OFFLINE"] = "true"
    found = pages.Browser()
    found.driver.set_script_timeout(SECONDS)
    yield found
    found.driver.quit()


@pytest.fixture(scope="module")
def pair() -> carcli.Rescaler:
    return carcli.load("tad", 4, "cpu")


def crop(name: str, mode: str = "RGB", size: tuple[int, int] = (161, 141)) -> Image.Image:
    return Image.open(PHOTOS / name).convert("RGB").crop((60, 10, 60 + size[0], 10 + size[1])).convert(mode)


def see_through(photo: Image.Image) -> Image.Image:
    y, x = np.mgrid[: photo.height, : photo.width]
    alpha = np.clip(300 - 4 * np.hypot(x - photo.width / 2, y - photo.height / 2), 0, 255).astype(np.uint8)
    photo = photo.convert("RGBA")
    photo.putalpha(Image.fromarray(alpha))
    return photo


def article(browser: pages.Browser) -> WebElement:
    """The newest, once it has come to an end."""
    newest = browser.driver.find_element(By.CSS_SELECTOR, "article")
    WebDriverWait(browser.driver, SECONDS).until(lambda _: newest.find_elements(By.CSS_SELECTOR, ".save, .wrong"))
    return newest


def give(browser: pages.Browser, file: Path) -> WebElement:
    count = len(browser.driver.find_elements(By.CSS_SELECTOR, "article"))
    browser.driver.find_element(By.ID, "files").send_keys(str(file))
    WebDriverWait(browser.driver, 20).until(lambda d: len(d.find_elements(By.CSS_SELECTOR, "article")) > count)
    return article(browser)


def said(shown: WebElement) -> str:
    return shown.find_element(By.CSS_SELECTOR, ".state").text


def saved(browser: pages.Browser, shown: WebElement) -> Image.Image:
    address = shown.find_element(By.CSS_SELECTOR, ".save").get_attribute("href")
    data = browser.driver.execute_async_script(READ, address)
    return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))


def check_same(restored: Image.Image, file: Path) -> None:
    """Whether a picture is what ``carcli up`` makes of a file."""
    carcli.up(file, device="cpu").save(file.with_name("restored.png"))
    expected = Image.open(file.with_name("restored.png"))
    assert (restored.mode, restored.size) == (expected.mode, expected.size)
    difference = np.abs(np.asarray(restored).astype(int) - np.asarray(expected))
    assert difference.max() <= LEVELS
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "rocket.jpg"])
def test_photographs_come_back_as_on_the_command_line(browser, server, pair, tmp_path, name):
    browser.open(server, 1280)
    pair.down(crop(name)).save(tmp_path / "small.png")
    shown = give(browser, tmp_path / "small.png")
    assert said(shown).startswith("161×141, restored by tad-x4 from 41×36 in ")
    check_same(saved(browser, shown), tmp_path / "small.png")


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("kind", ["grey", "alpha", "resized"])
def test_so_do_pictures_of_other_kinds(browser, server, pair, tmp_path, kind, suffix):
    browser.open(server, 1280)
    photo = crop("coffee.jpg", "L" if kind == "grey" else "RGB")
    photo.save(tmp_path / "photo.png")
    if kind == "alpha":
        see_through(photo).save(tmp_path / "photo.png")
    down = carcli.load("tad", 2.5, "cpu") if kind == "resized" else pair
    down.down(carcli.read(tmp_path / "photo.png")).save(tmp_path / f"small.{suffix}")
    shown = give(browser, tmp_path / f"small.{suffix}")
    check_same(saved(browser, shown), tmp_path / f"small.{suffix}")


def test_what_cannot_be_restored_is_refused_in_words(browser, server, pair, tmp_path):
    browser.open(server, 390)
    crop("cat.jpg").save(tmp_path / "ordinary.png")
    carcli.load("bicubic", 4, "cpu").down(crop("cat.jpg")).save(tmp_path / "other.png")
    pair.down(crop("cat.jpg")).save(tmp_path / "small.png")
    tagged = Image.open(tmp_path / "small.png")
    notes = PngInfo()
    notes.add_itxt("carcli", tagged.info["carcli"])
    tagged.crop((0, 0, 20, 20)).save(tmp_path / "cropped.png", pnginfo=notes)
    whole = (tmp_path / "small.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "changed.png").write_bytes(whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:])
    (tmp_path / "junk.png").write_bytes(b"junk")
    (tmp_path / "empty.png").touch()
    words = {
        "ordinary": "no carcli tag",
        "other": "was made with bicubic",
        "cropped": "cropped or resized",
        "cut": "damaged",
        "changed": "damaged",
        "junk": "no picture",
        "empty": "is empty",
    }
    for name, reason in words.items():
        shown = give(browser, tmp_path / f"{name}.png")
        assert reason in said(shown)
        assert bool(shown.find_elements(By.TAG_NAME, "button")) == (name in ("ordinary", "other", "cropped"))
    assert browser.geometry()["pageWidth"] == 390


def test_an_ordinary_picture_is_enlarged_where_that_is_asked_for(browser, server, tmp_path):
    browser.open(server, 1280)
    crop("cat.jpg", size=(20, 24)).save(tmp_path / "ordinary.png")
    shown = give(browser, tmp_path / "ordinary.png")
    shown.find_element(By.TAG_NAME, "button").click()
    WebDriverWait(browser.driver, SECONDS).until(lambda _: shown.find_elements(By.CSS_SELECTOR, ".save"))
    assert said(shown).startswith("80×96, enlarged by tad-x4")
    assert "no tag" in shown.find_element(By.CSS_SELECTOR, ".notes").text


def test_pictures_are_found_by_their_address(browser, server, folder, pair):
    pair.down(crop("rocket.jpg")).save(folder / "small one.png")
    browser.open(server + "?src=small%20one.png", 1280)
    assert article(browser).find_element(By.TAG_NAME, "h2").text == "small one.png"
    assert said(article(browser)).startswith("161×141, restored")
    browser.driver.find_element(By.ID, "url").send_keys(server + "nothing.png")
    browser.driver.find_element(By.CSS_SELECTOR, "form button").click()
    assert "cannot be fetched: its server answers 404" in said(article(browser))


def test_what_is_cancelled_is_given_up_and_the_next_one_is_restored(browser, server, pair, tmp_path):
    browser.open(server, 1280)
    pair.down(crop("rocket.jpg")).save(tmp_path / "small.png")
    browser.driver.find_element(By.ID, "files").send_keys(str(tmp_path / "small.png"))
    cancelled = browser.driver.find_element(By.CSS_SELECTOR, "article")
    cancelled.find_element(By.CSS_SELECTOR, ".working button").click()
    WebDriverWait(browser.driver, 20).until(lambda _: said(cancelled) == "cancelled")
    assert said(give(browser, tmp_path / "small.png")).startswith("161×141, restored")


@pytest.mark.parametrize("scheme", pages.SCHEMES)
@pytest.mark.parametrize("width", pages.WIDTHS)
def test_the_page_stands_as_it_should(browser, server, pair, tmp_path, width, scheme):
    browser.complaints()  # of pages before
    browser.open(server, width, scheme)
    pair.down(crop("coffee.jpg", size=(480, 320))).save(tmp_path / "wide.png")
    pair.down(crop("cat.jpg", size=(7, 5))).save(tmp_path / "tiny.png")
    give(browser, tmp_path / "wide.png")
    give(browser, tmp_path / "tiny.png")
    geometry = browser.geometry()
    pages.check_page(geometry, width, scheme)
    assert len(geometry["compares"]) == 2
    pages.check_sliders(geometry)
    assert geometry["broken"] == 0
    slider = browser.driver.find_element(By.CSS_SELECTOR, ".compare input")
    assert slider.get_attribute("aria-valuetext") == "50 % small file"
    assert [line for line in browser.complaints() if "No available adapters" not in line] == []


ELEMENTS = """<!doctype html><script type="module" src="carcli-image.js"></script>
<carcli-image id="look"><img src="a.png" width="161" height="141" alt="a cup"></carcli-image>
<carcli-image id="small"><img src="a.png" alt="a cup at its own size"></carcli-image>
<carcli-image id="click" when="click"><img src="a.png" width="161" height="141" alt="a cup"></carcli-image>
<carcli-image id="ordinary"><img src="b.png" width="161" height="141" alt="an ordinary one"></carcli-image>
<div style="height:4000px"></div>
<carcli-image id="below"><img src="a.png" width="161" height="141" alt="a cup"></carcli-image>"""


def test_an_element_restores_what_is_looked_at_closely(browser, server, folder, pair):
    pair.down(crop("coffee.jpg")).save(folder / "a.png")
    crop("cat.jpg", size=(20, 24)).save(folder / "b.png")
    (folder / "elements.html").write_text(ELEMENTS)
    browser.open(server + "elements.html", 1280)

    def state(name: str) -> str:
        return browser.driver.execute_script("return document.getElementById(arguments[0]).state", name)

    def natural(name: str) -> int:
        return browser.driver.execute_script("return document.querySelector(`#${arguments[0]} img`).naturalWidth", name)

    waiting = WebDriverWait(browser.driver, SECONDS)
    waiting.until(lambda _: state("look") == "restored" and state("ordinary") == "refused")
    assert (natural("look"), natural("ordinary")) == (161, 20)
    assert [state(name) for name in ("small", "click", "below")] == ["small"] * 3
    browser.driver.find_element(By.ID, "click").click()
    waiting.until(lambda _: state("click") == "restored")
    browser.driver.execute_script("document.getElementById('below').scrollIntoView()")
    waiting.until(lambda _: state("below") == "restored")
    assert natural("small") == 41
