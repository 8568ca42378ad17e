"""A batch on a cluster of Ray's: the bytes of one machine, and nothing lost whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LONG, write_photos
from deadly import Deadly, Refusing

import carcli.batch.cluster  # noqa: F401 - before Ray, as the command line does
from carcli.batch import Down, run
from carcli.batch.journal import NAME
from carcli.batch.options import Options
from carcli.bench.speed.clusters import Wait
from carcli.errors import CarcliError

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytest.importorskip("pyarrow", reason="needs the extra ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture
def cluster(monkeypatch):
    """Begins a cluster of so many machines, each of one processor."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]))
    made = []

    def begin(nodes: int):
        system = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
        head = {"num_cpus": 1, "object_store_memory": 100 << 20, "_system_config": system}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        made.append(cluster)
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        ray.init(cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        return cluster

    yield begin
    ray.shutdown()
    for cluster in made:
        cluster.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def journal(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_two_machines_write_the_bytes_of_one(cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 9, 40, 56)
    (photos / "bad.png").write_bytes(b"bad")
    task = Down(model="edsr", scale=2)
    alone = {result.source.name: result.status for result in run(task, [photos], tmp_path / "one")}
    cluster(2)
    ray_options = Options(executor="ray", address="auto")
    results = list(run(task, [photos], tmp_path / "two", ray_options))
    assert {result.source.name: result.status for result in results} == alone
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert sorted(line["source"] for line in journal(tmp_path / "two")) == sorted(
        line["source"] for line in journal(tmp_path / "one")
    )
    again = [result.status for result in run(task, [photos], tmp_path / "two", ray_options)]
    assert sorted(again) == ["failed"] + ["skipped"] * 9


def test_an_image_that_kills_its_worker_is_given_up_after_two_tries_and_the_rest_is_done(cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 20, 16, 24)
    (write_photos(tmp_path / "other", 1, 17, 25) / "0.png").rename(photos / "05a.png")
    cluster(2)
    task = Deadly(width=25, log=tmp_path / "log")
    results = list(run(task, [photos], tmp_path / "lr", Options(executor="ray", address="auto")))
    failed = [result for result in results if result.status == "failed"]
    assert [result.source.name for result in failed] == ["05a.png"]
    assert "died 2 times" in failed[0].reason
    assert len(contents(tmp_path / "lr")) == 20
    assert (tmp_path / "log").read_text().count("died") == 2


@LONG
def test_a_machine_that_is_lost_loses_nothing(cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 40, 16, 24)
    machines = cluster(3)
    results, lost = [], None
    for result in run(Wait(0.2), [photos], tmp_path / "lr", Options(executor="ray", address="auto")):
        results.append(result)
        if len(results) == 5:
            own = ray.get_runtime_context().get_node_id()  # the machine of the one who asks is not the one that is lost
            lost = next(node for node in machines.worker_nodes if node.node_id != own)
            machines.remove_node(lost, allow_graceful=False)
    assert lost is not None
    assert [result.status for result in results] == ["done"] * 40
    assert len({result.source for result in results}) == 40
    assert len(contents(tmp_path / "lr")) == 40


@LONG
def test_who_asks_may_be_killed_and_ask_again(cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 40, 16, 24)
    address = cluster(2).address
    script = "import sys; from carcli.batch import run, Options; from carcli.bench.speed.clusters import Wait\n"
    script += "for _ in run(Wait(0.2), [sys.argv[1]], sys.argv[2], Options(executor='ray', address=sys.argv[3])): pass"
    asking = subprocess.Popen([sys.executable, "-c", script, str(photos), str(tmp_path / "lr"), address])
    end = time.monotonic() + 90
    while not ((tmp_path / "lr" / NAME).exists() and len(journal(tmp_path / "lr")) >= 5):
        assert time.monotonic() < end
        assert asking.poll() is None
        time.sleep(0.1)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    told = {line["source"] for line in journal(tmp_path / "lr")}
    assert 5 <= len(told) < 40
    results = list(run(Wait(0.2), [photos], tmp_path / "lr", Options(executor="ray", address="auto")))
    assert {result.status for result in results} == {"done", "skipped"}
    assert len(contents(tmp_path / "lr")) == 40
    assert told <= {str(result.source) for result in results if result.existing == "same"}


@LONG
def test_one_machine_of_one_processor_computes_and_what_ended_is_told_where_it_is_stopped(cluster, tmp_path, capfd):
    photos = write_photos(tmp_path / "photos", 40, 16, 24)
    cluster(1)
    options, results = Options(executor="ray", address="auto"), []
    for result in run(Wait(0.2), [photos], tmp_path / "lr", options, stop=lambda: bool(results)):
        results.append(result)
    assert 0 < len(results) < 40
    assert sorted(result.target.name for result in results) == sorted(contents(tmp_path / "lr"))
    assert sorted(line["source"] for line in journal(tmp_path / "lr")) == sorted(str(result.source) for result in results)
    given_up = run(Wait(0.2), [photos], tmp_path / "closed", options)
    next(given_up)
    given_up.close()
    assert {line["target"] for line in journal(tmp_path / "closed")} == set(contents(tmp_path / "closed"))
    assert "raylet" not in capfd.readouterr().out  # it is JSON's


@LONG
def test_a_worker_that_cannot_begin_is_one_line_at_once(cluster, tmp_path):
    photos = write_photos(tmp_path / "photos", 2, 16, 24)
    cluster(1)
    with pytest.raises(CarcliError, match="no such device here") as error:
        list(run(Refusing(0.1, os.getpid()), [photos], tmp_path / "lr", Options(executor="ray", address="auto")))
    assert "\n" not in str(error.value)
