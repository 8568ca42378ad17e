"""Content adaptive resampling against a definition in loops, its gradients, and its promises."""

from __future__ import annotations

import ast
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carcli.ops.quantise import to_uint8
from carcli.ops.resample import cpu as resample_cpu
from carcli.ops.resample import definition, dispatch, resample
from carcli.ops.resample.definition import HEADS, apply_heads, resample_composition, smoothing_kernel

CASES = [(4, 13, 5, 6), (2, 7, 9, 4), (1, 3, 9, 17), (3, 5, 1, 1), (2, 7, 1, 3), (4, 1, 2, 2)]


def problem(scale, kernel, h, w, batch=2, dtype=torch.float64, spread=0.7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, h * scale, w * scale, generator=generator, dtype=dtype)
    heads = [torch.randn(batch, kernel**2, h, w, generator=generator, dtype=dtype) * spread for _ in range(3)]
    return image, *heads


def in_loops(image, kernels, offsets_h, offsets_v, s):
    """The definition, pixel by pixel and tap by tap, in NumPy float64."""
    b, c, height, width = image.shape
    taps, h, w = kernels.shape[1:]
    k = math.isqrt(taps)
    pad = k // 2
    padded = np.pad(image, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    last_y, last_x = height + 2 * pad - 1, width + 2 * pad - 1
    out = np.zeros((b, c, h, w))
    for n, y, x, t in np.ndindex(b, h, w, taps):
        py = (y + 0.5) / h * height + t // k + offsets_v[n, t, y, x] * s - 0.5
        px = (x + 0.5) / w * width + t % k + offsets_h[n, t, y, x] * s - 0.5
        fy, fx = py - math.floor(py), px - math.floor(px)
        y0, x0 = min(max(math.floor(py), 0), last_y), min(max(math.floor(px), 0), last_x)
        y1, x1 = min(y0 + 1, last_y), min(x0 + 1, last_x)
        p = padded[n]
        value = (1 - fy) * ((1 - fx) * p[:, y0, x0] + fx * p[:, y0, x1]) + fy * ((1 - fx) * p[:, y1, x0] + fx * p[:, y1, x1])
        out[n, :, y, x] += kernels[n, t, y, x] * value
    return out


@pytest.mark.parametrize("function", [resample, resample_composition])
@pytest.mark.parametrize(("scale", "kernel", "h", "w"), [(4, 13, 3, 4), (2, 7, 5, 4), (3, 5, 4, 3)])
def test_equals_the_definition_in_loops(function, scale, kernel, h, w):
    image, scores, head_h, head_v = problem(scale, kernel, h, w, batch=1)
    kernels, offsets_h, offsets_v = apply_heads(scores, head_h, head_v, scale, "clamp")
    expected = in_loops(image.numpy(), kernels.numpy(), offsets_h.numpy(), offsets_v.numpy(), scale)
    got = function(image, kernels, offsets_h, offsets_v, scale)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 4])
