"""The speed benchmark runs and reports what it promises; what it measures is nobody's test."""

from __future__ import annotations

import json

import pytest
import torch
from test_resample import problem
from typer.testing import CliRunner

from carcli.bench.speed import backends, batches, kernels, networks
from carcli.bench.speed.cli import app
from carcli.errors import UsageError
from carcli.ops.resample import cpu as resample_cpu
from carcli.ops.resample.definition import resample_composition
from carcli.rescale.rescaler import load
from carcli.runtime.peak import largest_extra, peak_of_program

CPU = torch.device("cpu")


def run(*arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def _known_bandwidth(monkeypatch):
    monkeypatch.setattr(kernels, "copy_bandwidth", lambda device: 1e9)


@pytest.mark.usefixtures("_known_bandwidth")
def test_the_resampler_report_has_every_figure():
    out = run("resampler", "--device", "cpu", "--size", "24x16", "--repeats", "1", "--json")
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [(r["width"], r["height"], r["scale"]) for r in rows] == [(24, 16, 2), (24, 16, 4)]
    for row in rows:
        assert row["ratio_forward"] == pytest.approx(row["composition_forward"] / row["forward"])
        assert row["output_bytes"] == 24 * 16 * 3 * 4
        assert row["forward_bytes"] == 24 * 16 * 4 * (3 * (3 * row["scale"] + 1) ** 2 + 3 * row["scale"] ** 2 + 3)


@pytest.mark.usefixtures("_known_bandwidth")
def test_the_resampler_report_is_a_table_too():
    out = run("resampler", "--device", "cpu", "--size", "8x8", "--repeats", "1", "--no-composition")
    assert "8x8" in out
    assert "of copy" in out


@pytest.mark.parametrize("size", ["8", "8x", "axb", "8x8x8", "0x8", "-1x8"])
def test_a_size_that_is_none_is_wrong_usage(size):
    result = CliRunner().invoke(app, ["resampler", "--device", "cpu", "--size", size])
    assert result.exit_code == 2
    assert repr(size) in result.output


def test_every_report_is_a_command():
    out = run("--help")
    for command in ("resampler", "down", "networks", "backends", "batch", "memory"):
        assert command in out


def test_the_report_of_engines_has_torch_in_fp32_as_its_reference(monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda backend: backend == "torch")
    monkeypatch.setattr(backends, "has_bf16", lambda device: True)
    rows = [json.loads(line) for line in run("backends", "--device", "cpu", "--model", "tad-x4", "--side", "64").splitlines()]
    assert [(row["backend"], row["precision"]) for row in rows] == [("torch", "fp32"), ("torch", "bf16")]
    assert (rows[0]["times_the_reference"], rows[0]["db_against_reference"], rows[0]["levels"]) == (1, 0, 0)
    assert abs(rows[1]["db_against_reference"]) < 0.05


def test_a_device_that_is_not_here_is_named():
    with pytest.raises(UsageError, match="abacus"):
        CliRunner().invoke(app, ["down", "--device", "abacus"], catch_exceptions=False)


def test_the_compositions_compared_with_compute_the_same():
    image, *heads = problem(4, 13, 6, 5, dtype=torch.float32)
    inner = (..., slice(2, -2), slice(2, -2))  # at the borders ports differ
    functions = (resample_composition, kernels.grid_sample_composition)
    ours, theirs = (function(image, *heads, 4, heads="residual")[inner] for function in functions)
    assert (ours - theirs).abs().max() < 1e-3


def test_machine_code_that_cannot_be_kept_is_compiled_all_the_same(monkeypatch):
    seen = []

    def njit(**options):
        seen.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(resample_cpu.numba, "njit", njit)
    assert resample_cpu._jit(len) is len
    assert [o.get("cache") for o in seen] == [True, None]


def test_the_networks_share_of_the_peak_is_measured(monkeypatch):
    monkeypatch.setattr(networks, "SIDE", 128)
    peak = networks.peak_convolution(CPU, "fp32", 1)
    record = networks.measure(load("edsr", 4, "cpu"), peak, 1)
    for way in ("down", "up"):
        assert record[f"{way}_megapixels_per_second"] > 0
        assert record[f"{way}_of_peak"] > 0


def test_the_resamplers_share_of_down_is_what_is_left_of_it_beside_its_network():
    pair = load("edsr-base-x4", 4, "cpu")
    record = networks.measure_down(pair, (64, 96))
    assert record["seconds"] > 0
    assert 0 < record["resampler_share"] < 1
    assert not pair.networks.down._forward_hooks  # and nothing stays behind


def test_multiplications_are_counted():
    layer = torch.nn.Conv2d(4, 8, 3, padding=1)
    with networks.counted_multiplications(layer) as count:
        layer(torch.zeros(2, 4, 5, 6))
    assert sum(count) == 2 * 5 * 6 * 8 * 4 * 9


def test_a_batch_is_measured(monkeypatch):
    monkeypatch.setattr(batches, "PICTURES", 2)
    monkeypatch.setattr(batches, "WIDTH", 64)
    monkeypatch.setattr(batches, "HEIGHT", 48)
    record = batches.measure("bicubic", 2, "cpu", 2, 1)
    assert record["down_seconds"] > 0
    assert set(record["up_stages"]) == {"decode", "compute", "encode"}


@pytest.mark.slow
def test_a_batchs_memory_is_measured():
    measured = batches.memory(1, "bicubic", 4, pictures=2)
    assert 1e8 < measured["down_bytes"] < measured["bound"]
    assert 1e8 < measured["up_bytes"] < measured["bound"]


def test_extra_memory_includes_the_result():
    extra = largest_extra(lambda: torch.ones(1 << 24), CPU)
    assert extra is None or 60e6 < extra < 200e6  # 67 MB


def test_a_program_that_fails_is_named_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"json\.tool nowhere\.json ended with"):
        peak_of_program("json.tool", ["nowhere.json"])
