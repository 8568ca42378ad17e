"""Where a run starts from: fresh weights, or those of a checkpoint, for either half or both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carcli.errors import UsageError, WeightsError
from carcli.models.base import Network, Pair
from carcli.models.registry import build
from carcli.training.health import residual_blocks
from carcli.training.recipe import Recipe
from carcli.weights.choose import choose
from carcli.weights.loading import load


def _blocks(net: Network) -> list[str]:
    """The names of a network's residual blocks, in order, but for what it ``adds``: ``body.0``, ``body.1``…"""
    return [name for name in residual_blocks(net) if name.partition(".")[0] not in net.adds]


def _renamed(given: Network, mine: Network) -> dict[str, Tensor]:
    """A shallower network's weights under the names that they have in a deeper one: what follows its blocks moves on."""
    state, few, many = given.state_dict(), _blocks(given), _blocks(mine)
    if not few or len(few) >= len(many) or few != many[: len(few)]:
        return state
    body, first = few[0].rpartition(".")[::2]
    begin, more = int(first) + len(few), len(many) - len(few)

    def moved(name: str) -> str:
        parts = name.removeprefix(f"{body}.").split(".", 1)
        if not name.startswith(f"{body}.") or not parts[0].isdigit() or int(parts[0]) < begin:
            return name
        return f"{body}.{int(parts[0]) + more}.{parts[1]}"

    return {moved(name): tensor for name, tensor in state.items()}


def _take(mine: Network, given: Network) -> bool:
    """Fill a network with another's weights, if it is the same or more: what the other lacks begins as nothing.

    More are blocks at the end of its body, and the parts that it says it ``adds`` to what it can start from.
    """
    state = _renamed(given, mine)
    own = mine.state_dict()
    added = _blocks(mine)[len(_blocks(given)) :]
    lacking = [part for part in mine.adds if not any(n.partition(".")[0] == part for n in state)]
    expected = {
        name: tensor.shape
        for name, tensor in own.items()
        if name.partition(".")[0] not in lacking and not any(name.startswith(f"{block}.") for block in added)
    }
    if not mine.can_start_from(given) or not state or {n: t.shape for n, t in state.items()} != expected:
        return False
    mine.load_state_dict({**own, **state})
    blocks = residual_blocks(mine)
    for name in added:
        for parameter in blocks[name].convolutions[1].parameters():
            nn.init.zeros_(parameter)
    return True


def networks(recipe: Recipe, init: str | None) -> tuple[Pair, tuple[str, ...]]:
    """The recipe's networks, and the halves of them that a checkpoint gave.

    ``init`` is what ``--model`` takes. A half of the recipe takes the checkpoint's weights where
    it is the same network, or one with fewer blocks; where neither is, or a half that the recipe freezes is not, that is an
    error: ``UsageError`` or ``WeightsError``.
    """
    torch.manual_seed(recipe.data.seed)
    part = recipe.model
    pair = build(part.family, part.scale, {"down": part.down, "up": part.up})
    if recipe.loss.carrier == "jpeg" and pair.down.channels_out == 1:
        raise UsageError(f"recipe {recipe.name} hides colours in grey, which no JPEG keeps: leave its carrier out")
    taken = []
    if init is not None:
        start = load(choose(init, part.scale))
        for half in ("down", "up"):
            if _take(getattr(pair, half), getattr(start, half)):
                taken.append(half)
        if not taken:
            raise WeightsError(f"{init}: neither of its networks is one of recipe {recipe.name}")
    if part.freeze != "none" and getattr(pair, part.freeze).state_dict() and part.freeze not in taken:
        raise UsageError(f"recipe {recipe.name} freezes its {part.freeze} network: name a checkpoint that has it, with --init")
    if not any(p.requires_grad for half in ("down", "up") if half != part.freeze for p in getattr(pair, half).parameters()):
        raise UsageError(f"recipe {recipe.name} leaves nothing to train")
    if part.freeze != "down" and list(pair.down.parameters()) and not pair.up.differentiable:
        raise UsageError(f"recipe {recipe.name} trains its downscaler through an upscaler without gradients; name another one")
    return pair, tuple(taken)
