"""Which file becomes which: names, clashes, folders inside folders, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carcli.batch.plan import plan
from carcli.errors import UsageError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def pairs(inputs, output="lr", **options):
    return [
        (str(j.source), str(j.target) if j.target else j.obstacle)
        for j in plan([Path(i) for i in inputs], Path(output), **options)
    ]


def test_a_folder_in_order_of_name_without_hidden_files_and_what_is_no_image():
    touch("p/b.jpg", "p/a.PNG", "p/.hidden.jpg", "p/notes.txt", "p/sub/c.jpg")
    assert pairs(["p"]) == [("p/a.PNG", "lr/a.png"), ("p/b.jpg", "lr/b.png")]


def test_recursion_keeps_the_structure():
    touch("p/b.jpg", "p/sub/deep/c.jpg", "p/.git/d.jpg")
    assert pairs(["p"], recursive=True) == [("p/b.jpg", "lr/b.png"), ("p/sub/deep/c.jpg", "lr/sub/deep/c.png")]


def test_an_output_folder_inside_the_input_folder_is_no_input():
    touch("p/a.jpg", "p/lr/a.png", "p/other/b.jpg")
    assert pairs(["p"], "p/lr", recursive=True) == [("p/a.jpg", "p/lr/a.png"), ("p/other/b.jpg", "p/lr/other/b.png")]


def test_two_inputs_of_one_name_keep_their_suffix():
    touch("p/a.jpg", "p/a.png", "p/b.jpg")
    assert pairs(["p"]) == [("p/a.jpg", "lr/a.jpg.png"), ("p/a.png", "lr/a.png.png"), ("p/b.jpg", "lr/b.png")]


def test_names_that_differ_in_case_alone_are_one():
    touch("p/A.jpg", "p/a.tif")
    assert pairs(["p"]) == [("p/A.jpg", "lr/A.jpg.png"), ("p/a.tif", "lr/a.tif.png")]


def test_a_clash_that_no_suffix_resolves_is_refused_for_the_later_one():
    touch("p/a.jpg", "q/a.jpg")
    (_, first), (_, second) = pairs(["p/a.jpg", "q/a.jpg"])
    assert first == "lr/a.jpg.png"
    assert "would be written to" in second
    assert "p/a.jpg" in second


def test_the_same_file_named_twice_is_done_once():
    touch("p/a.jpg")
    assert pairs(["p", "p/a.jpg", "./p/../p/a.jpg"]) == [("p/a.jpg", "lr/a.png")]


def test_an_image_never_replaces_itself():
    touch("p/a.png")
    ((_, reason),) = pairs(["p"], "p")
    assert "replace itself" in reason
    ((_, reason),) = pairs(["p/a.png"], "p/a.png")
    assert "replace itself" in reason


def test_an_image_never_replaces_itself_through_a_link():
    touch("p/a.png")
    Path("lr").mkdir()
    os.link("p/a.png", "lr/a.png")
    ((_, reason),) = pairs(["p"])
    assert "replace itself" in reason


def test_an_image_never_replaces_another_input():
    touch("p/a.jpg", "q/a.png")
    results = dict(pairs(["p/a.jpg", "q"], "q"))
    assert not any(target == "q/a.png" for target in results.values())


def test_missing_inputs_are_named_and_the_rest_is_planned():
    touch("p/a.jpg")
    assert pairs(["gone.jpg", "p"]) == [("gone.jpg", "no such file or folder"), ("p/a.jpg", "lr/a.png")]


def test_o_is_a_file_where_there_is_one_input():
    touch("a.jpg")
    assert pairs(["a.jpg"], "out/small.png") == [("a.jpg", "out/small.png")]
    assert pairs(["a.jpg"], "out") == [("a.jpg", "out/a.png")]


def test_o_of_another_format_is_wrong_usage():
    touch("a.jpg")
    with pytest.raises(UsageError, match=r"name a \.png"):
        pairs(["a.jpg"], "small.jpg")


def test_o_that_is_a_file_cannot_take_several():
    touch("a.jpg", "b.jpg", "out.png")
    with pytest.raises(UsageError, match="need a folder"):
        pairs(["a.jpg", "b.jpg"], "out.png")


def test_a_target_that_is_a_folder_is_refused():
    touch("p/a.jpg")
    Path("lr/a.png").mkdir(parents=True)
    ((_, reason),) = pairs(["p"])
    assert "is a folder" in reason


def test_link_loops_end():
    touch("p/a.jpg")
    Path("p/loop").symlink_to("..", target_is_directory=True)
    assert pairs(["p"], recursive=True) == [("p/a.jpg", "lr/a.png")]
