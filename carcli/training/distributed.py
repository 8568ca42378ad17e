"""Several processes that train one pair: what ``torchrun`` starts, seen from inside each.

Every process takes its share of each batch; gradients are averaged (torch's
DistributedDataParallel), so that the weights are those of one process with the whole batch,
up to rounding. The first process alone validates, writes and reports.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This process among all: ``rank`` of ``size``, until a ``with`` statement ends."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over all processes."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, device_ids=[device.index] if device.type == "cuda" else None)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a CPU tensor over all processes, on the CPU."""
        if self.size == 1:
            return values
        shared = values.cuda() if dist.get_backend() == "nccl" else values
        dist.all_reduce(shared)
        return shared.cpu()

    def from_first(self, value: Any) -> Any:
        """An object of the first process, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.leave()

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """This process's own device of a kind: with several processes a machine, each takes the GPU of its number."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def join(device: torch.device) -> World:
    """Meet the processes that ``torchrun`` started beside this one; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size())
