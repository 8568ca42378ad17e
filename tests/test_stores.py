"""Inputs and outputs in object stores, on a real S3 server: the same bytes as files give, whatever gets in the way."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from pathlib import Path

import pytest
from buckets import BUCKET
from conftest import PHOTOS

from carcli.batch import Batch, Down, Job, Options, Up, run
from carcli.cli import app
from carcli.errors import CarcliError, UsageError
from carcli.stores import failures
from carcli.stores.failures import StoreError
from carcli.stores.schemes import store_of
from carcli.stores.url import Url, place_of, url_of

BICUBIC = Down("bicubic", 2)
CPU = Options(devices=("cpu",))
DEEP = Options(devices=("cpu",), recursive=True)
EYES, CAT = (PHOTOS / "eyes.png").read_bytes(), (PHOTOS / "cat.jpg").read_bytes()
S3 = f"s3://{BUCKET}"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hasty(monkeypatch):
    """Attempts follow one another at once; says how long they would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(failures, "sleep", waited.append)
    return waited


def down(inputs, output, options=DEEP, task=BICUBIC):
    return list(run(task, inputs, output, options))


def statuses(results):
    return [r.status for r in results]


def library(bucket, count=3, prefix="in/"):
    for i in range(count):
        bucket.put(f"{prefix}{i}.png", EYES)


