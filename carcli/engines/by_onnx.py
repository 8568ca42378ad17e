"""A graph computed by onnxruntime, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

GRAPHS = {"fp32": "fp32", "fp16": "fp16"}  # by precision: how the graph's weights are stored


class Compiled:
    """Computes (B, C, H, W) float32 on so many threads; several callers may do so at once."""

    def __init__(self, graph: bytes, precision: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are others' between two layers
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raises ``MemoryError``."""
        try:
            (result,) = self._session.run(None, {"image": image})
        except Exception as error:  # its own kinds, which say no more than their text
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from error
            raise
        computed: NDArray[np.float32] = result
        return computed
