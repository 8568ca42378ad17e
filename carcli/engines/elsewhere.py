"""A network that another engine computes: to tiling and all above it, one like any other."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carcli.engines.computing import Computing
from carcli.engines.graphs import graph_of
from carcli.engines.names import ONNX, OPENVINO, TORCH
from carcli.errors import WeightsError
from carcli.models.base import Half, Network
from carcli.models.cascade import Cascade
from carcli.weights.choose import Choice

MODULES = {ONNX: "carcli.engines.by_onnx", OPENVINO: "carcli.engines.by_openvino"}
ALIKE = ("multiple_of", "minimum", "halo", "tile", "channels_in", "channels_out", "keeps_grey", "keeps_in_half", "precisions")

Compiled = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Elsewhere(Network):
    """What a network says of itself, and what an engine makes of its graph, on as many threads as torch has for the caller.

    The graph is made, and compiled, when it is first needed. Any number of threads may call it.
    """

    differentiable = False

    def __init__(self, choice: Choice, network: Network, half: Half, how: Computing) -> None:
        super().__init__(network.scale)
        for name in ALIKE:
            setattr(self, name, getattr(network, name))
        self._of = (choice, network, half)  # a tuple: no module of this one
        self._how = how
        self._compiled: dict[int, Compiled] = {}  # by threads, on which no result depends
        self._refusal: WeightsError | None = None  # where it is no graph, which takes as long to find out as one to make
        self._lock = threading.Lock()

    def _computes(self) -> Compiled:
        threads = torch.get_num_threads()
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if threads not in self._compiled:
                engine: Any = importlib.import_module(MODULES[self._how.backend])
                try:
                    graph = graph_of(*self._of, engine.GRAPHS[self._how.precision])
                except WeightsError as error:
                    self._refusal = error
                    raise
                self._compiled[threads] = engine.Compiled(graph, self._how.precision, threads)
            return self._compiled[threads]

    def forward(self, image: Tensor) -> Tensor:
        """Raises ``WeightsError`` where the network cannot be a graph.

        Results of one column are torch's: of some, OpenVINO 2026.4 gives whatever lay in memory.
        """
        _, network, half = self._of
        if half == "down" and image.shape[3] == self.scale:
            made: Tensor = network(image)
            return made
        return torch.from_numpy(self._computes()(image.float().contiguous().numpy()))

    def shows_as_rgb(self, channels: int) -> bool:
        return self._of[1].shows_as_rgb(channels)

    def channels_of(self, channels: int) -> int:
        return self._of[1].channels_of(channels)


def computed(choice: Choice, network: Network, half: Half, how: Computing) -> Network:
    """A half of a pair, as it is computed: itself, or each of its steps elsewhere."""
    if how.backend == TORCH:
        return network
    choices = choice.steps or (choice,)
    chosen = dict(zip(network.steps, choices if half == "down" else reversed(choices), strict=True))
    steps = {step: Elsewhere(own, step, half, how) for step, own in chosen.items()}
    if len(network.steps) == 1:
        return steps[network.steps[0]]
    return Cascade([steps[step] for step in network.steps], down=half == "down")