class TestTheSameAsFiles:
    @pytest.fixture
    def local(self):
        """What a local run makes of a small tree, by names relative to its output."""
        for name, data in (("a.png", EYES), ("a.jpg", CAT), ("deep/b.png", EYES)):
            path = Path("library", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        down(["library"], "lr")
        return {p.relative_to("lr").as_posix(): p.read_bytes() for p in Path("lr").rglob("*.png")}

    @pytest.fixture
    def tree(self, bucket):
        for name, data in (("a.png", EYES), ("a.jpg", CAT), ("deep/b.png", EYES)):
            bucket.put(f"library/{name}", data)

    def in_store(self, bucket, prefix):
        return {key.removeprefix(prefix): bucket.get(key) for key in bucket.keys(prefix) if key.endswith(".png")}

    def test_from_a_store_to_a_store(self, local, tree, bucket):
        assert statuses(down([f"{S3}/library/"], f"{S3}/lr")) == ["done"] * 3
        assert self.in_store(bucket, "lr/") == local

    def test_from_files_to_a_store(self, local, bucket):
        assert statuses(down(["library"], f"{S3}/lr/")) == ["done"] * 3
        assert self.in_store(bucket, "lr/") == local

    def test_from_a_store_to_files(self, local, tree, bucket):
        assert statuses(down([f"{S3}/library"], "other")) == ["done"] * 3
        assert {p.relative_to("other").as_posix(): p.read_bytes() for p in Path("other").rglob("*.png")} == local

    def test_and_up_again(self, local, tree, bucket):
        down(["lr"], "sr", task=Up())
        down([f"{S3}/library/"], f"{S3}/lr/")
        assert statuses(down([f"{S3}/lr/"], f"{S3}/sr/", task=Up())) == ["done"] * 3
        assert self.in_store(bucket, "sr/") == {p.relative_to("sr").as_posix(): p.read_bytes() for p in Path("sr").rglob("*.png")}

    def test_one_object_to_one_object(self, tree, bucket):
        (result,) = down([f"{S3}/library/a.png"], f"{S3}/small.webp")
        assert (result.status, str(result.target), result.format) == ("done", f"{S3}/small.webp", "webp")
        assert bucket.get("small.webp")[8:12] == b"WEBP"
        assert statuses(down([f"{S3}/library/a.png"], "here.png")) == ["done"]
        assert statuses(down([f"{S3}/small.webp"], f"{S3}/small.webp", task=Up())) == ["failed"]


class TestWhatIsThere:
    def test_done_ones_are_known_again_and_changed_ones_done_again(self, bucket):
        library(bucket)
        down([f"{S3}/in/"], f"{S3}/lr/")
        bucket.put("in/1.png", (PHOTOS / "rocket.jpg").read_bytes())
        assert [r.existing for r in down([f"{S3}/in/"], f"{S3}/lr/")] == ["same", "source", "same"]
        again = Options(devices=("cpu",), update=True)
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/", again)) == ["skipped", "done", "skipped"]
        assert [r.existing for r in down([f"{S3}/in/"], f"{S3}/lr/", task=Down("bicubic", 4))] == ["settings"] * 3
        over = Options(devices=("cpu",), overwrite=True)
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/", over)) == ["done"] * 3

    def test_a_local_journal_knows_objects_and_a_stores_journal_files(self, bucket):
        library(bucket, 1)
        Path("in").mkdir()
        Path("in/0.png").write_bytes(EYES)
        for source, output in ((f"{S3}/in/", "lr"), ("in", f"{S3}/lr/")):
            down([source], output)
            assert [r.existing for r in down([source], output)] == ["same"]

    def test_what_a_killed_run_left_in_a_folder_is_cleared_away(self, bucket):
        library(bucket, 1)
        leftover = Path("lr/deep/.carcli-0a-0a.tmp")
        leftover.parent.mkdir(parents=True)
        leftover.write_bytes(b"half")
        os.utime(leftover, (0, 0))
        down([f"{S3}/in/"], "lr")
        assert not leftover.exists()

    def test_an_output_that_was_removed_is_made_again(self, bucket):
        library(bucket)
        down([f"{S3}/in/"], f"{S3}/lr/")
        bucket.client.delete_object(Bucket=BUCKET, Key="lr/1.png")
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/")) == ["skipped", "done", "skipped"]

    def test_what_was_made_before_is_passed_over(self, bucket):
        library(bucket, 1)
        down([f"{S3}/in/"], f"{S3}/in/lr/")  # inside its own input
        assert [r.name for r in down([f"{S3}/in/"], f"{S3}/in/lr/")] == [f"{S3}/in/0.png"]
        batch = Batch(BICUBIC, [f"{S3}/in/"], f"{S3}/other/", DEEP)
        assert [job.name for job in batch.jobs] == [f"{S3}/in/0.png"]
        assert list(map(str, batch.passed_over)) == [f"{S3}/in/lr/"]
        restored = [job.name for job in Batch(Up(), [f"{S3}/in/"], f"{S3}/sr/", DEEP).jobs]
        assert restored == [f"{S3}/in/0.png", f"{S3}/in/lr/0.png"]

    def test_each_image_costs_one_get_and_one_put(self, bucket):
        library(bucket, 5)
        down([f"{S3}/in/"], f"{S3}/lr/")
        assert (bucket.asked("GET", f"/{BUCKET}/in/"), bucket.asked("PUT", f"/{BUCKET}/lr/")) == (5, 5 + 2)
        assert bucket.asked("HEAD", ".png") == 0
        bucket.requests.clear()
        down([f"{S3}/in/"], f"{S3}/lr/")
        assert (bucket.asked("GET", f"/{BUCKET}/in/"), bucket.asked("HEAD", ".png")) == (0, 0)

    def test_parts_of_a_journal_are_never_written_again(self, bucket):
        library(bucket, 2)
        down([f"{S3}/in/"], f"{S3}/lr/")
        parts = {key: bucket.get(key) for key in bucket.keys("lr/.carcli-journal/")}
        bucket.put("in/new.png", EYES)
        down([f"{S3}/in/"], f"{S3}/lr/")
        assert {key: bucket.get(key) for key in parts} == parts
        lines = [json.loads(line) for data in parts.values() for line in data.splitlines()]
        assert {line.get("target") for line in lines if line["status"] == "done"} == {"0.png", "1.png"}
        assert all(line["input_etag"] for line in lines if line["status"] == "done")

    def test_two_runs_at_once_lose_nothing(self, bucket):
        library(bucket, 8)
        results = [[], []]
        threads = [threading.Thread(target=lambda r=r: r.extend(down([f"{S3}/in/"], f"{S3}/lr/"))) for r in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all({r.status for r in each} <= {"done", "skipped"} and len(each) == 8 for each in results)
        assert [r.existing for r in down([f"{S3}/in/"], f"{S3}/lr/")] == ["same"] * 8


class TestNames:
    def test_odd_keys_are_kept_as_they_are(self, bucket):
        odd = ["a b+c%20.png", "é?versionId=3.png", "x//y.png", "[1]*.png", 'quo"te&<>.png', "#frag.png"]
        for name in odd:
            bucket.put(f"in/{name}", EYES)
        bucket.put("in/folder.png/", b"")
        for name in (".hidden.png", "deep/../z.png"):  # what begins with a dot is left out, as of folders
            bucket.put(f"in/{name}", EYES)
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/")) == ["done"] * len(odd)
        assert {key.removeprefix("lr/") for key in bucket.keys("lr/") if ".carcli" not in key} == set(odd)
        local = {r.name.removeprefix(f"{S3}/in/"): r.status for r in down([f"{S3}/in/"], "lr")}
        assert {name for name, status in local.items() if status == "failed"} == {"x//y.png"}
        (up,) = down([f"{S3}/in/deep/../z.png"], "lr")
        assert up.target == Path("lr/z.png")

    def test_an_empty_object_is_a_failure_of_its_own(self, bucket):
        library(bucket, 1)
        bucket.put("in/empty.png", b"")
        ok, empty = down([f"{S3}/in/"], f"{S3}/lr/")
        assert (ok.status, empty.reason) == ("done", "the file is empty")

    def test_nothing_replaces_an_input(self, bucket):
        bucket.put("in/a.jpg", CAT)
        bucket.put("in/b.png", EYES)
        bucket.put("in/b.jpg", CAT)
        results = {r.name: r for r in down([f"{S3}/in/"], f"{S3}/in/", Options(devices=("cpu",), overwrite=True))}
        assert results[f"{S3}/in/a.jpg"].status == "done"
        assert bucket.get("in/b.png") == EYES
        (itself,) = down([f"{S3}/in/b.png"], f"{S3}/in/", Options(devices=("cpu",), overwrite=True))
        assert itself.reason == "would replace itself; name another output folder with -o"

    def test_only_folders_that_are_asked_for_are_gone_into(self, bucket):
        library(bucket, 1)
        bucket.put("in/deep/x.png", EYES)
        bucket.put("in/raw.cr2", b"raw")
        batch = Batch(BICUBIC, [f"{S3}/in/"], f"{S3}/lr/", CPU)
        assert [job.name for job in batch.jobs] == [f"{S3}/in/0.png"]
        assert batch.left_out == {".cr2": 1}
        chosen = Options(recursive=True, exclude=("deep/*",))
        assert [job.name for job in Batch(BICUBIC, [f"{S3}/in/"], f"{S3}/lr/", chosen).jobs] == [f"{S3}/in/0.png"]

    def test_a_list_of_addresses_in_a_store(self, bucket):
        library(bucket, 2)
        Path("here.png").write_bytes(EYES)
        bucket.put("list.txt", f"{S3}/in/0.png\n{S3}/in/gone.png\nhere.png\n".encode())
        options = Options(devices=("cpu",), from_file=place_of(f"{S3}/list.txt"))
        done = {r.name: r for r in down([], f"{S3}/lr/", options)}
        assert statuses([done[f"{S3}/in/0.png"], done["here.png"]]) == ["done", "done"]
        assert done[f"{S3}/in/gone.png"].reason.startswith("no such object")


class TestWhatGetsInTheWay:
    @pytest.mark.parametrize("fault", [(503, "SlowDown"), (500, "InternalError"), (0, "reset"), (429, "TooManyRequests")])
    def test_what_is_over_in_a_moment_is_tried_again(self, bucket, hasty, fault):
        library(bucket, 1)
        for method, part in (("GET", "/in/0.png"), ("PUT", "/lr/0.png"), ("GET", "list-type")):
            bucket.faults(method, part, fault, times=3)
            over = Options(devices=("cpu",), overwrite=True)
            assert statuses(down([f"{S3}/in/"], f"{S3}/lr/", over)) == ["done"]
        assert sum(hasty) > 3

    def test_an_answer_that_is_cut_is_read_again(self, bucket, hasty):
        library(bucket, 1)
        bucket.faults("GET", "/in/0.png", (200, "cut"), times=2)
        (cut,) = down([f"{S3}/in/"], f"{S3}/lr/")
        assert (cut.status, cut.input_bytes) == ("done", len(EYES))

    def test_a_store_that_never_recovers_ends_the_run_in_one_line(self, bucket, hasty, monkeypatch):
        monkeypatch.setattr(failures, "ATTEMPTS", 2)
        library(bucket, 20)
        bucket.faults("GET", "/in/", (503, "SlowDown"))
        told = []
        with pytest.raises(CarcliError, match=r"in/\d+.png: the store is busy .*SlowDown.*run the same command again later"):
            told.extend(run(BICUBIC, [f"{S3}/in/"], f"{S3}/lr/", DEEP))
        assert len(told) < 20
        bucket.fault = None
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/")) == ["done"] * 20

    def test_one_object_that_cannot_be_read_stops_nobody(self, bucket, hasty):
        library(bucket)
        bucket.faults("GET", "/in/1.png", (500, "InternalError"))
        assert statuses(down([f"{S3}/in/"], f"{S3}/lr/")) == ["done", "failed", "done"]

    def test_what_was_begun_is_finished_where_the_listing_breaks_off(self, bucket, hasty):
        for i in range(4):
            bucket.put(f"in/{i}/a.png", EYES)
        bucket.faults("GET", "prefix=in%2F2%2F&delimiter", (403, "AccessDenied"))
        done = []
        with pytest.raises(CarcliError, match="in/2/: access denied"):
            done.extend(r.name for r in run(BICUBIC, [f"{S3}/in/"], f"{S3}/lr/", DEEP))
        assert [key for key in bucket.keys("lr/") if key.endswith("png")] == [
            "lr/0/a.png"
        ]  # of 1/a nobody knows yet what else has its stem

    def test_access_that_is_denied_is_said_at_once(self, bucket, hasty):
        library(bucket)
        for method, part, where in (("GET", "list-type", "in/"), ("PUT", "journal", "lr/")):
            bucket.faults(method, part, (403, "AccessDenied"))
            with pytest.raises(CarcliError, match=rf"{S3}/{where}.*access denied \(403\); ask whoever owns the bucket"):
                down([f"{S3}/in/"], f"{S3}/lr/")
        assert hasty == []
        assert bucket.keys("lr/") == []

    def test_an_object_that_vanishes_or_changes_between_listing_and_reading(self, bucket):
        library(bucket, 3)

        def between(method, path):
            if method == "GET" and path == f"/{BUCKET}/in/0.png":  # all three are listed by now
                bucket.client.delete_object(Bucket=BUCKET, Key="in/0.png")
                bucket.put("in/2.png", CAT)

        bucket.fault = between
        options = Options(devices=("cpu",), workers=1)
        first, _, last = down([f"{S3}/in/"], f"{S3}/lr/", options)
        assert (first.status, first.reason) == ("failed", "no such object")
        bucket.fault = None
        assert last.input_bytes in (len(CAT), len(EYES))
        known = "same" if last.input_bytes == len(CAT) else "source"
        assert [r.existing for r in down([f"{S3}/in/"], f"{S3}/lr/")][-1] == known

    @pytest.mark.parametrize(
        ("inputs", "output", "message"),
        [
            (["s3://no-such-bucket-at-all/in/"], "lr", "no such bucket; create it, or correct the address"),
            (["s3://"], "lr", "names no bucket"),
            ([f"{S3}/nothing/"], "lr", "no such folder"),
            ([f"{S3}/nothing.png"], "lr", "no such object"),
            ([str(PHOTOS)], "https://example.com/lr", "cannot be written; name a folder, or s3://bucket/folder/"),
            ([str(PHOTOS)], "s3://no-such-bucket-at-all/lr/", "no such bucket"),
        ],
    )
    def test_what_is_not_there_is_one_line(self, bucket, inputs, output, message):
        try:
            reasons = [r.reason for r in down(inputs, output)]
        except CarcliError as error:
            reasons = [str(error)]
        assert message in reasons[0]

    def test_to_watch_a_store_is_refused(self, bucket):
        with pytest.raises(UsageError, match="--watch looks at folders of this machine alone"):
            Batch(BICUBIC, [f"{S3}/in/"], "lr", Options(watch=True))

    def test_what_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gcsfs", None)
        with pytest.raises(UsageError, match=r"gs://b/x.png: .*pip install 'carcli\[gcs\]'"):
            down(["gs://b/x.png"], "lr")

    def test_missing_credentials_are_one_line(self, bucket, monkeypatch, tmp_path):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        from carcli.stores import s3

        with pytest.raises(StoreError, match=r"no credentials for it; set AWS_ACCESS_KEY_ID .*aws configure"):
            s3.S3().stat(Url("s3", BUCKET, "a.png"))


class TestTheCommand:
    @pytest.fixture
    def carcli(self, monkeypatch, capsys):
        """Runs a command; its exit code, and what it wrote on both streams."""

        def called(*arguments):
            monkeypatch.setattr(sys, "argv", ["carcli", *arguments])
            return app.run(), *capsys.readouterr()

        return called

    def test_it_says_what_it_would_do_and_does_it(self, bucket, carcli):
        library(bucket, 2)
        command = ("down", f"{S3}/in/", "-o", f"{S3}/lr/", "--model", "bicubic", "--device", "cpu")
        _, plan, _ = carcli(*command, "--dry-run")
        assert plan.splitlines()[0] == f"{S3}/in/0.png -> {S3}/lr/0.png"
        assert plan.splitlines()[-1].startswith("2 images to do, 0 done already, 0 that cannot be; 0.071 megapixels")
        assert bucket.keys("lr/") == []
        code, lines, errors = carcli(*command, "--json")
        assert (code, errors) == (0, "")
        assert [json.loads(line).get("target") for line in lines.splitlines()] == [f"{S3}/lr/0.png", f"{S3}/lr/1.png", None]

    def test_what_is_wrong_is_one_line(self, bucket, carcli):
        line = "carcli: s3://no-such-bucket-at-all/: there is no such bucket; create it, or correct the address\n"
        assert carcli("down", "s3://no-such-bucket-at-all/", "-o", "lr") == (3, "", line)
        code, _, errors = carcli("bench", "--dataset", f"{S3}/in/", "--model", "bicubic")
        assert (code, "bench measures folders of this machine: copy it here first" in errors) == (2, True)
        code, _, errors = carcli("down", f"{S3}/in/", "-o", "-")
        assert (code, "-o - takes one image" in errors) == (2, True)


def test_weights_come_from_a_mirror_in_a_store(bucket, monkeypatch, tmp_path):
    from carcli.weights import fetch, store
    from carcli.weights.manifest import Dataset, PinnedFile

    data = b"image"
    file = PinnedFile(name="a.png", bytes=5, sha256=store.digest_of(data))
    dataset = Dataset(id="tiny", title="Tiny", licence="none", files=(file,), sources=())
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CARCLI_MIRROR", f"{S3}/mirror")
    with pytest.raises(CarcliError, match=f"{S3}/mirror/tiny/a.png: no such object"):
        fetch.fetch_dataset(dataset)
    bucket.put("mirror/tiny/a.png", data)
    assert (fetch.fetch_dataset(dataset) / "a.png").read_bytes() == data


def test_a_job_can_be_sent_anywhere():
    job = Job(url_of("s3://b/in/a.png"), url_of("s3://b/lr/a.png"), there=False)
    assert pickle.loads(pickle.dumps(job)) == job


def test_any_store_of_fsspecs_will_do():
    pytest.importorskip("fsspec")
    store = store_of(Url("memory", "b", ""))
    for name in ("in/a.png", "in/deep/b.png"):
        store.write(Url("memory", "b", name), EYES)
    assert statuses(down(["memory://b/in/"], "memory://b/lr/")) == ["done"] * 2
    assert [r.existing for r in down(["memory://b/in/"], "memory://b/lr/")] == ["same"] * 2


def test_a_folder_that_is_input_and_output_is_not_shrunk_again():
    folder, webp = "memory://place/in/", Options(devices=("cpu",), format="webp")
    for name, data in (("a.png", EYES), ("b.jpg", CAT)):
        store_of(url_of(folder)).write(url_of(folder + name), data)
    assert statuses(down([folder], folder, webp)) == ["done"] * 2
    again = list(down([folder], folder, webp))
    assert [(result.source.name, result.existing) for result in again] == [("a.png", "same"), ("b.jpg", "same")]
    restored = run(Up(), [folder], folder, Options(devices=("cpu",), include=("*.webp",), format="avif"))
    assert [result.status for result in restored] == ["done"] * 2


@pytest.mark.parametrize(
    ("inputs", "options", "targets"),
    [
        (["", "lr/"], DEEP, ["a.png", "b.png"]),  # what carcli filled is passed over, but not where it is named
        (["", "lr/a.png"], DEEP, ["a.png", "b.png"]),
        (["", ".hidden/c.png"], DEEP, ["b.png", "c.png"]),
        (["", ".hidden/"], DEEP, ["b.png", "c.png"]),
        (["", "b.png"], Options(devices=("cpu",), exclude=("b.*",)), ["b.png"]),
        (["", "b.png"], DEEP, ["b.png"]),
    ],
)
def test_what_is_named_is_taken_whatever_a_folder_that_is_named_too_leaves_out(inputs, options, targets):
    pytest.importorskip("fsspec")
    top = f"memory://named{abs(hash((*inputs, options)))}/"
    for name in ("b.png", ".hidden/c.png", "made/a.png"):
        store_of(url_of(top)).write(url_of(top + name), EYES)
    down([f"{top}made/a.png"], f"{top}lr/")
    excluded = Options(devices=("cpu",), recursive=options.recursive, exclude=(*options.exclude, "made/*"))
    results = down([top + name for name in inputs], "memory://elsewhere/lr/", excluded)
    assert sorted(Path(result.target.key).name for result in results) == targets


def test_a_missing_bucket_ends_the_run_for_an_object_that_is_named_too(bucket):
    with pytest.raises(CarcliError, match="no such bucket"):
        down(["s3://missing/a.png"], "lr")
    bucket.put("a.png", EYES)
    assert statuses(down([f"{S3}/a.png", f"{S3}/b.png"], "lr")) == ["done", "failed"]
