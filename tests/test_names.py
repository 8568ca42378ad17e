"""Lists of names as they are written, and names that are one to a file system."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from carcli.batch.names import listed, names
from carcli.errors import UsageError
from carcli.runtime import names as sameness
from carcli.runtime.files import remove_leftovers
from carcli.runtime.names import USUAL, Names, names_in


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.png\n\n b.png\n", ["a.png", " b.png"]),
        (codecs.BOM_UTF8 + b"a.png\nb.png", ["a.png", "b.png"]),
        (b"a.png\r\nb.png\r\n\r\n", ["a.png", "b.png"]),
        (b"a\rb.png\nc.png", ["a\rb.png", "c.png"]),
        ("a\x0bb\x0cc\x85d\u2028e\x1cf.png\n".encode(), ["a\x0bb\x0cc\x85d\u2028e\x1cf.png"]),
        (b"a\nb.png\0c\r\0\0", ["a\nb.png", "c\r"]),
        (b"caf\xe9.png\n", [os.fsdecode(b"caf\xe9.png") if os.name == "posix" else "caf\udce9.png"]),
        (b"~/a.png\n", ["~/a.png"]),
        (codecs.BOM_UTF16_LE + "ä.png\r\nb.png\r\n".encode("utf-16-le"), ["ä.png", "b.png"]),
        (codecs.BOM_UTF16_BE + "ä.png\n".encode("utf-16-be"), ["ä.png"]),
        (b"", []),
    ],
)
def test_a_list_of_names(tmp_path, data, expected):
    assert names(data) == [Path(name) for name in expected]
    (tmp_path / "list").write_bytes(data)
    assert listed(tmp_path / "list") == names(data)


def test_a_list_that_cannot_be_read_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "nothing", tmp_path / ("n" * 300)):
        with pytest.raises(UsageError, match="--from-file"):
            listed(path)
    with pytest.raises(UsageError, match="UTF-16"):
        names(codecs.BOM_UTF16_LE + b"a")


def test_a_file_system_is_asked_once_and_nothing_stays(tmp_path, monkeypatch):
    asked, temporary = [], sameness.temporary

    def counted(folder, mark):
        asked.append(folder)
        return temporary(folder, mark)

    monkeypatch.setattr(sameness, "temporary", counted)
    (tmp_path / "A").mkdir()
    case = (tmp_path / "a").exists()
    for _ in range(2):
        assert names_in(tmp_path / "lr" / "deep").case == case
    assert asked == [tmp_path]
    assert [p.name for p in tmp_path.iterdir()] == ["A"]


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), UnicodeEncodeError("ascii", "é", 0, 1, "no")])
def test_where_it_cannot_be_asked_it_does_what_is_usual(tmp_path, monkeypatch, error):
    def refuse(folder, mark):
        raise error

    monkeypatch.setattr(sameness, "temporary", refuse)
    assert names_in(tmp_path) == USUAL


@pytest.mark.parametrize("seen", [Names(), Names(case=True), Names(True, True), Names(form=True), Names(True, True, True)])
def test_what_a_file_system_does_is_found_out(tmp_path, monkeypatch, seen):
    def there(path):
        return any(seen.key(Path(name)) == seen.key(Path(path.name)) for name in os.listdir(tmp_path))  # noqa: PTH208

    monkeypatch.setattr(os.path, "lexists", there)
    assert names_in(tmp_path) == seen


def test_names_that_are_one_have_one_key():
    simple, full = Names(case=True), Names(case=True, length=True)
    assert simple.key(Path("Straße/É")) == simple.key(Path("STRAßE/é")) != simple.key(Path("strasse/é"))
    assert full.key(Path("Straße")) == full.key(Path("STRASSE"))
    assert Names(form=True).key(Path("é")) == Names(form=True).key(Path("e\u0301"))
    assert len({Names().key(Path(name)) for name in ("a", "A", "é", "e\u0301", "\udce9")}) == 5


def test_a_question_that_was_cut_leaves_nothing_for_good(tmp_path):
    with sameness.temporary(tmp_path, sameness.MARK) as (path, _):
        name = path.name
    for form in (name, name.replace("\u00e9", "e\u0301")):
        (tmp_path / form).write_bytes(b"")
    remove_leftovers([tmp_path])
    assert not list(tmp_path.iterdir())
