"""The speed benchmark runs and reports what it promises; what it measures is nobody's test."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from carcli.bench.speed import kernels as speed
from carcli.bench.speed import throughput
from carcli.ops.resample import cpu as resample_cpu
from carcli.rescale.rescaler import load


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["speed", *arguments])
    speed.main()
    return capsys.readouterr().out


def test_the_resampler_report_has_every_figure(monkeypatch, capsys):
    monkeypatch.setattr(speed, "copy_bandwidth", lambda device: 1e9)
    out = run(monkeypatch, capsys, "resampler", "--device", "cpu", "--size", "24x16", "--repeats", "1", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["width"], r["height"], r["scale"]) for r in rows] == [(24, 16, 2), (24, 16, 4)]
    for row in rows:
        assert row["ratio_forward"] == pytest.approx(row["composition_forward"] / row["forward"])
        assert row["output_bytes"] == 24 * 16 * 3 * 4
        assert row["forward_bytes"] == 24 * 16 * 4 * (3 * (3 * row["scale"] + 1) ** 2 + 3 * row["scale"] ** 2 + 3)


def test_the_resampler_report_is_a_table_too(monkeypatch, capsys):
    monkeypatch.setattr(speed, "copy_bandwidth", lambda device: 1e9)
    out = run(monkeypatch, capsys, "resampler", "--device", "cpu", "--size", "8x8", "--repeats", "1", "--no-composition")
    assert "8x8" in out
    assert "of copy" in out


def test_the_compositions_compared_with_compute_the_same():
    import torch
    from test_resample import problem

    from carcli.ops.resample.definition import resample_composition

    image, *heads = problem(4, 13, 6, 5, dtype=torch.float32)
    inner = (..., slice(2, -2), slice(2, -2))  # at the borders ports differ
    ours, theirs = (f(image, *heads, 4, heads="residual")[inner] for f in (resample_composition, speed._grid_sample))
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


def test_the_networks_share_of_the_peak_is_measured():
    pair = load("edsr", 4, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "SIDE", 128)
        found = throughput.networks(pair, throughput.peak_convolution(torch.device("cpu"), "fp32", 1), 1)
    for way in ("down", "up"):
        assert found[f"{way}_megapixels_per_second"] > 0
        assert 0 < found[f"{way}_of_peak"] < 1.5


def test_multiplications_are_counted():
    layer = torch.nn.Conv2d(4, 8, 3, padding=1)
    with throughput._counted(layer) as count:
        layer(torch.zeros(2, 4, 5, 6))
    assert sum(count) == 2 * 5 * 6 * 8 * 4 * 9


def test_a_batch_and_its_memory_are_measured(monkeypatch):
    monkeypatch.setattr(throughput, "BATCH", 2)
    monkeypatch.setattr(throughput, "BATCH_SIZE", (64, 48))
    found = throughput.batch("bicubic", 2, "cpu", 2, 1)
    assert found["down_seconds"] > 0
    assert set(found["up_stages"]) == {"decode", "compute", "encode"}
    measured = throughput.memory(1, "bicubic", 4, pictures=2)
    assert 1e8 < measured["down_bytes"] < measured["bound"]
    assert 1e8 < measured["up_bytes"] < measured["bound"]
