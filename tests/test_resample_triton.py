"""The GPU kernels: on a GPU where there is one, else under Triton's interpreter on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_resample import problem

from carcli.ops.quantise import to_uint8
from carcli.ops.resample import dispatch, resample
from carcli.ops.resample.definition import HEADS, Resampling, resample_composition

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch's GPU builds, or with the test extra)")

from carcli.ops.resample import triton as resample_triton

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# (scale, kernel, h, w). The interpreter walks through the taps one by one, and 5x5 prove the kernel's loop as well as
# 13x13 do. Of the others, the second mirrors an image smaller than the kernel.
CASES = [(2, 5, 5, 4), (1, 3, 1, 3), (1, 3, 5, 4)]
SLOW_CASES = [(4, 13, 2, 3), (2, 7, 5, 4), (2, 7, 1, 3), (3, 5, 1, 1), (2, 5, 1, 3), (1, 3, 9, 7)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def on_device(tensors, layout=torch.contiguous_format, dtype=torch.float32):
    image, *heads = (t.to(DEVICE) for t in tensors)
    return image.float(), *(t.to(dtype).contiguous(memory_format=layout) for t in heads)


def close(a, b, tolerance=2e-5):
    assert (a - b).abs().max() <= tolerance * (1 + b.abs().max())


@pytest.fixture
def _through_triton(monkeypatch):
    monkeypatch.setattr(dispatch, "paths", {str(DEVICE): dispatch.Path(dispatch.TRITON)})


def resampling(image, taps, scale, heads):
    return Resampling(image, *taps, scale=scale, heads=heads)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(
    ("scale", "kernel", "h", "w"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)]
)
def test_agrees_with_the_composition_forwards_and_backwards(scale, kernel, h, w, heads, layout):
    image, *tensors = on_device(problem(scale, kernel, h, w), layout)
    tracked = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (image, *tensors)]
    expected = resample_composition(*tracked, scale, heads)
    towards = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    given = resampling(image, tensors, scale, heads)
    got, sums = resample_triton.forward(given)
    close(got, expected.detach())
    grads = resample_triton.backward(given, towards, got, sums, want_image=True)
    for ours, theirs in zip(grads, torch.autograd.grad(expected, tracked, towards), strict=True):
        close(ours, theirs)


@pytest.mark.usefixtures("_through_triton")
def test_is_what_resample_uses_and_differentiates_through():
    image, *tensors = on_device(problem(2, 3, 4, 3))
    tracked = [t.requires_grad_() for t in (image, *tensors)]
    fused = torch.autograd.grad(resample(*tracked, 2, heads="clamp").square().sum(), tracked)
    composed = torch.autograd.grad(resample_composition(*tracked, 2, "clamp").square().sum(), tracked)
    for a, b in zip(fused, composed, strict=True):
        close(a, b)


@pytest.mark.slow
@pytest.mark.usefixtures("_through_triton")
@pytest.mark.parametrize("scale", [2, 4])
def test_equals_the_authors(reference, scale):
    golden = {k: torch.from_numpy(v).to(DEVICE) for k, v in np.load(reference / f"official_golden_x{scale}.npz").items()}
    got = resample(golden["image"], golden["kernels"], golden["offsets_h"], golden["offsets_v"], scale)
    assert (got - golden["lr"]).abs().max() < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_8_bit_in_and_out_in_one_pass(layout):
    image, *tensors = on_device(problem(2, 3, 5, 4), layout)
    levels = (image * 255).round().to(torch.uint8)
    expected = to_uint8(resample_composition(levels, *tensors, 2, "residual"))
    got, _ = resample_triton.forward(resampling(levels, tensors, 2, "residual"), rounded=True)
    assert got.dtype == torch.uint8
    difference = (got.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads(dtype):
    image, *tensors = on_device(problem(2, 3, 3, 4), dtype=dtype)
    half, wide = (resampling(image, taps, 2, "residual") for taps in (tensors, [t.float() for t in tensors]))
    (got, sums), (expected, wide_sums) = (resample_triton.forward(given) for given in (half, wide))
    assert torch.equal(got, expected)
    grads = resample_triton.backward(half, got, got, sums, want_image=False)[1:]
    wide_grads = resample_triton.backward(wide, got, got, wide_sums, want_image=False)[1:]
    for a, b in zip(grads, wide_grads, strict=True):
        assert a.dtype == dtype
        close(a.float(), b, 0.02)


def test_an_image_of_the_batch_does_not_see_the_others():
    image, *tensors = on_device(problem(2, 3, 5, 4, batch=3))
    whole = resample_triton.forward(resampling(image, tensors, 2, "clamp"))[0]
    for i in range(3):
        alone = resampling(image[i : i + 1], [t[i : i + 1] for t in tensors], 2, "clamp")
        assert torch.equal(resample_triton.forward(alone)[0][0], whole[i])


def test_deterministic_image_gradients():
    image, *tensors = on_device(problem(2, 3, 4, 4))
    given = resampling(image, tensors, 2, "clamp")
    lr, sums = resample_triton.forward(given)

    def image_gradient():
        return resample_triton.backward(given, lr, lr, sums, want_image=True)[0]

    atomics = image_gradient()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = image_gradient(), image_gradient()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    close(first, atomics)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # the interpreter's NumPy
def test_wild_heads_stay_inside_the_image():
    image, *tensors = on_device(problem(2, 3, 4, 4))
    for value in (float("inf"), float("-inf"), float("nan")):
        tensors[1][..., 0] = value
        resample_triton.forward(resampling(image, tensors, 2, "residual"))


@pytest.mark.slow
@pytest.mark.usefixtures("_through_triton")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", HEADS)
def test_the_operators_keep_what_they_declare(heads, layout):
    image, *taps = on_device(problem(2, 3, 2, 3), layout)
    tracked = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (image, *taps)]
    torch.library.opcheck(torch.ops.carcli.resample.default, (*tracked, 2, heads))
    torch.library.opcheck(torch.ops.carcli.resample_rounded.default, (image, *taps, 2, heads))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_large_heads_need_64_bit_indices():
    side = 2048  # 2048² LR pixels x 3 x 169 taps: more than 2^31 elements
    heads = torch.zeros(1, 3 * 169, side, side, dtype=torch.float16, device="cuda")
    image = torch.full((1, 3, 4 * side, 4 * side), 128, dtype=torch.uint8, device="cuda")
    out = resample(image, *heads.chunk(3, 1), 4, heads="residual", rounded=True)
    assert torch.equal(out, torch.full_like(out, 128))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_takes_the_fused_path():
    assert dispatch.path_for(torch.device("cuda")).name == dispatch.TRITON


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cuda80", "cuda90", "gfx942"])
def test_compiles_to_machine_code_for_gpus_that_are_not_here(target, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    process = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr[-2000:]
    sizes = [int(line) for line in process.stdout.split()]
    assert len(sizes) == (3 if target == "cuda90" else 1) * 2 * 5
    assert min(sizes) > 1000