def test_equals_the_authors(reference, scale):
    golden = {k: torch.from_numpy(v) for k, v in np.load(reference / f"official_golden_x{scale}.npz").items()}
    heads = golden["kernels"], golden["offsets_h"], golden["offsets_v"]
    for function in (resample, resample_composition):
        assert (function(golden["image"], *heads, scale) - golden["lr"]).abs().max() < 1e-5


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("scale", "kernel", "h", "w"), CASES)
def test_fused_kernel_agrees_with_the_composition(heads, scale, kernel, h, w):
    tensors = [t.requires_grad_() for t in problem(scale, kernel, h, w)]
    fused, composed = (f(*tensors, scale, heads=heads) for f in (resample, resample_composition))
    towards = torch.randn(fused.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert (fused - composed).abs().max() < 1e-7
    for a, b in zip(torch.autograd.grad(fused, tensors, towards), torch.autograd.grad(composed, tensors, towards), strict=True):
        assert (a - b).abs().max() <= 1e-6 * b.abs().max() + 1e-9


@pytest.mark.parametrize("heads", HEADS)
def test_gradients_agree_with_finite_differences(heads):
    tensors = [t.requires_grad_() for t in problem(2, 3, 3, 2, batch=1, spread=0.4, seed=5)]
    assert torch.autograd.gradcheck(lambda *t: resample(*t, 2, heads=heads), tensors, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("heads", HEADS)
def test_results_do_not_depend_on_threads_batch_or_layout(heads, set_threads):
    image, *tensors = problem(4, 13, 37, 11, batch=3, dtype=torch.float32)
    expected = resample(image, *tensors, 4, heads=heads)
    for threads in (1, 2, 5):
        set_threads(threads)
        assert torch.equal(resample(image, *tensors, 4, heads=heads), expected)
    single = torch.cat([resample(image[i : i + 1], *(t[i : i + 1] for t in tensors), 4, heads=heads) for i in range(3)])
    assert torch.equal(single, expected)
    joined = torch.cat(tensors, 1).contiguous(memory_format=torch.channels_last)
    chunked = resample(image.contiguous(memory_format=torch.channels_last), *joined.chunk(3, 1), 4, heads=heads)
    assert torch.equal(chunked, expected)


def test_image_gradients_do_not_depend_on_threads(set_threads):
    image, *tensors = problem(4, 13, 40, 7, dtype=torch.float32)
    grads = []
    for threads in (1, 2, 5):
        set_threads(threads)
        tracked = image.clone().requires_grad_()
        grads.append(torch.autograd.grad(resample(tracked, *tensors, 4, heads="clamp").square().sum(), tracked)[0])
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads_are_read_exactly(dtype):
    image, *tensors = problem(2, 7, 6, 5, dtype=torch.float32)
    half = [t.to(dtype).requires_grad_() for t in tensors]
    wide = [t.detach().float().requires_grad_() for t in half]
    a, b = resample(image, *half, 2, heads="residual"), resample(image, *wide, 2, heads="residual")
    assert a.dtype == torch.float32
    assert torch.equal(a, b)
    for x, y in zip(torch.autograd.grad(a.sum(), half), torch.autograd.grad(b.sum(), wide), strict=True):
        assert x.dtype == dtype
        assert torch.equal(x, y.to(dtype))


def test_8_bit_images_mean_the_same_as_floating_point():
    image, *tensors = problem(2, 7, 6, 5, dtype=torch.float32)
    levels = (image * 255).round()
    a = resample(levels.to(torch.uint8), *tensors, 2, heads="clamp")
    assert (a - resample(levels / 255, *tensors, 2, heads="clamp")).abs().max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 3, 5, 7]), st.sampled_from(HEADS))
def test_any_size_agrees_and_a_constant_stays_constant(h, w, scale, kernel, heads):
    image, *tensors = problem(scale, kernel, h, w, batch=1, dtype=torch.float32)
    fused, composed = (f(image, *tensors, scale, heads=heads) for f in (resample, resample_composition))
    assert (fused - composed).abs().max() < 1e-4
    if heads != "plain":
        flat = resample(torch.full_like(image, 0.25), *tensors, scale, heads=heads)
        torch.testing.assert_close(flat, torch.full_like(flat, 0.25))


