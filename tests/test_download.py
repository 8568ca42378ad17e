"""A download ends with the whole, right file or with a reason; a cut is gone on from, a lie is noticed."""

from __future__ import annotations

import gc
import hashlib
import os
import time
import warnings
from functools import partial

import numpy as np
import pytest
import requests
from server import Faults, mega_encrypt, serving

from carcli.weights import download as module
from carcli.weights import drive, http, mega
from carcli.weights.download import Expected, copy, download
from carcli.weights.fetch import resolver
from carcli.weights.http import FetchError, Remote, new_session

DATA = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "READ", 5)
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "CARCLI_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def server():
    with serving() as one:
        one.files["/file"] = DATA
        yield one


@pytest.fixture
def pauses(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "sleep", seen.append)
    return seen


def get(server, target, expected=None, path="/file", resolve=None):
    address = server.url + path
    with new_session() as session:
        download(session, address, resolve or resolver(session, address), target, expected or Expected(len(DATA), SHA))


def leftovers(home):
    return [p for p in home.rglob("*") if p.is_file()]


def test_a_file_arrives_whole_and_leaves_nothing_else(server, tmp_path, home):
    get(server, tmp_path / "a" / "file")
    assert (tmp_path / "a" / "file").read_bytes() == DATA
    assert leftovers(home) == []


def test_what_was_received_is_told(server, tmp_path):
    seen = []
    address = f"{server.url}/file"
    with new_session() as session:
        download(session, address, partial(Remote, address), tmp_path / "x", Expected(len(DATA), SHA), lambda *n: seen.append(n))
    assert seen[-1] == (len(DATA), len(DATA))


def test_a_cut_is_gone_on_from_where_it_was(server, tmp_path, pauses):
    server.faults = Faults(cuts=[98_304, 49_152])
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.asked[1][1] == "bytes=98304-"
    assert server.asked[2][1] == "bytes=147456-"
    assert server.headers[1]["If-Range"] == '"1"'


def test_a_later_run_goes_on_with_what_an_earlier_one_left(server, tmp_path, pauses, monkeypatch):
    server.faults = Faults(cuts=[98_304] + [0] * 5)
    with pytest.raises(FetchError, match="cut"):
        get(server, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    get(server, tmp_path / "file")
    assert server.asked[-1][1] == "bytes=98304-"
    assert (tmp_path / "file").read_bytes() == DATA


def test_an_interrupt_leaves_the_resumable_part_alone(server, tmp_path, home):
    def interrupt(have, total):
        raise KeyboardInterrupt

    address = f"{server.url}/file"
    with new_session() as session, pytest.raises(KeyboardInterrupt):
        download(session, address, partial(Remote, address), tmp_path / "file", Expected(len(DATA), SHA), interrupt)
    assert {p.suffix for p in leftovers(home)} == {".part", ".json"}
    get(server, tmp_path / "file")
    assert server.asked[-1][1] is not None
    assert leftovers(home) == []


def test_a_file_that_changed_meanwhile_is_begun_anew(server, tmp_path, pauses):
    server.files["/file"] = bytes(len(DATA))
    server.faults = Faults(cuts=[98_304] + [0] * 5)
    with pytest.raises(FetchError):
        get(server, tmp_path / "file")
    server.files["/file"], server.faults = DATA, Faults(etag='"2"')
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_part_of_something_else_is_noticed_and_mended(server, tmp_path, pauses):
    server.files["/file"] = bytes(len(DATA))
    server.faults = Faults(cuts=[98_304] + [0] * 5, etag=None)
    with pytest.raises(FetchError):
        get(server, tmp_path / "file")
    server.files["/file"], server.faults = DATA, Faults(etag=None)
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("faults", [Faults(cuts=[16_384], ignore_range=True), Faults(cuts=[16_384], wrong_range=True)])
def test_a_server_that_cannot_resume_is_asked_for_everything(server, tmp_path, pauses, faults):
    server.faults = faults
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_part_that_is_whole_already_is_only_verified(server, tmp_path, home):
    def interrupt(have, total):
        if have == total:
            raise KeyboardInterrupt

    address = f"{server.url}/file"
    with new_session() as session, pytest.raises(KeyboardInterrupt):
        download(session, address, partial(Remote, address), tmp_path / "file", Expected(len(DATA), SHA), interrupt)
    asked = len(server.asked)
    get(server, tmp_path / "file")
    assert len(server.asked) == asked
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_be_over_in_a_moment_is_tried_again(server, tmp_path, pauses, status):
    server.faults = Faults(statuses=[status, status])
    get(server, tmp_path / "file")
    assert len(pauses) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_will_not_change_is_not_tried_again(server, tmp_path, pauses, status):
    server.faults = Faults(statuses=[status])
    with pytest.raises(FetchError, match=f"HTTP {status}"):
        get(server, tmp_path / "file")
    assert pauses == []


def test_pauses_grow_and_differ(server, tmp_path, pauses):
    server.faults = Faults(statuses=[503] * 4)
    get(server, tmp_path / "file")
    assert all(0.25 * 2 ** (i + 1) <= p <= 0.5 * 2 ** (i + 1) for i, p in enumerate(pauses))
    assert len(set(pauses)) == 4


def test_a_server_that_never_recovers_is_given_up(server, tmp_path, pauses):
    server.faults = Faults(statuses=[503] * 99)
    with pytest.raises(FetchError, match="HTTP 503"):
        get(server, tmp_path / "file")
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("99999", 60, 60),
        ("9" * 5000, 60, 60),
        pytest.param(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 86400)), 60, 60, id="tomorrow"),
    ],
)
def test_retry_after_is_honoured_within_reason(server, tmp_path, pauses, header, low, high):
    server.faults = Faults(statuses=[429], retry_after=header)
    get(server, tmp_path / "file")
    assert low <= pauses[0] <= high


