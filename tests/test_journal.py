"""The journal: append-only, true after any crash, and what it lets a second run know."""

from __future__ import annotations

import collections
import errno
import json
import os
from pathlib import Path

import pytest
from conftest import noise, write_photos
from PIL import Image
from workers import Copy

from carcli.batch import estimate
from carcli.batch.job import Job
from carcli.batch.journal import NAME, Journal
from carcli.batch.options import Options
from carcli.batch.pipeline import Pipeline
from carcli.batch.plan import plan
from carcli.batch.record import of_result
from carcli.batch.walk import Filter
from carcli.errors import CarcliError
from carcli.images import codec


@pytest.fixture
def folders(tmp_path):
    photos = write_photos(tmp_path / "photos", 4, 16, 24)
    (photos / "bad.png").write_bytes(b"bad")
    (tmp_path / "lr").mkdir()
    return photos, tmp_path / "lr"


def go(folders, settings="a", **options):
    photos, lr = folders
    journal = Journal(lr, settings)
    try:
        return list(Pipeline([Copy()], Options(**options), history=journal).run(plan([photos], lr)))
    finally:
        journal.close()


def records(folders) -> list[dict]:
    return [json.loads(line) for line in (folders[1] / NAME).read_text().splitlines()]


def test_every_image_that_was_done_or_failed_has_a_line(folders):
    go(folders)
    found = {r["source"].rsplit("/", 1)[1]: r for r in records(folders)}
    assert {n: r["status"] for n, r in found.items()} == {
        "0.png": "done", "1.png": "done", "2.png": "done", "3.png": "done", "bad.png": "failed",
    }  # fmt: skip
    assert found["0.png"]["target"] == "0.png"
    assert found["0.png"]["output_bytes"] == (folders[1] / "0.png").stat().st_size
    assert "not an image" in found["bad.png"]["reason"]


def test_a_second_run_does_only_what_is_missing_and_adds_only_that(folders):
    go(folders)
    (folders[1] / "2.png").unlink()
    again = go(folders)
    assert {r.source.name: r.status for r in again if r.status != "skipped"} == {"2.png": "done", "bad.png": "failed"}
    assert {r.reason for r in again if r.status == "skipped"} == {"done already"}
    assert {(r["status"], r["source"].rsplit("/", 1)[1]) for r in records(folders)[5:]} == {
        ("done", "2.png"),
        ("failed", "bad.png"),
    }


def test_outputs_made_otherwise_are_told_apart(folders):
    go(folders)
    assert {r.reason for r in go(folders, settings="b") if r.status == "skipped"} == {
        "exists already, made with other settings; --overwrite replaces it"
    }
    (folders[1] / NAME).unlink()
    assert {r.reason for r in go(folders) if r.status == "skipped"} == {"exists already; --overwrite replaces it"}


def test_a_source_that_changed_is_noticed_and_done_again_if_asked(folders):
    go(folders)
    source = folders[0] / "1.png"
    Image.fromarray(noise(16, 24, seed=9)).save(source)
    os.utime(source, ns=(1, 1))
    (changed,) = [r for r in go(folders) if r.reason and "changed" in r.reason]
    assert changed.source == source
    (done,) = [r for r in go(folders, update=True) if r.status == "done"]
    assert done.source == source
    assert not [r for r in go(folders, update=True) if r.status == "done"]


@pytest.mark.parametrize("tail", [b'{"status": "done", "targ', b"\xff\xfe", b"[]\n", b'{"status": "done"}\n', b"\n\n"])
def test_a_line_that_was_cut_spoils_nothing(folders, tail):
    go(folders)
    with (folders[1] / NAME).open("ab") as file:
        file.write(tail)
    (folders[1] / "0.png").unlink()
    go(folders)
    last = (folders[1] / NAME).read_bytes().splitlines()[-2:]
    assert {json.loads(line).get("target") for line in last} == {"0.png", "bad.png"}
    assert {r.reason for r in go(folders) if r.status == "skipped"} == {"done already"}


def test_an_estimate_counts_and_extrapolates(folders):
    jobs = [*plan([folders[0]], folders[1]), Job(folders[0] / "x.png", None, "no such file")]
    found = estimate.estimate(jobs, folders[1] / "not" / "yet", lambda path: 1 / 16, overwrite=False, bytes_a_pixel=2.0)
    assert (found.waiting, found.settled, found.refused) == (5, 0, 1)
    assert found.pixels == pytest.approx(4 * 16 * 24, rel=0.01)
    assert found.output_bytes == pytest.approx(2.0 * found.pixels / 16, rel=0.01)
    go(folders)
    found = estimate.estimate(jobs, folders[1], lambda path: 1 / 16, overwrite=False, bytes_a_pixel=2.0)
    assert (found.waiting, found.settled) == (1, 4)


