"""Muon is its formula: orthogonal steps of Adam's size, taken along Nesterov's momentum."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY_TAD
from torch import nn

from carcli.models.registry import build
from carcli.training import recipe
from carcli.training.muon import Muon, orthogonal
from carcli.training.optimisers import Optimisers, is_hidden

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(64, 576), (576, 64), (32, 32)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    got = orthogonal(matrix[None])[0]
    values = torch.linalg.svdvals(got)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    core = u.mT @ got @ v.mT
    assert (core - torch.diag(core.diagonal())).abs().max() < 1e-3


def test_matrices_side_by_side_are_what_each_is_alone():
    torch.manual_seed(0)
    several = torch.randn(5, 8, 24)
    together = orthogonal(several)
    for matrix, got in zip(several, together, strict=True):
        assert torch.allclose(orthogonal(matrix[None])[0], got, atol=1e-6)


def test_three_steps_are_the_formula():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 6, 3, 3))
    expected, kept = weight.detach().clone(), torch.zeros(6, 54)
    optimiser = Muon([weight], rate=0.01, momentum=0.9)
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        grad = weight.grad.view(6, 54)
        kept = 0.9 * kept + 0.1 * grad
        direction = 0.1 * grad + 0.9 * kept
        expected -= 0.01 * 0.2 * 54**0.5 * orthogonal(direction[None])[0].view_as(expected)
        optimiser.step()
    assert torch.allclose(weight, expected, atol=1e-6)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_it_is_torchs_own_muon_where_that_fits():
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.randn(16, 40)), nn.Parameter(torch.empty(16, 40))
    start = ours.detach().clone()
    theirs.data.copy_(start)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    optimiser = Muon([ours], rate=0.01, momentum=0.95)
    for _ in range(4):
        grad = torch.randn(16, 40)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        optimiser.step()
        reference.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()  # torch's iterates in bfloat16


def test_its_steps_are_as_large_as_adams():
    weight = nn.Parameter(torch.zeros(64, 64, 3, 3))
    weight.grad = torch.randn_like(weight)
    Muon([weight], rate=1.0).step()
    assert 0.15 < weight.detach().square().mean().sqrt() < 0.25


def test_a_weight_without_gradient_stays():
    weight = nn.Parameter(torch.ones(4, 4, 3, 3))
    Muon([weight], rate=1.0).step()
    assert torch.equal(weight, torch.ones(4, 4, 3, 3))


def optimisers_of(text: str) -> tuple[list[nn.Parameter], Optimisers]:
    torch.manual_seed(0)
    made = recipe.parse(TINY_TAD + text, "r")
    pair = build(made.model.family, made.model.scale, {"down": made.model.down, "up": made.model.up})
    parameters = [p for net in pair for p in net.parameters()]
    return parameters, Optimisers(parameters, made.optimiser, CPU)


def take_step(parameters: list[nn.Parameter], optimisers: Optimisers, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimisers.step()


def test_hidden_convolutions_step_by_muon_and_heads_tails_and_biases_by_adam():
    parameters, optimisers = optimisers_of('[optimiser]\nkind = "muon"\nrate = 0.01\nadam_rate = 0.001\n')
    before = [p.detach().clone() for p in parameters]
    take_step(parameters, optimisers, 0)
    hidden = 0
    for parameter, old in zip(parameters, before, strict=True):
        size = (parameter.detach() - old).abs()
        if is_hidden(parameter):
            hidden += 1
            assert 0.001 < size.mean() < 0.003
            assert size.max() > 0.003
        elif parameter.requires_grad:
            assert torch.allclose(size, torch.full_like(size, 0.001), rtol=1e-3)  # Adam's first step is its rate
    assert hidden == 2 * 1 + 2 * 1 + 1  # one block in each network, and the convolution after the decoder's


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_resumed_optimiser_goes_on_as_if_nothing_had_been(kind):
    text = f'[optimiser]\nkind = "{kind}"\n'
    parameters, whole = optimisers_of(text)
    for seed in range(4):
        take_step(parameters, whole, seed)
    again, first = optimisers_of(text)
    for seed in range(2):
        take_step(again, first, seed)
    _, second = optimisers_of(text)
    second = Optimisers(again, recipe.parse(TINY_TAD + text, "r").optimiser, CPU)
    second.load_state_dict(first.state_dict())
    for seed in range(2, 4):
        take_step(again, second, seed)
    assert all(torch.equal(a, b) for a, b in zip(parameters, again, strict=True))


def test_a_schedule_moves_both_rates_together():
    parameters, optimisers = optimisers_of('[optimiser]\nkind = "muon"\nrate = 0.01\nadam_rate = 0.001\n')
    assert optimisers.set_pace(0.5) == 0.005
    before = [p.detach().clone() for p in parameters]
    optimisers.set_pace(0.0)
    take_step(parameters, optimisers, 0)
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
