"""Which file becomes which: names, clashes, folders inside folders, and what is refused."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from carcli.batch.plan import plan
from carcli.batch.walk import Filter
from carcli.errors import CarcliError, UsageError
from carcli.runtime.names import Names


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


@pytest.mark.parametrize(
    ("first", "second", "as_one"),
    [
        ("A.jpg", "a.tif", {"case": True}),
        ("stra\u00dfe.jpg", "STRASSE.tif", {"case": True, "length": True}),
        ("caf\u00e9.jpg", "cafe\u0301.tif", {"form": True}),
    ],
)
def test_two_names_are_one_where_the_file_system_says_so(monkeypatch, first, second, as_one):
    touch(f"p/{first}", f"p/{second}")
    if len(os.listdir("p")) < 2:  # noqa: PTH208
        pytest.skip("this file system is one of those")
    first, second = sorted([first, second])
    short = [(f"p/{name}", f"lr/{Path(name).stem}.png") for name in (first, second)]
    monkeypatch.setattr("carcli.batch.plan.names_in", lambda folder: Names())
    assert pairs(["p"]) == short
    monkeypatch.setattr("carcli.batch.plan.names_in", lambda folder: Names(**as_one))
    assert pairs(["p"]) == [(f"p/{name}", f"lr/{name}.png") for name in (first, second)]


def test_an_input_is_not_replaced_under_another_way_of_writing_its_name(monkeypatch):
    touch("p/a.jpg", "p/a.tif", "q/A.JPG.png")
    os.link("q/A.JPG.png", "q/a.jpg.png")  # what a file system does that does not tell them apart
    monkeypatch.setattr("carcli.batch.plan.names_in", lambda folder: Names(case=True))
    assert "would replace q/A.JPG.png" in pairs(["p/a.jpg", "p/a.tif", "q/A.JPG.png"], "q")[0][1]


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


def forbid(monkeypatch, *names: str) -> None:
    """Root, too, may not list these folders."""
    listing = os.scandir

    def scandir(path):
        if Path(path).name in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_read_is_one_failure(monkeypatch):
    touch("p/a.jpg", "p/lost+found/b.jpg", "p/z/deep/c.jpg", "p/z/d.jpg")
    forbid(monkeypatch, "lost+found", "deep")
    told = "this folder cannot be read (Permission denied)"
    assert pairs(["p"], recursive=True) == [
        ("p/a.jpg", "lr/a.png"), ("p/lost+found", told), ("p/z/d.jpg", "lr/z/d.png"), ("p/z/deep", told),
    ]  # fmt: skip
    assert pairs(["p/lost+found", "p/a.jpg"]) == [("p/lost+found", told), ("p/a.jpg", "lr/a.png")]


def test_folders_may_be_nested_deeper_than_functions():
    here = Path.cwd()
    Path("p").mkdir()
    os.chdir("p")
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("a.png").write_bytes(b"x")
    os.chdir(here)
    touch("p/b.jpg")
    (first, second) = pairs(["p"], recursive=True)
    assert (first[0], second[0]) == ("p/b.jpg", f"p/{'d/' * 1200}a.png")
    Path(second[0]).unlink()
    for depth in range(1200, 0, -1):  # what clears up after tests does call itself
        Path(f"p/{'d/' * depth}").rmdir()


@pytest.mark.parametrize(
    "name", ["n" * 300 + ".jpg", "p/" * 3000 + "a.jpg", "a\0b.jpg", "*\0.jpg", "?" * 5000, "\ud800.jpg", "circle.png"]
)
def test_a_name_that_cannot_be_is_one_failure(name):
    touch("p/a.jpg")
    Path("circle.png").symlink_to("circle.png")
    (impossible, possible) = plan([Path(name), Path("p/a.jpg")], Path("lr"))
    assert (impossible.source, impossible.target) == (Path(name), None)
    assert impossible.obstacle
    assert possible.target == Path("lr/a.png")
    (alone,) = plan([Path(name)], Path("small.png"))
    assert alone.obstacle == impossible.obstacle


def test_links_in_a_circle_and_to_nothing_are_named_in_folders():
    touch("p/a.jpg")
    Path("p/circle.png").symlink_to("circle.png")
    Path("p/gone.png").symlink_to("nothing")
    assert pairs(["p"]) == [
        ("p/a.jpg", "lr/a.png"),
        ("p/circle.png", os.strerror(errno.ELOOP)),
        ("p/gone.png", "no such file or folder"),
    ]


def test_an_output_name_that_is_too_long_is_one_failure():
    long = "n" * 249 + ".jpg"
    touch(f"p/{long}", f"p/{'n' * 249}.tif", "p/a.jpg")
    Path("lr").mkdir()
    first, *others = pairs(["p"])
    assert first == ("p/a.jpg", "lr/a.png")
    assert [reason for _, reason in others] == [f"cannot be written ({os.strerror(errno.ENAMETOOLONG)})"] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_neither_read_nor_written():
    touch("p/a.jpg")
    Path("lr").mkdir()
    os.mkfifo("p/pipe.png")
    os.mkfifo("lr/a.png")
    (_, target), (_, source) = pairs(["p"])
    assert "lr/a.png is no ordinary file" in target
    assert source == "is no ordinary file"


@pytest.mark.parametrize("output", ["n" * 300, "a\0b", "circle"])
def test_an_output_that_cannot_be_is_one_line(output):
    touch("p/a.jpg")
    Path("circle").symlink_to("circle")
    with pytest.raises(CarcliError, match="name another folder with -o"):
        plan([Path("p")], Path(output))


@pytest.mark.skipif(os.name != "posix", reason="a folder that is in use cannot be removed there")
def test_a_working_folder_that_is_gone_is_one_line():
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    with pytest.raises(CarcliError):
        plan([Path("a.jpg"), Path("b.jpg")], Path("lr"))


def test_reasons_can_be_grouped():
    touch("p/a.jpg", "q/a.jpg", "r/a.jpg")
    jobs = plan([Path("p/a.jpg"), Path("q/a.jpg"), Path("r/a.jpg")], Path("lr"))
    assert Counter(job.kind for job in jobs if job.obstacle) == {
        "would be written where another image is; use another output folder for it": 2
    }


def test_images_of_kinds_that_cannot_be_read_are_counted():
    touch("p/a.jpg", "p/b.PSD", "p/c.psd", "p/d.NEF", "p/e.txt", "p/sub/f.dng", "p/sub/.g.dng")
    left_out = Counter()
    plan([Path("p"), Path("p")], Path("lr"), recursive=True, left_out=left_out)
    assert left_out == {".psd": 2, ".nef": 1, ".dng": 1}
    left_out.clear()
    plan([Path("p")], Path("lr"), wanted=Filter(exclude=["*.psd"]), left_out=left_out)
    assert left_out == {".nef": 1}
    ((named, _),) = pairs(["p/b.PSD"])
    assert named == "p/b.PSD"


@pytest.mark.parametrize("inputs", [["p", "p/a.jpg"], ["p/a.jpg", "p"]])
def test_a_file_that_is_named_is_taken_whatever_is_left_out_of_its_folder(inputs):
    touch("p/a.jpg", "p/b.jpg")
    found = pairs(inputs, wanted=Filter(exclude=["a.*"]))
    assert sorted(found) == [("p/a.jpg", "lr/a.png"), ("p/b.jpg", "lr/b.png")]