def test_a_disk_that_cannot_hold_it_is_noticed_first(folders, monkeypatch):
    jobs = plan([folders[0]], folders[1])
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())
    found = estimate.estimate(jobs, folders[1], lambda path: 16.0, overwrite=False, bytes_a_pixel=2.2)
    with pytest.raises(CarcliError, match=r"its disk has 100 bytes free, and 5 images need about 56\.8 kB"):
        estimate.refuse_if_full(found, folders[1])


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        ((), (), ["0.png", "1.png", "2.png", "3.png", "bad.png", "sub/4.jpg"]),
        (("*.JPG",), (), ["sub/4.jpg"]),
        (("sub/*",), (), ["sub/4.jpg"]),
        ((), ("bad*", "sub/*"), ["0.png", "1.png", "2.png", "3.png"]),
        (("?.png",), ("[01].png",), ["2.png", "3.png"]),
    ],
)
def test_files_of_folders_are_chosen_by_pattern(folders, include, exclude, names):
    photos, lr = folders
    (photos / "sub").mkdir()
    Image.fromarray(noise(8, 8)).save(photos / "sub" / "4.jpg")
    jobs = plan([photos], lr, recursive=True, wanted=Filter(include, exclude))
    assert [j.source.relative_to(photos).as_posix() for j in jobs] == names


def test_a_glob_that_no_shell_expanded(folders):
    photos, lr = folders
    assert [j.source.name for j in plan([photos / "[12].png"], lr)] == ["1.png", "2.png"]
    (lone,) = plan([photos / "*.gif"], lr)
    assert lone.obstacle == "no such file or folder"


def test_a_link_that_leads_in_a_circle_ends(folders):
    photos, lr = folders
    (photos / "circle").symlink_to(photos, target_is_directory=True)
    (photos / "link.png").symlink_to(photos / "0.png")
    names = [j.source.name for j in plan([photos], lr, recursive=True)]
    assert names == ["0.png", "1.png", "2.png", "3.png", "bad.png", "link.png"]


def test_a_source_that_is_replaced_while_it_is_computed_is_noticed_later(folders):
    """Its state is that of the moment at which it was read: what was made of it is not what would be made now."""
    photos, lr = folders
    source = photos / "1.png"

    def replace_it(picture, turn):
        Image.fromarray(noise(16, 24, seed=99)).save(source)
        os.utime(source, (1, 1))

    journal = Journal(lr, "a")
    (first,) = list(Pipeline([Copy(replace_it)], history=journal).run([Job(source, lr / "1.png")]))
    journal.close()
    assert first.status == "done"
    again = {r.source.name: r.reason for r in go(folders) if r.status == "skipped"}
    assert "has changed since" in again["1.png"]


def test_a_source_that_changes_while_it_is_read_fails_and_is_tried_again(folders, monkeypatch):
    photos, lr = folders
    read = codec.read

    def grow_while_reading(path):
        picture = read(path)
        with path.open("ab") as file:
            file.write(b"more")
        return picture

    with monkeypatch.context() as patch:
        patch.setattr(codec, "read", grow_while_reading)
        (result,) = list(Pipeline([Copy()]).run([Job(photos / "1.png", lr / "1.png")]))
    assert (result.status, result.reason) == ("failed", "changed while it was read; run the same command again")
    assert not (lr / "1.png").exists()
    (again,) = list(Pipeline([Copy()]).run([Job(photos / "1.png", lr / "1.png")]))
    assert again.status == "done"


CLAIM = b'{"schema": 1, "status": "done", "target": "0.png", "settings": "a", "source": "s", '


@pytest.mark.parametrize(
    "hostile",
    [
        CLAIM + b'"input_bytes": %s, "input_changed_ns": 1}' % number
        for number in (
            b"Infinity",
            b"-Infinity",
            b"NaN",
            b"1e999",
            b"9" * 1_000_000,
            b"9" * 100_000,
            b"true",
            b"null",
            b'"1"',
            b"[1]",
        )
    ]
    + [b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000, b'"text"', b"7", b"null", b"[1, 2]", b"\0" * 300_000, b"x" * 1_000_000],
)
def test_a_hostile_line_is_passed_over(folders, hostile):
    go(folders)
    path = folders[1] / NAME
    whole = path.read_bytes()
    path.write_bytes(hostile + b"\n" + whole)
    assert [r.reason for r in go(folders) if r.status == "skipped"] == ["done already"] * 4
    path.write_bytes(whole + hostile)  # no line feed at its end
    (folders[1] / "1.png").unlink()
    go(folders)
    assert [r.reason for r in go(folders) if r.status == "skipped"] == ["done already"] * 4


