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
from carcli.ops.resample import dispatch
from carcli.ops.resample.definition import HEADS, resample, resample_composition

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch's GPU builds, or with the test extra)")

from carcli.ops.resample import triton as resample_triton

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CASES = [(4, 13, 2, 3), (2, 7, 5, 4), (1, 3, 9, 7), (3, 5, 1, 1), (2, 7, 1, 3)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def on_device(tensors, layout=torch.contiguous_format, dtype=torch.float32):
    image, *heads = (t.to(DEVICE) for t in tensors)
    return image.float(), *(t.to(dtype).contiguous(memory_format=layout) for t in heads)


def close(a, b, tolerance=2e-5):
    assert (a - b).abs().max() <= tolerance * (1 + b.abs().max())


@pytest.fixture
def _through_triton(monkeypatch):
    monkeypatch.setattr(dispatch, "_paths", {str(DEVICE): dispatch.Path(dispatch.TRITON)})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("scale", "kernel", "h", "w"), CASES)
def test_agrees_with_the_composition_forwards_and_backwards(scale, kernel, h, w, heads, layout):
    image, *tensors = on_device(problem(scale, kernel, h, w), layout)
    tracked = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (image, *tensors)]
    expected = resample_composition(*tracked, scale, heads)
    towards = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    got, kept = resample_triton.forward(image, *tensors, scale, heads)
    close(got, expected.detach())
    grads = resample_triton.backward(towards, image, *tensors, kept, scale, heads, True)
    for ours, theirs in zip(grads, torch.autograd.grad(expected, tracked, towards), strict=True):
        close(ours, theirs)


@pytest.mark.usefixtures("_through_triton")
def test_is_what_resample_uses_and_differentiates_through():
    image, *tensors = on_device(problem(2, 7, 4, 3))
    tracked = [t.requires_grad_() for t in (image, *tensors)]
    fused = torch.autograd.grad(resample(*tracked, 2, heads="clamp").square().sum(), tracked)
    composed = torch.autograd.grad(resample_composition(*tracked, 2, "clamp").square().sum(), tracked)
    for a, b in zip(fused, composed, strict=True):
        close(a, b)


@pytest.mark.usefixtures("_through_triton")
@pytest.mark.parametrize("scale", [2, 4])
def test_equals_the_authors(reference, scale):
    golden = {k: torch.from_numpy(v).to(DEVICE) for k, v in np.load(reference / f"official_golden_x{scale}.npz").items()}
    got = resample(golden["image"], golden["kernels"], golden["offsets_h"], golden["offsets_v"], scale)
    assert (got - golden["lr"]).abs().max() < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_8_bit_in_and_out_in_one_pass(layout):
    image, *tensors = on_device(problem(2, 7, 5, 4), layout)
    levels = (image * 255).round().to(torch.uint8)
    expected = to_uint8(resample_composition(levels, *tensors, 2, "residual"))
    got, _ = resample_triton.forward(levels, *tensors, 2, "residual", rounded=True)
    assert got.dtype == torch.uint8
    difference = (got.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads(dtype):
    image, *tensors = on_device(problem(2, 7, 3, 4), dtype=dtype)
    wide = [t.float() for t in tensors]
    (got, kept), (expected, kept_wide) = (resample_triton.forward(image, *t, 2, "residual") for t in (tensors, wide))
    assert torch.equal(got, expected)
    grads = resample_triton.backward(got, image, *tensors, kept, 2, "residual", False)[1:]
    for a, b in zip(grads, resample_triton.backward(got, image, *wide, kept_wide, 2, "residual", False)[1:], strict=True):
        assert a.dtype == dtype
        close(a.float(), b, 0.02)


def test_an_image_of_the_batch_does_not_see_the_others():
    image, *tensors = on_device(problem(2, 7, 5, 4, batch=3))
    whole = resample_triton.forward(image, *tensors, 2, "clamp")[0]
    for i in range(3):
        assert torch.equal(
            resample_triton.forward(image[i : i + 1], *(t[i : i + 1] for t in tensors), 2, "clamp")[0][0], whole[i]
        )


def test_deterministic_image_gradients():
    image, *tensors = on_device(problem(2, 7, 4, 4))
    out, kept = resample_triton.forward(image, *tensors, 2, "clamp")
    atomics = resample_triton.backward(out, image, *tensors, kept, 2, "clamp", True)[0]
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (resample_triton.backward(out, image, *tensors, kept, 2, "clamp", True)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    close(first, atomics)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # the interpreter's NumPy
def test_wild_heads_stay_inside_the_image():
    image, *tensors = on_device(problem(2, 7, 4, 4))
    for value in (float("inf"), float("-inf"), float("nan")):
        tensors[1][..., 0] = value
        resample_triton.forward(image, *tensors, 2, "residual")


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


@pytest.mark.parametrize("target", ["cuda80", "cuda90", "gfx942"])
def test_compiles_to_machine_code_for_gpus_that_are_not_here(target, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    made = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=False, env=environment)
    assert made.returncode == 0, made.stderr[-2000:]
    sizes = [int(line) for line in made.stdout.split()]
    assert len(sizes) == (3 if target == "cuda90" else 1) * 2 * 5
    assert min(sizes) > 1000
