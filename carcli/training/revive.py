"""Bringing silent channels back: a ReLU that no input makes fire gets no gradient, and never learns again.

Training at a high rate silences up to half of the hidden channels of a deep residual body. A
silent channel adds nothing to its block, so its incoming weights can be drawn anew and its
outgoing ones set to nothing without changing what the network computes; from there it learns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from carcli.models.layers import ResidualBlock


def blocks(pair: nn.Module) -> Iterator[tuple[str, ResidualBlock]]:
    """The trained residual blocks of a module, by name."""
    for name, module in pair.named_modules():
        if isinstance(module, ResidualBlock) and next(module.parameters()).requires_grad:
            yield name, module


@torch.no_grad()
def silent_channels(pair: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """For every block with hidden channels that none of ``inputs`` makes fire, those channels' numbers (int64, CPU)."""
    loudest: dict[str, Tensor] = {}

    def listen(name: str) -> object:
        def hook(_: nn.Module, given: tuple[Tensor]) -> None:
            here = given[0].float().amax((0, 2, 3))
            loudest[name] = torch.maximum(loudest[name], here) if name in loudest else here

        return hook

    hooks = [block.body[1].register_forward_pre_hook(listen(name)) for name, block in blocks(pair)]  # type: ignore[arg-type]
    try:
        for hr in inputs:
            pair(hr)
    finally:
        for handle in hooks:
            handle.remove()
    silent = {name: torch.nonzero(top <= 0).flatten().cpu() for name, top in loudest.items()}
    return {name: channels for name, channels in silent.items() if len(channels)}


@torch.no_grad()
def revive(pair: nn.Module, silent: Mapping[str, Tensor], seed: int) -> int:
    """Draw the incoming weights of ``silent`` channels anew, as large as their neighbours', and silence the outgoing ones.

    Returns how many there were. The same ``seed`` draws the same weights on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, channels in silent.items():
        block = pair.get_submodule(name)
        assert isinstance(block, ResidualBlock)
        first, last = block.convolutions
        drawn = torch.randn(first.weight[channels].shape, generator=generator)
        size = math.sqrt(2 / first.weight[0].numel())
        assert first.bias is not None
        first.weight[channels] = (size * drawn).to(first.weight)
        first.bias[channels] = 0
        last.weight[:, channels] = 0
    return sum(len(channels) for channels in silent.values())
