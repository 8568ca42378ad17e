"""Muon (Jordan et al., 2024): momentum whose matrix steps are made orthogonal, for hidden convolutions.

A convolution's weight (out, in, 3, 3) is taken as the matrix (out, in·9). Its step is the nearest matrix with
all singular values near 1 (five steps of a Newton-Schulz iteration), scaled to the size of Adam's steps
(Liu et al., arXiv 2502.16982, equation 4), so that both share a rate. torch's own Muon takes matrices only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic's coefficients, steepest at 0
STEPS = 5
RMS = 0.2  # of Adam's steps, which Muon's are scaled to


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) float32 → matrices of the same singular vectors, with singular values of about 0.7 to 1.2."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7).view(-1, 1, 1)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for weights of two dimensions or more.

    Parameters: ``rate``, the size of a step as Adam has it; ``momentum`` in [0, 1).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Weights of one shape take their step together, as one batch of matrices."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in alike.items():
                directions = torch.stack([self._direction(p, group["momentum"]) for p in parameters])
                size = RMS * max(directions.shape[1:]) ** 0.5
                steps = orthogonal(directions).view(-1, *shape)
                torch._foreach_add_(
                    list[Tensor](parameters), list(steps.to(parameters[0].dtype).unbind()), alpha=-group["lr"] * size
                )

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Where the momentum points, looked at from where it leads (Nesterov): (rows, columns) float32."""
        grad = parameter.grad
        assert grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        kept: Tensor = state["momentum"].lerp_(grad, 1 - momentum)
        return grad.lerp(kept, momentum).reshape(len(parameter), -1).float()
