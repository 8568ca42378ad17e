"""Who is to blame where a worker of a cluster dies, and what is not done twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_cli import carcli as command

from carcli.batch.cluster.ledger import Ledger
from carcli.batch.job import Job, Result
from carcli.batch.options import Options
from carcli.errors import UsageError

JOBS = [Job(Path(f"{n}.png"), Path(f"lr/{n}.png")) for n in range(4)]


def result_of(number: int) -> Result:
    return Result(JOBS[number].source, JOBS[number].target, "done")


def test_what_ended_before_a_worker_died_is_not_done_again():
    ledger = Ledger(JOBS)
    ledger.begin([0, 1, 2])
    ledger.end(1, result_of(1))
    shares = ledger.take([0, 1, 2, 3])
    assert [share.job for share in shares] == JOBS
    assert [share.deaths for share in shares] == [1, 0, 1, 0]
    assert [share.result for share in shares] == [None, result_of(1), None, None]


def test_each_of_several_is_tried_once_more_and_who_dies_again_counts_twice():
    ledger = Ledger(JOBS)
    ledger.begin([0, 1])
    ledger.begin([0])
    ledger.end(0, result_of(0))
    ledger.begin([1])
    assert [share.deaths for share in ledger.take([0, 1])] == [0, 2]


def test_results_that_have_arrived_are_kept_no_longer():
    ledger = Ledger(JOBS)
    ledger.begin([0])
    ledger.end(0, result_of(0))
    ledger.arrived([0, 1])
    assert ledger.take([0])[0].result is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(address="auto"), "--executor ray"),
        (Options(executor="ray", watch=True), "--watch stays on one machine"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        options.check()


@pytest.mark.parametrize("devices", [("cuda:1",), ("cuda", "cpu")])
def test_which_gpu_a_worker_has_is_rays_to_say(devices):
    with pytest.raises(UsageError, match="one device"):
        Options(executor="ray", devices=devices).check()


def test_results_that_have_not_arrived_can_be_had_where_a_run_is_cut_short():
    ledger = Ledger(JOBS)
    ledger.begin([0, 1, 2])
    for number in (2, 0):
        ledger.end(number, result_of(number))
    assert ledger.left() == [(0, result_of(0)), (2, result_of(2))]
    ledger.arrived([0])
    assert ledger.left() == [(2, result_of(2))]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_each_number_is_read_once_in_shares(count):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    from carcli.batch.cluster.numbers import Numbers

    tables = [table for task in Numbers(count).get_read_tasks(-(-count // 16)) for table in task()]
    assert [number for table in tables for number in table["id"].to_pylist()] == list(range(count))
    assert max(len(table) for table in tables) <= 16


@pytest.mark.parametrize(
    ("processors", "gpus", "threads"), [(1, 0, 1), (2, 0, 1), (4, 0, 3), (16, 0, 4), (16, 8, 1), (16, 2, 4), (4, 8, 1)]
)
def test_each_gpu_of_a_machine_gets_a_worker(processors, gpus, threads):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    from carcli.batch.cluster.driver import threads_of_one

    assert threads_of_one(processors, gpus) == threads


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ray::Worker()\n  File x\ncarcli.errors.UsageError: no GPU here\n\nTo change retries, configure Ray.", "no GPU here"),
        ("a\nRuntimeError: CUDA is gone\nb", "RuntimeError: CUDA is gone"),
        ("The worker died\nfor want of memory.", "for want of memory."),
        ("", "RuntimeError"),
    ],
)
def test_of_all_that_ray_says_the_error_is_said(text, line):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    from carcli.batch.cluster.driver import _line

    assert _line(RuntimeError(text)) == line


def test_what_lies_on_one_machine_is_refused_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("carcli.batch.inputs._fetch", lambda *_: pytest.fail("fetched"))
    code, _, said = command("down", "https://example.com/a.png", "-o", str(tmp_path / "lr"), "--executor", "ray")
    assert (code, "on this machine alone" in said) == (2, True)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("carcli.batch.options.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'carcli\[ray\]'"):
        Options(executor="ray").check()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["down", "photo.png", "--address", "auto"], "--address names a Ray cluster"),
        (["down", "photo.png", "--executor", "dask"], "is not one of 'threads', 'ray'"),
        (["down", "photo.png", "-o", "-", "--executor", "ray"], "contradict each other"),
        (["down", "-", "--executor", "ray"], "contradict each other"),
        (["down", "photo.png", "--refine", "2", "--refine-keep", "--executor", "ray"], "contradict each other"),
    ],
)
def test_the_command_line_says_so_too(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, said_so = command(*arguments)
    assert (code, said in said_so) == (2, True)
