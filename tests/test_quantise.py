"""8-bit quantisation and its gradients."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carcli.ops.quantise import quantise_soft, quantise_ste, to_float, to_uint8

floats = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-2, 3, width=32))


@given(hnp.arrays(np.uint8, st.integers(1, 50)))
def test_levels_survive_the_round_trip(levels):
    assert np.array_equal(to_uint8(to_float(torch.from_numpy(levels))).numpy(), levels)


@given(floats)
def test_rounds_and_clamps_and_never_truncates(values):
    got = to_uint8(torch.from_numpy(values)).numpy().astype(np.float64)
    exact = np.clip(values.astype(np.float64) * 255, 0, 255)
    assert np.abs(got - exact).max() <= 0.5 + 1e-4


def test_not_a_number_becomes_black_and_infinity_an_end():
    values = torch.tensor([math.nan, math.inf, -math.inf])
    assert to_uint8(values).tolist() == [0, 255, 0]


@given(floats)
def test_straight_through_gives_what_a_file_keeps(values):
    tensor = torch.from_numpy(values)
    assert torch.equal(quantise_ste(tensor), to_float(to_uint8(tensor)))


def test_straight_through_passes_gradients_except_outwards():
    values = torch.tensor([0.3, -0.1, -0.1, 1.2, 1.2], requires_grad=True)
    quantise_ste(values).backward(torch.tensor([2.0, 1.0, -1.0, 1.0, -1.0]))
    # a step goes against the gradient: below 0 only a negative one, above 1 only a positive one leads back
    assert values.grad.tolist() == [2.0, 0.0, -1.0, 1.0, 0.0]


def test_soft_rounding_is_flat_at_levels_and_the_identity_at_zero_sharpness():
    levels = (torch.arange(256, dtype=torch.float64) / 255).requires_grad_()
    soft = quantise_soft(levels)
    torch.testing.assert_close(soft, levels)
    slope = torch.autograd.grad(soft[1:-1].sum(), levels)[0][1:-1]
    assert slope.abs().max() < 1e-9
    between = torch.rand(50, dtype=torch.float64)
    torch.testing.assert_close(quantise_soft(between, 0.0), between)
    nearest = to_float(to_uint8(between), torch.float64)
    assert bool(((quantise_soft(between) - nearest).abs() <= (between - nearest).abs() + 1e-9).all())
