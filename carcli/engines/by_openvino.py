"""A graph computed by OpenVINO, on the CPU."""

from __future__ import annotations

import io
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

GRAPHS = {"fp32": "fp32", "bf16": "fp32"}  # by precision: how the graph's weights are stored
HINTS = {"fp32": "f32", "bf16": "bf16"}


class Compiled:
    """Computes (B, C, H, W) float32 on so many threads; several callers may do so at once."""

    def __init__(self, graph: bytes, precision: str, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        self._compiled: Any = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings)
        self._idle: SimpleQueue[Any] = SimpleQueue()  # requests that nobody waits for: each has its own activations

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raises ``MemoryError``."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer([image], share_inputs=True)
        except RuntimeError as error:
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from error
            raise
        result: NDArray[np.float32] = request.get_output_tensor().data.copy()
        self._idle.put(request)
        return result
