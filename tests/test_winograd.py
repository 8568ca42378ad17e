"""Winograd convolution is convolution: same values, same gradients, any size, and torch's own names and weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from carcli.training.winograd import WinogradConv2d, convolve, use_winograd


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3), inputs=st.integers(1, 9), outputs=st.integers(1, 9),
    height=st.integers(1, 13), width=st.integers(1, 13), seed=st.integers(0, 99),
)  # fmt: skip
def test_values_and_gradients_are_those_of_a_convolution(batch, inputs, outputs, height, width, seed):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, inputs, height, width, generator=made).requires_grad_()
    weight = (torch.randn(outputs, inputs, 3, 3, generator=made) / 3).requires_grad_()
    bias = torch.randn(outputs, generator=made).requires_grad_()
    y = convolve(x, weight, bias)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)
    g = torch.randn(y.shape, generator=made)
    ours = torch.autograd.grad(y, (x, weight, bias), g)
    theirs = torch.autograd.grad(expected, (x, weight, bias), g.double())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_memory_layout(layout):
    x = torch.randn(2, 16, 9, 10).to(memory_format=layout)
    weight, bias = torch.randn(16, 16, 3, 3) / 12, torch.zeros(16)
    torch.testing.assert_close(convolve(x, weight, bias), F.conv2d(x, weight, bias, padding=1), atol=1e-4, rtol=1e-4)


def test_only_what_can_be_computed_so_is():
    net = nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, stride=2),
        nn.Conv2d(16, 16, 5, padding=2), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
    )  # fmt: skip
    before = copy.deepcopy(net.state_dict())
    use_winograd(net)
    assert [type(m) is WinogradConv2d for m in net] == [True] + [False] * 7
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
