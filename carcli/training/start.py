"""Where a run starts from: fresh weights, or those of a checkpoint, for either half or both."""

from __future__ import annotations

import torch
from torch import nn

from carcli.errors import UsageError, WeightsError
from carcli.models.registry import Pair, build
from carcli.training.recipe import Recipe
from carcli.weights import choose


def _same(a: nn.Module, b: nn.Module) -> bool:
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (a, b)]
    return type(a) is type(b) and shapes[0] == shapes[1]


def networks(recipe: Recipe, init: str | None) -> tuple[Pair, tuple[str, ...]]:
    """The recipe's networks, and the halves of them that a checkpoint gave.

    ``init`` is what ``--model`` takes. A half of the recipe takes the checkpoint's weights where
    it is the same network; where neither is, or a half that the recipe freezes is not, that is an
    error: ``UsageError`` or ``WeightsError``.
    """
    torch.manual_seed(recipe.data.seed)
    part = recipe.model
    pair = build(part.family, part.scale, {"down": part.down, "up": part.up})
    taken = []
    if init is not None:
        start = choose.load(choose.choose(init, part.scale))
        for half in ("down", "up"):
            mine, given = getattr(pair, half), getattr(start, half)
            if _same(mine, given) and given.state_dict():
                mine.load_state_dict(given.state_dict())
                taken.append(half)
        if not taken:
            raise WeightsError(f"{init}: neither of its networks is one of recipe {recipe.name}")
    if part.freeze != "none" and getattr(pair, part.freeze).state_dict() and part.freeze not in taken:
        raise UsageError(f"recipe {recipe.name} freezes its {part.freeze} network: name a checkpoint that has it, with --init")
    if not any(p.requires_grad for half in ("down", "up") if half != part.freeze for p in getattr(pair, half).parameters()):
        raise UsageError(f"recipe {recipe.name} leaves nothing to train")
    return pair, tuple(taken)