@pytest.mark.parametrize(
    ("faults", "data", "message"),
    [
        (Faults(), DATA[:-1], "instead of 300000"),
        (Faults(), DATA + b"x", "instead of 300000"),
        (Faults(chunked=True), DATA + b"x", "sends more than 300000"),
        (Faults(chunked=True), DATA[:-1], "the connection was cut|HTTP 416"),
        (Faults(), b"x" + DATA[1:], "SHA-256 differs"),
        (Faults(html=True), DATA, "a web page instead of the file"),
    ],
)
def test_a_wrong_file_is_refused_and_leaves_nothing(server, tmp_path, home, pauses, faults, data, message):
    server.files["/file"], server.faults = data, faults
    with pytest.raises(FetchError, match=message):
        get(server, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert sum(p.stat().st_size for p in leftovers(home) if p.suffix == ".part") <= len(DATA)


def test_an_unknown_size_is_bounded(server, tmp_path):
    with pytest.raises(FetchError, match="at most 1000"):
        get(server, tmp_path / "file", Expected(1000, exact=False))
    get(server, tmp_path / "file", Expected(len(DATA) + 5, exact=False))
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize(
    "header",
    ["soon", "12:30 or so", "Mon, 99 Foo 2026 25:61:00 GMT", "1e400", "-5", "²", "nan",
     "Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999"],
)  # fmt: skip
def test_a_retry_after_that_says_nothing_is_passed_over(server, tmp_path, pauses, header):
    server.faults = Faults(statuses=[429], retry_after=header)
    get(server, tmp_path / "file")
    assert 0.5 <= pauses[0] <= 1


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/file", "http://example.org/file", "file:///etc/passwd"])
def test_a_redirect_to_another_scheme_is_refused(server, tmp_path, to):
    server.faults = Faults(redirect=to)
    with pytest.raises(FetchError, match="only https"):
        get(server, tmp_path / "file")


def test_a_redirect_within_reason_is_followed(server, tmp_path):
    server.faults = Faults(redirect="/file")
    get(server, tmp_path / "file", path="/elsewhere")
    assert (tmp_path / "file").read_bytes() == DATA


def test_plain_http_is_for_this_machine_alone(tmp_path):
    with new_session() as session, pytest.raises(FetchError, match="only https"):
        download(session, "http://example.org/x", partial(Remote, "http://example.org/x"), tmp_path / "x", Expected(1))


def test_redirects_in_a_circle_end(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "REDIRECTS", 0)
    with pytest.raises(FetchError, match="redirected too often"):
        get(server, tmp_path / "file")


def test_nobody_there_is_said_in_few_words(tmp_path, pauses):
    with serving() as gone:
        address = f"{gone.url}/file"
    with new_session() as session, pytest.raises(FetchError, match="connection refused"):
        download(session, address, partial(Remote, address), tmp_path / "x", Expected(1))


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch, pauses):
    monkeypatch.setenv("https_proxy", server.url)
    with new_session() as session, pytest.raises(FetchError, match="proxy"):
        download(session, "https://example.invalid/x", partial(Remote, "https://example.invalid/x"), tmp_path / "x", Expected(1))


def head(*lines: str, status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} OK", *lines, "", ""]).encode("latin-1")


