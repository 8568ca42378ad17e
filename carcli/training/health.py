"""A run's health: noticing that it has collapsed, and bringing channels back that have fallen silent.

A collapse is noticed from the losses alone, a few steps after it happens.

A ReLU that no input makes fire gets no gradient, and never learns again; training at a high rate
silences up to half of the hidden channels of a deep residual body. A silent channel adds nothing
to its block, so its incoming weights can be drawn anew and its outgoing ones set to nothing
without changing what the network computes; from there it learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from carcli.models.layers import ResidualBlock

FAST, SLOW = 0.1, 0.01  # share of the newest step in the two running means
SETTLING = 50  # steps before the means are trusted
CALM = 1.3  # ratio below which a state is worth keeping
LR_RATIO, LR_FLOOR = 3.0, 0.03  # the LR has left bicubic for good: a mean difference of 0.03 is 7 levels
MOST_NON_FINITE = 10  # steps in a row


class CollapseWatch:
    """Running means of loss and LR distance, a fast and a slow one each.

    ``collapsed`` is true when the fast mean of the loss stands ``ratio`` times above the slow
    one, or that of the LR distance three times and above 0.03, or when ten steps in a row were
    not finite. ``calm`` says that nothing of the kind is near.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after going back to an earlier state."""
        self.steps, self.non_finite = 0, 0
        self.loss_fast = self.loss_slow = self.lr_fast = self.lr_slow = 0.0

    def see(self, loss: float, lr_distance: float) -> None:
        """Take in the losses of one step."""
        if not (math.isfinite(loss) and math.isfinite(lr_distance)):
            self.non_finite += 1
            return
        self.non_finite = 0
        self.steps += 1
        fast, slow = max(FAST, 1 / self.steps), max(SLOW, 1 / self.steps)  # true means until they are long enough
        self.loss_fast += fast * (loss - self.loss_fast)
        self.loss_slow += slow * (loss - self.loss_slow)
        self.lr_fast += fast * (lr_distance - self.lr_fast)
        self.lr_slow += slow * (lr_distance - self.lr_slow)

    def _above(self, ratio: float, lr_ratio: float) -> bool:
        return self.loss_fast > ratio * self.loss_slow or self.lr_fast > max(lr_ratio * self.lr_slow, LR_FLOOR)

    @property
    def collapsed(self) -> bool:
        return self.non_finite >= MOST_NON_FINITE or (self.steps > SETTLING and self._above(self.ratio, LR_RATIO))

    @property
    def calm(self) -> bool:
        return self.non_finite == 0 and not self._above(CALM, CALM)

    def state_dict(self) -> dict[str, float]:
        return {k: v for k, v in vars(self).items() if k != "ratio"}

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)


def residual_blocks(network: nn.Module) -> dict[str, ResidualBlock]:
    """A module's residual blocks, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ResidualBlock)}


@torch.no_grad()
def silent_channels(pair: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """For every trained block with hidden channels that none of ``inputs`` makes fire, those channels' numbers (int64, CPU)."""
    loudest: dict[str, Tensor] = {}

    def listen(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_convolution: nn.Module, _inputs: object, hidden: Tensor) -> None:
            here = hidden.float().amax((0, 2, 3))
            loudest[name] = torch.maximum(loudest[name], here) if name in loudest else here

        return hook

    hooks = [
        block.convolutions[0].register_forward_hook(listen(name))
        for name, block in residual_blocks(pair).items()
        if next(block.parameters()).requires_grad
    ]
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
    blocks = residual_blocks(pair)
    for name, channels in silent.items():
        first, last = blocks[name].convolutions
        drawn = torch.randn(first.weight[channels].shape, generator=generator)
        size = math.sqrt(2 / first.weight[0].numel())
        assert first.bias is not None
        first.weight[channels] = (size * drawn).to(first.weight)
        first.bias[channels] = 0
        last.weight[:, channels] = 0
    return sum(len(channels) for channels in silent.values())