def test_lines_as_they_were_written_before_are_read(folders):
    go(folders)
    path = folders[1] / NAME
    kept = ("status", "source", "target", "settings")
    old = [
        {**{k: r[k] for k in kept}, "size": r["input_bytes"], "changed": r["input_changed_ns"], "bytes": r["output_bytes"]}
        for r in records(folders)
        if r["status"] == "done"
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in old))
    assert [r.existing for r in go(folders) if r.status == "skipped"] == ["same"] * 4


def test_a_line_has_the_names_that_json_has(folders):
    (result, *_) = go(folders)
    (first,) = [record for record in records(folders) if record["target"] == "0.png"]
    expected = of_result(result)
    assert first.keys() == {"schema", "time", "settings", "verb", *expected}
    assert all(first[name] == value for name, value in expected.items() if name not in ("source", "target"))
    assert (first["schema"], first["settings"], first["source"]) == (1, "a", str(folders[0] / "0.png"))


@pytest.mark.skipif(os.name != "posix", reason="needs names that are no text")
def test_a_name_that_is_no_text_is_known_again(folders):
    photos = folders[0]
    (photos / "0.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    go(folders)
    assert [r.existing for r in go(folders) if r.status == "skipped"] == ["same"] * 4
    assert "caf\udce9.png" in {r["target"] for r in records(folders)}


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and links")
@pytest.mark.parametrize("what", ["pipe", "link", "device", "folder"])
def test_what_is_no_ordinary_file_is_no_journal(folders, what):
    path = folders[1] / NAME
    precious = folders[1].parent / "precious"
    precious.write_bytes(b"precious")
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(precious if what == "link" else "/dev/full")
    with pytest.raises(CarcliError, match=r"journal cannot be used \(is no ordinary file\); move it away"):
        Journal(folders[1], "a")
    assert precious.read_bytes() == b"precious"


def test_a_journal_of_somebody_else_is_one_line(folders, monkeypatch):
    go(folders)

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CarcliError, match=r"journal cannot be used \(Permission denied\); move it away"):
        Journal(folders[1], "a")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_disk_that_fills_ends_the_batch_once_what_was_begun_is_told(folders, monkeypatch, workers):
    photos, lr = folders
    write, written = os.write, []

    def fill_up(file, data):
        written.append(data)
        if len(written) == 2:
            return write(file, data[:10])
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    journal, results = Journal(lr, "a"), []
    pipeline = Pipeline([Copy()], Options(workers=workers), history=journal)
    with monkeypatch.context() as patch:
        patch.setattr("carcli.batch.journal.os.write", fill_up)
        with pytest.raises(CarcliError, match=r"journal cannot be written \(No space left on device\); what is done stays"):
            collections.deque(map(results.append, pipeline.run(plan([photos], lr))))
        journal.close()
    done = {p.name for p in lr.glob("*.png")}
    assert done >= {"0.png", "1.png"}
    assert {r.source.name for r in results if r.status == "done"} == done
    again = {r.source.name: r.status for r in go(folders)}
    assert {name for name, status in again.items() if status == "done"} == {"2.png", "3.png"} - done
    (first, half, *_) = (lr / NAME).read_bytes().splitlines()
    assert json.loads(first)["status"] == "done"
    assert len(half) == 10


def test_an_image_done_again_is_known_in_the_same_run(folders):
    photos, lr = folders
    journal, job = Journal(lr, "a"), Job(photos / "1.png", lr / "1.png")
    pipeline = Pipeline([Copy()], Options(update=True), history=journal)
    assert [r.status for r in pipeline.run([job])] == ["done"]
    assert journal.how_made(job) == "same"
    os.utime(job.source, (1, 1))
    assert journal.how_made(job) == "source"
    assert [r.status for r in pipeline.run([job])] == ["done"]
    journal.close()


def test_sizes_that_differ_look_different():
    gb = 1_000_000_000
    small = estimate.Estimate(1, 0, 0, 0, 0, output_bytes=999, free_bytes=1000)
    full = estimate.Estimate(1, 0, 0, 0, 0, output_bytes=4 * gb, free_bytes=4 * gb + 200_000_000 - 1)
    with pytest.raises(CarcliError, match=r"1000 bytes free, .* about 1049 bytes"):
        estimate.refuse_if_full(small, Path("lr"))
    with pytest.raises(CarcliError, match=r"4199999999 bytes free, .* about 4200000000 bytes"):
        estimate.refuse_if_full(full, Path("lr"))


def test_a_disk_that_says_nothing_of_itself_is_one_line(folders, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(estimate.shutil, "disk_usage", refuse)
    with pytest.raises(CarcliError, match="pass --ignore-space"):
        estimate.estimate([], folders[1], lambda header: 1.0, overwrite=False, bytes_a_pixel=2.2)