LONG = "9" * 5000
HEADS = [
    head("Content-Length: ²"),
    head(f"Content-Length: {LONG}"),
    head("Content-Length: -5"),
    head("Content-Length: 1, 2"),
    head("Content-Length: 300000", "Content-Encoding: gzip"),
    head("Content-Length: 300000", "Content-Encoding: x-\xe9"),
    head("Transfer-Encoding: chunked") + b"zz\r\n",
    head("Transfer-Encoding: chunked") + b"-5\r\nabc",
    head("Transfer-Encoding: chunked") + b"F" * 5000 + b"\r\nabc",
    head("ETag: a\r\n b", "Content-Length: 300000"),
    head("Last-Modified: \xff\xfe", "Content-Length: 300000"),
    head(status=204),
    head("Content-Length: 0", status=304),
    head("Content-Range: bytes 0-1/2", status=206),
    head(f"Content-Range: bytes {LONG}-{LONG}/*", status=206),
    head("Content-Range: bytes ²-3/4", status=206),
    head("Content-Range: bytes -5-3/4", status=206),
    head(status=301),
    head("Location: ", status=302),
    head("Location: http://[", status=302),
    head("Location: http://127.0.0.1:99999/x", status=302),
    head("Location: http://127.0.0.1:x/x", status=302),
    head("Location: //[::1", status=307),
    head(f"Location: https://{'a' * 300}.org/", status=308),
    head("Location: https://\xe9..org/", status=308),
    head("Location: http://user@[/x", status=301),
    b"HTTP/1.1 ",
    b"HTTP/1.1 200\r\n" + b"X: " + b"a" * 100_000,
    b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000,
    b"HTTP/1.1 999999999999 OK\r\n\r\n",
    b"\0" * 100,
    b"",
]


@pytest.mark.slow
@pytest.mark.parametrize("answer", HEADS, ids=range(len(HEADS)))
def test_an_answer_that_makes_no_sense_is_one_line(server, tmp_path, pauses, answer):
    server.faults = Faults(raw=[answer] * 9)
    with pytest.raises(FetchError) as caught:
        get(server, tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    del caught
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # urllib3 leaves a socket behind where two lengths are stated
        gc.collect()
    server.faults = Faults()
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("address", ["https://[", "https://a:99999/x", "https://a:b/", "https://", "https://\0/"])
def test_an_address_that_makes_no_sense_is_one_line(tmp_path, address, pauses):
    with new_session() as session, pytest.raises(FetchError):
        download(session, address, resolver(session, address), tmp_path / "x", Expected(1))


def test_what_nobody_went_on_with_is_forgotten(server, tmp_path, home):
    folder = home / "cache" / "partial"
    folder.mkdir(parents=True)
    for name, age in (("old.part", module.ABANDONED + 60), ("new.part", 60)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    get(server, tmp_path / "file")
    assert [path.name for path in folder.iterdir()] == ["new.part"]


# A folder as a mirror


def test_a_file_of_a_folder_is_verified_and_leaves_nothing_behind(tmp_path, home, monkeypatch):
    source, target = tmp_path / "mirror" / "file", tmp_path / "to" / "file"
    source.parent.mkdir()
    for data, message in (
        (DATA[:-1], "299999 bytes instead of"),
        (DATA + b"x", "more than 300000 bytes"),
        (b"x" + DATA[1:], "SHA-256 differs"),
    ):
        source.write_bytes(data)
        with pytest.raises(FetchError, match=message):
            copy(source, target, Expected(len(DATA), SHA))
        assert list(target.parent.iterdir()) == leftovers(home) == []
    source.write_bytes(DATA)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            copy(source, target, Expected(len(DATA), SHA))
    assert list(target.parent.iterdir()) == leftovers(home) == []
    copy(source, target, Expected(len(DATA), SHA))
    assert target.read_bytes() == DATA


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "device", "folder", "gone"):
        with pytest.raises(FetchError, match=r"is no ordinary file|Is a directory|No such file"):
            copy(tmp_path / name, tmp_path / "to" / "file", Expected(1))


# Google Drive


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://drive.google.com/file/d/1OBVnaO-8meISY4U5HqtFy0htuadMzxiv/view", "1OBVnaO-8meISY4U5HqtFy0htuadMzxiv"),
        ("https://drive.google.com/uc?export=download&id=abcdefghijk", "abcdefghijk"),
        ("https://example.org/file/d/abcdefghijk", None),
    ],
)
def test_a_drive_link_is_known(address, wanted):
    assert drive.file_id(address) == wanted


def test_a_large_drive_file_is_confirmed(server, tmp_path):
    server.drive_confirms, server.files["/download"] = True, DATA
    with new_session() as session:
        find = partial(drive.resolve, session, "abcdefghijk", f"{server.url}/download")
        download(session, "drive", find, tmp_path / "x", Expected(len(DATA), SHA))
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_small_drive_file_needs_no_confirmation(server, tmp_path):
    server.files["/download"] = DATA
    with new_session() as session:
        find = partial(drive.resolve, session, "abcdefghijk", f"{server.url}/download")
        download(session, "drive", find, tmp_path / "x", Expected(len(DATA), SHA))


