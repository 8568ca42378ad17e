"""The server: photographs in, small ones out, and back; what is too large, wrong or no longer wanted is turned away."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image

import carcli
from carcli.errors import Abandoned
from carcli.images import codec

pytest.importorskip("fastapi", reason="pip install 'carcli[serve]'")
TestClient = pytest.importorskip("starlette.testclient", reason="pip install httpx").TestClient

from carcli.serve.service import Limits, Service  # noqa: E402
from carcli.serve.web import Refused, Turns, application  # noqa: E402

EYES = (PHOTOS / "eyes.png").read_bytes()


def client(**limits) -> TestClient:
    return TestClient(application(Service("bicubic", "cpu", limits=Limits(**limits))), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def web():
    with client() as web:
        yield web


def test_it_lives(web):
    assert web.get("/healthz").json() == {"status": "ok", "version": carcli.__version__}


def test_a_photograph_goes_down_and_comes_back_as_by_the_library(web):
    small = web.post("/down", params={"scale": 4}, content=EYES)
    assert (small.status_code, small.headers["content-type"]) == (200, "image/png")
    assert small.content == carcli.load("bicubic", 4, "cpu").down_bytes(EYES)
    assert small.headers["x-carcli-size"] == "56x41"
    back = web.post("/up", content=small.content)
    assert (back.headers["x-carcli-model"], back.headers["x-carcli-size"]) == ("bicubic", "221x161")
    np.testing.assert_array_equal(codec.decode(back.content).pixels, carcli.up(small.content, "cpu").pixels)


def test_a_request_names_model_and_scale(web):
    small = web.post("/down", params={"scale": 2, "model": "lanczos"}, content=EYES)
    assert codec.decode(small.content).tag.checkpoint == "lanczos"
    assert web.post("/up", content=small.content).headers["x-carcli-model"] == "lanczos"


@pytest.mark.parametrize(
    ("parameters", "kind", "model"),
    [
        ({"format": "webp"}, "image/webp", "bicubic"),
        ({"format": "jpeg", "quality": 90, "scale": 2}, "image/jpeg", "tad-jpeg-x2"),
        ({"format": "jpeg", "model": "bicubic"}, "image/jpeg", "bicubic"),
    ],
)
def test_a_request_names_the_format(web, parameters, kind, model):
    small = web.post("/down", params=parameters, content=EYES)
    assert (small.status_code, small.headers["content-type"]) == (200, kind)
    assert codec.decode(small.content).tag.checkpoint == model
    assert web.post("/up", content=small.content).headers["x-carcli-size"] == "221x161"


@pytest.mark.parametrize("parameters", [{"format": "gif"}, {"format": "png", "quality": 90}, {"format": "jpeg", "model": "tad"}])
def test_a_format_that_cannot_be_is_one_line(web, parameters):
    answer = web.post("/down", params=parameters, content=EYES)
    assert (answer.status_code, "\n" in answer.json()["error"]) == (400, False)


def test_an_ordinary_image_is_super_resolved_and_that_is_said(web):
    ordinary = io.BytesIO()
    Image.new("RGB", (8, 6)).save(ordinary, "PNG")
    back = web.post("/up", params={"model": "bicubic", "scale": 2}, content=ordinary.getvalue())
    assert back.headers["x-carcli-size"] == "16x12"
    assert "no carcli tag" in json.loads(back.headers["x-carcli-notes"])[0]


def test_what_a_file_is_can_be_asked(web):
    assert web.post("/info", content=EYES).json() == {"width": 221, "height": 161, "tag": None, "tag_error": None}
    small = web.post("/down", content=EYES).content
    assert web.post("/info", content=small).json()["tag"]["width"] == 221


NO_IMAGES = [(path, content) for path in ("/down", "/up", "/info") for content in (b"", b"junk", EYES[:500])]
NO_IMAGES.remove(("/info", EYES[:500]))  # its header is whole


@pytest.mark.parametrize(("path", "content"), NO_IMAGES, ids=lambda what: what if isinstance(what, str) else str(len(what)))
def test_what_is_no_image_is_one_line(web, path, content):
    answer = web.post(path, content=content)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "nonsense"}, "unknown model 'nonsense'"),
        ({"model": "/etc/passwd"}, "unknown model"),
        ({"model": "run/best.safetensors"}, "unknown model"),
        ({"model": "tad-grey", "scale": 3}, "no checkpoint at scale 3"),
        ({"scale": 0}, "scale: "),
        ({"scale": "four"}, "scale: "),
    ],
)
def test_wrong_parameters_are_one_line_and_never_a_file_of_the_servers(web, parameters, words):
    answer = web.post("/down", params=parameters, content=EYES)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_file_that_is_too_large_is_turned_away_whether_it_says_so_or_not():
    web = client(body=1000)
    assert web.post("/down", content=EYES).status_code == 413

    def unannounced():
        for _ in range(100):
            yield b"x" * 100

    answer = web.post("/down", content=unannounced())
    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]


def test_an_image_that_is_too_large_is_turned_away_before_it_is_decoded(monkeypatch):
    web = client(pixels=221 * 161 * 4 - 1)
    small = web.post("/down", params={"scale": 2}, content=EYES)
    assert small.status_code == 200
    answer = web.post("/up", params={"scale": 4, "model": "bicubic"}, content=EYES)
    assert answer.status_code == 422
    assert "megapixels" in answer.json()["error"]
    monkeypatch.setattr(codec, "decode", lambda file: pytest.fail("decoded"))
    assert client(pixels=1000).post("/down", content=EYES).status_code == 422


def test_it_answers_to_its_own_names_only():
    web = TestClient(application(Service("bicubic", "cpu"), hosts=("localhost",)), base_url="http://elsewhere.example")
    assert web.get("/healthz").status_code == 400


def test_an_error_of_ours_tells_no_secrets(monkeypatch):
    def broken(*_: object):
        raise KeyError("secret")

    monkeypatch.setattr(Service, "down", broken)
    answer = client().post("/down", content=EYES)
    assert answer.status_code == 500
    assert answer.json() == {"error": "an error of carcli's: KeyError"}


class Client:
    """A request whose client leaves after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    async def is_disconnected(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_nobody_computes_for_a_client_that_has_left():
    def work(cancel) -> None:
        while not cancel():
            time.sleep(0.01)
        raise Abandoned

    with pytest.raises(Abandoned):
        asyncio.run(Turns(Limits()).compute(Client(looks=1), work))


def test_as_many_compute_and_wait_as_may_and_the_others_are_sent_away():
    running, most, release = 0, 0, threading.Event()
    lock = threading.Lock()

    def work(cancel) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(5)
        with lock:
            running -= 1
        return "done"

    async def five() -> list[object]:
        turns = Turns(Limits(jobs=2, waiting=2))
        tasks = [asyncio.create_task(turns.compute(Client(1000), work)) for _ in range(5)]
        await asyncio.sleep(0.05)
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(five())
    assert most == 2
    assert results.count("done") + sum(isinstance(result, Refused) for result in results) == 5
    assert sum(isinstance(result, Refused) and result.status == 503 for result in results) >= 1


def test_the_page_fetches_nothing_from_elsewhere(web):
    page = web.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert re.findall(r"https?://", page.text) == []


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "carcli", "serve", "--model", "bicubic", "--device", "cpu", "--port"]
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            assert address, line
            request = urllib.request.Request(f"{address[0]}/down?scale=4", data=EYES, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert codec.decode(answer.read()).size == (56, 41)
            busy = subprocess.run([*command, address[1]], capture_output=True, text=True)
            assert busy.returncode == 3
            assert "cannot listen on 127.0.0.1" in busy.stderr
            server.send_signal(signal.SIGINT)
            assert server.wait(20) in (0, 130)
            assert server.stderr.read() == ""
        finally:
            server.kill()


def test_without_its_packages_it_says_what_to_install(monkeypatch, capsys):
    from carcli.cli import serving
    from carcli.errors import UsageError

    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"carcli\[serve\]"):
        serving.serve_forever(
            host="127.0.0.1",
            port=0,
            model="bicubic",
            body=1,
            pixels=1,
            jobs=1,
            waiting=1,
            device="cpu",
            precision="fp32",
            backend="torch",
        )
