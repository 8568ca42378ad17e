"""A network's file at half its size: weights in half precision, computed with in full.

Most checkpoints are stored in half precision anyway, and so lose nothing. Computing in it would need kernels that WebAssembly
lacks, and would blur single levels of an LR image.
"""

from __future__ import annotations

import numpy as np

LEAST = 4096  # values: smaller tensors, bicubic kernels among them, are not worth a cast


def halved(network: bytes) -> bytes:
    """An ONNX file whose large float32 weights are stored as float16, each behind a cast; others where one would overflow."""
    from onnx import TensorProto, helper, load_model_from_string, numpy_helper

    model = load_model_from_string(network)
    casts = []
    for weights in model.graph.initializer:
        if weights.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weights)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < LEAST or not np.isfinite(half).all():
            continue
        name, stored = weights.name, f"{weights.name}.half"
        weights.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    data: bytes = model.SerializeToString()
    return data