def test_a_drive_file_over_its_quota_says_so(server, tmp_path):
    server.faults = Faults(html=True)
    with new_session() as session, pytest.raises(FetchError, match="quota for this file is used up"):
        drive.resolve(session, "abcdefghijk", f"{server.url}/download")
    assert drive.DOWNLOAD.startswith("https://")


def test_a_drive_page_that_makes_no_sense_is_one_line(server, pauses):
    page = b'<form id="download-form" action="http://["></form>'
    for raw in (
        head("Content-Type: text/html", f"Content-Length: {len(page)}") + page,
        head("Content-Type: text/html", "Transfer-Encoding: chunked") + b"-5\r\nabc",
    ):
        server.faults = Faults(raw=[raw])
        with new_session() as session, pytest.raises((FetchError, requests.exceptions.RequestException)):
            drive.resolve(session, "abcdefghijk", f"{server.url}/download")


# MEGA

SEED = bytes(range(32))


def mega_get(server, target, data=DATA, key=None, link_id="XzIm3YhT"):
    cipher, right = mega_encrypt(data, SEED)
    server.files["/mega"] = cipher
    server.mega_files["XzIm3YhT"] = "/mega"
    address = f"https://mega.nz/file/{link_id}#{key or right}"
    with new_session() as session:
        find = partial(mega.resolve, session, address, f"{server.url}/cs")
        download(session, address, find, target, Expected(10_000_000, exact=False))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 131072, 131073, 400_000, 5_000_001])
def test_a_mega_file_is_decrypted_and_checked(server, tmp_path, size):
    data = (DATA * 17)[:size]
    if size > 1_000_000:  # the reference encryption is slow: cipher and MAC of a long file are checked in pieces above
        data = data[: 1_048_576 + 131_072]
    mega_get(server, tmp_path / "x", data)
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize("cut", [7, 16, 999, 140_001])
def test_a_cut_mega_file_is_gone_on_from_any_byte(server, tmp_path, pauses, cut, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", cut)
    server.faults = Faults(cuts=[cut])
    mega_get(server, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert server.asked[-1][1] == f"bytes={cut}-"


def test_a_mega_file_with_a_wrong_mac_is_refused(server, tmp_path, home):
    _, right = mega_encrypt(DATA, SEED)
    _, other = mega_encrypt(DATA[:-1] + b"?", SEED)
    assert right != other
    with pytest.raises(FetchError, match="MAC differs"):
        mega_get(server, tmp_path / "x", key=other)
    assert leftovers(home) == []
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([-9], "no such file"),
        (-16, "blocked"),
        ([-17], "quota"),
        ([-11], "error -11"),
        ("?", "malformed"),
        ([{"s": "x"}], "malformed"),
        ([{"s": True, "g": "https://a/"}], "malformed"),
        ([{"s": -1, "g": "https://a/"}], "malformed"),
        ([{"s": 10**30, "g": "https://a/"}], "malformed"),
        ([{"s": 1, "g": ["https://a/"]}], "malformed"),
        ([{"s": 1, "g": "http://["}], "malformed"),
        ([{"s": 1, "g": ""}], "only https"),
        (10**40, "malformed"),
        (True, "malformed"),
        ([], "malformed"),
        (None, "malformed"),
    ],
)
def test_megas_refusals_are_told(server, tmp_path, answer, message):
    server.faults = Faults(mega=[answer])
    with pytest.raises(FetchError, match=message):
        mega_get(server, tmp_path / "x")


@pytest.mark.parametrize("text", [b"[" * 50_000, b"9" * 5000, b"\xff", b"[{" + b" " * 200_000, b""])
def test_an_answer_of_megas_that_is_no_json_is_refused(server, tmp_path, text):
    server.faults = Faults(raw=[head(f"Content-Length: {len(text)}") + text])
    with pytest.raises(FetchError, match="MEGA's answer is malformed"):
        mega_get(server, tmp_path / "x")


@pytest.mark.parametrize("code", [-3, -4, -18])
def test_mega_is_asked_again_when_it_is_busy(server, tmp_path, pauses, code):
    server.faults = Faults(mega=[code, [code]])
    mega_get(server, tmp_path / "x")
    assert len(pauses) == 2


def test_a_mega_link_that_is_none_is_refused():
    with requests.Session() as session, pytest.raises(FetchError, match="no MEGA file link"):
        mega.resolve(session, "https://mega.nz/folder/abc")


def test_both_forms_of_the_authors_link_are_read():
    key = "jbIOOOGBOiKtv3VAOD782Mz7nK1L_kma-BzR-RhboW4"
    for link in (f"https://mega.nz/#!XzIm3YhT!{key}", f"https://mega.nz/file/XzIm3YhT#{key}"):
        assert mega.LINK.search(link).groups() == ("XzIm3YhT", key)
    assert len(mega.Key.parse(key).aes) == 16
