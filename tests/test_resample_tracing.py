"""Compilers see the resampler as one operation, and leave its fused path as it was."""

from __future__ import annotations

import pytest
import torch
from test_resample import problem

from carcli.models.resampler_net import BaseResamplerConfig, BaseResamplerNet, ContentAdaptiveResampler
from carcli.ops.resample import dispatch, resample
from carcli.ops.resample.definition import HEADS

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def untried(monkeypatch):
    """The fast path has not been tried yet: tracing itself is what tries it first."""
    monkeypatch.setattr(dispatch, "paths", {})
    torch.compiler.reset()


def resampler(scale=2):
    torch.manual_seed(0)
    return ContentAdaptiveResampler(BaseResamplerNet(BaseResamplerConfig(scale, features=8, blocks=1)))


def tracked(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def gradients(function, tensors):
    return torch.autograd.grad(function(*tensors).square().sum(), tensors)


def assert_still_fused():
    assert dispatch.path_for(CPU) == dispatch.Path(dispatch.NUMBA)


def compiled_equals_eager(backend, dtype=torch.float32):
    net = resampler().to(dtype)
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    parameters = list(net.parameters())
    hr = torch.rand(2, 3, 8, 12, dtype=dtype)
    lr, expected = compiled(hr), net(hr)
    torch.testing.assert_close(lr, expected)
    ours, theirs = (torch.autograd.grad(out.square().sum(), parameters) for out in (lr, expected))
    torch.testing.assert_close(ours, theirs)
    assert_still_fused()


@pytest.mark.parametrize(("backend", "dtype"), [("eager", torch.float32), ("aot_eager", torch.float64)])
def test_compiled_it_gives_equal_values_and_gradients_in_one_graph(backend, dtype):
    compiled_equals_eager(backend, dtype)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_compiled_to_machine_code_it_gives_equal_values_and_gradients():
    compiled_equals_eager("inductor")  # takes a C++ compiler most of a minute


def test_compiled_gradients_reach_the_image_too():
    tensors = tracked(*problem(2, 3, 4, 3))

    def function(*tensors):
        return resample(*tensors, 2, heads="clamp")

    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(gradients(compiled, tensors), gradients(function, tensors))
    assert_still_fused()


def test_compiled_without_gradients_and_rounded():
    image, *tensors = problem(2, 3, 4, 3, dtype=torch.float32)

    def function(image):
        return resample(image, *tensors, 2, heads="residual", rounded=True)

    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    levels = (image * 255).to(torch.uint8)
    with torch.no_grad():
        for pixels in (image, levels):
            assert torch.equal(compiled(pixels), function(pixels))
    assert_still_fused()


@pytest.mark.parametrize(("strict", "scale"), [(False, 4), pytest.param(True, 2, marks=pytest.mark.slow)])
def test_exported_it_takes_any_size_and_equals_eager(strict, scale):
    net = resampler(scale).eval()
    h, w = (torch.export.Dim(name, min=2, max=4096) for name in "hw")
    sizes = {"hr": {2: scale * h, 3: scale * w}}
    program = torch.export.export(net, (torch.rand(1, 3, 6 * scale, 8 * scale),), dynamic_shapes=sizes, strict=strict)
    called = [str(node.target) for node in program.graph.nodes if "carcli" in str(node.target)]
    assert called == ["carcli.resample.default"]
    for height, width in ((2, 2), (5, 11), (24, 7)):
        hr = torch.rand(1, 3, height * scale, width * scale)
        with torch.no_grad():
            assert torch.equal(program.module()(hr), net(hr))
    assert_still_fused()


def test_exported_as_the_composition_it_is_made_of_torchs_own_operations(monkeypatch):
    monkeypatch.setenv("CARCLI_RESAMPLER", "composition")
    net, hr = resampler().eval(), torch.rand(1, 3, 8, 12)
    program = torch.export.export(net, (hr,))
    assert not [node for node in program.graph.nodes if "carcli" in str(node.target)]
    with torch.no_grad():
        torch.testing.assert_close(program.module()(hr), net(hr))


def check(name, *arguments):
    torch.library.opcheck(getattr(torch.ops.carcli, name).default, arguments)


@pytest.mark.parametrize("heads", HEADS)
def test_the_operators_keep_what_they_declare(heads):
    image, *taps = problem(2, 3, 4, 3, dtype=torch.float32)
    check("resample", *tracked(image, *taps), 2, heads)


@pytest.mark.parametrize("want_image", [False, True])
def test_the_backward_pass_keeps_what_it_declares(want_image):
    image, *taps = problem(2, 3, 4, 3, dtype=torch.float32)
    lr, sums = torch.ops.carcli.resample(image, *taps, 2, "residual")
    check("resample_backward", torch.ones_like(lr), lr, sums, image, *taps, 2, "residual", want_image)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_declared_too(dtype):
    image, *taps = problem(2, 3, 4, 3)
    image = image if dtype == torch.float64 else image.float()
    check("resample", *tracked(image, *(t.to(dtype) for t in taps)), 2, "residual")


def test_8_bit_images_are_declared_too():
    image, *taps = problem(2, 3, 4, 3, dtype=torch.float32)
    levels = (image * 255).to(torch.uint8)
    check("resample", levels, *tracked(*taps), 2, "clamp")
    check("resample_rounded", levels, *taps, 2, "clamp")


def test_heads_of_one_tensor_with_taps_innermost_are_declared_too():
    image, *taps = problem(2, 3, 4, 3, dtype=torch.float32)
    joined = torch.cat(taps, 1).contiguous(memory_format=torch.channels_last)
    check("resample", image, *(t.detach().requires_grad_() for t in joined.chunk(3, 1)), 2, "residual")
