"""The optimisers of a run as one: Adam for all weights, or Muon for the hidden convolutions and Adam for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from carcli.training.muon import Muon
from carcli.training.recipe import OptimiserPart


def is_hidden(weight: nn.Parameter) -> bool:
    """Whether a weight is a convolution from as many channels to as many: a residual block's, or the one after them."""
    return weight.dim() == 4 and weight.shape[0] == weight.shape[1] and weight.shape[2] > 1


class Optimisers:
    """What ``part`` asks for, over ``parameters``; steps, resumes and follows a schedule like one optimiser."""

    def __init__(self, parameters: list[nn.Parameter], part: OptimiserPart, device: torch.device) -> None:
        hidden = [p for p in parameters if part.kind == "muon" and is_hidden(p)]
        others = [p for p in parameters if part.kind != "muon" or not is_hidden(p)]
        self._all: list[torch.optim.Optimizer] = []
        self._peaks: list[float] = []
        if hidden:
            self._all.append(Muon(hidden, part.rate, part.momentum))
            self._peaks.append(part.rate)
        if others:
            rate = part.adam_rate if part.kind == "muon" and part.adam_rate else part.rate
            self._all.append(torch.optim.Adam(others, rate, part.betas, fused=device.type in ("cpu", "cuda")))
            self._peaks.append(rate)

    def set_pace(self, pace: float) -> float:
        """Set every rate to ``pace`` times its peak, and return the first one's."""
        for optimiser, peak in zip(self._all, self._peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * pace
        return self._peaks[0] * pace

    def zero_grad(self) -> None:
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        for optimiser in self._all:
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): optimiser.state_dict() for i, optimiser in enumerate(self._all)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, optimiser in enumerate(self._all):
            optimiser.load_state_dict(state[str(i)])