def test_bands_of_the_composition_do_not_show(monkeypatch):
    image, *tensors = problem(4, 13, 9, 5, dtype=torch.float32)
    whole = resample_composition(image, *tensors, 4, "clamp")
    monkeypatch.setattr(definition, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(resample_composition(image, *tensors, 4, "clamp"), whole, atol=1e-6, rtol=0)
    tracked = [t.requires_grad_() for t in (image, *tensors)]
    banded = torch.autograd.grad(resample_composition(*tracked, 4, "clamp").sum(), tracked)
    monkeypatch.undo()
    for a, b in zip(banded, torch.autograd.grad(resample_composition(*tracked, 4, "clamp").sum(), tracked), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_wild_heads_stay_inside_the_image():
    image, *tensors = problem(2, 7, 6, 5, dtype=torch.float32)
    for value in (math.inf, -math.inf, math.nan, 1e30):
        tensors[1][..., 0] = value
        resample(image, *tensors, 2, heads="residual")  # an index out of range would crash the process


@pytest.mark.parametrize(("kernel", "scale"), [(13, 4), (7, 2), (5, 3)])
def test_smoothing_kernel_is_normalised_and_symmetric(kernel, scale):
    taps = smoothing_kernel(kernel, scale).view(kernel, kernel)
    assert float(taps.sum()) == pytest.approx(1)
    assert torch.equal(taps, taps.T)
    assert torch.equal(taps, taps.flip(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, k, h, v: (i[..., 1:], k, h, v), "times the LR size"),
        (lambda i, k, h, v: (i, k[:, 1:], h, v), "k odd"),
        (lambda i, k, h, v: (i, k, h[..., 1:], v), "one shape"),
        (lambda i, k, h, v: (i.long(), k, h, v), "floating point"),
        (lambda i, k, h, v: (i[0], k, h, v), "must be"),
    ],
)
def test_misshapen_inputs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        resample(*change(*problem(2, 7, 4, 4)), 2)


@pytest.fixture
def untried(monkeypatch):
    """No device's path has been decided yet."""
    monkeypatch.setattr(dispatch, "paths", {})


@pytest.mark.usefixtures("untried")
def test_a_wrong_kernel_is_noticed_and_given_up(monkeypatch):
    honest = resample_cpu.forward

    def wrong(*arguments, **options):
        lr, sums = honest(*arguments, **options)
        return lr * 0, sums

    monkeypatch.setattr(resample_cpu, "forward", wrong)
    image, *tensors = problem(2, 7, 4, 4, dtype=torch.float32)
    with pytest.warns(RuntimeWarning, match="differ from the definition"):
        out = resample(image, *tensors, 2, heads="clamp")
    assert torch.equal(out, resample_composition(image, *tensors, 2, "clamp"))
    assert dispatch.path_for(torch.device("cpu")).name == dispatch.COMPOSITION


@pytest.mark.usefixtures("untried")
def test_a_kernel_that_does_not_compile_is_given_up(monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(resample_cpu, "forward", broken)
    with pytest.warns(RuntimeWarning, match="no compiler"):
        assert dispatch.path_for(torch.device("cpu")).name == dispatch.COMPOSITION


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_trial_does_not_see_what_its_caller_is_doing(mode):
    with mode(), torch.autocast("cpu"):
        assert dispatch.path_for(torch.device("cpu")).name == dispatch.NUMBA


@pytest.mark.usefixtures("untried")
def test_the_composition_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("CARCLI_RESAMPLER", "composition")
    image, *tensors = problem(2, 7, 4, 4, dtype=torch.float32)
    assert torch.equal(resample(image, *tensors, 2), resample_composition(image, *tensors, 2))
    with pytest.raises(RuntimeError, match="CARCLI_RESAMPLER=composition"):
        dispatch.kernel_for(torch.device("cpu"))


def test_rounding_at_once_equals_rounding_afterwards():
    image, *tensors = problem(2, 7, 11, 5, dtype=torch.float32)
    expected = to_uint8(resample(image, *tensors, 2, heads="residual"))
    assert torch.equal(resample(image, *tensors, 2, heads="residual", rounded=True), expected)
    assert torch.equal(to_uint8(resample(image, *tensors, 2, heads="residual")), expected)


@pytest.mark.usefixtures("untried")
def test_a_device_without_a_fused_kernel_takes_the_composition():
    assert dispatch.path_for(torch.device("meta")).name == dispatch.COMPOSITION


def test_no_compiler_is_imported_before_it_is_needed():
    script = "import sys, carcli.ops.resample; print({'numba', 'triton', 'torch._dynamo'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"


def imports_of(module):
    """What a module imports, at its top or anywhere inside."""
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_the_definition_knows_nobody_and_kernels_know_only_the_definition():
    room = "carcli.ops.resample."
    files = {"definition", "cpu", "triton", "dispatch", "operation"}
    knows = {f: {m for m in files if room + m in set(imports_of(room + f))} for f in files}
    assert knows == {
        "definition": set(),
        "cpu": {"definition"},
        "triton": {"definition"},
        "dispatch": {"definition"},
        "operation": {"definition", "dispatch"},
    }
