"""Names and messages of strangers are shown, never obeyed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcli.runtime.text import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photo.png", "photo.png"),
        ("Zürich 東京 ☀.png", "Zürich 東京 ☀.png"),
        ("Screenshot 1:02\u202fPM", "Screenshot 1:02\u202fPM"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),  # one character that begins a command
        ("photo\u202egnp.exe", "photo\\u202egnp.exe"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_printed_as_it_stands_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(st.characters()))
def test_the_result_is_one_line_that_utf_8_can_tell(text: str) -> None:
    line = shown(text)
    line.encode()
    assert len(line.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    assert shown(line) == line
