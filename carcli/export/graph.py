"""From a network to the bytes of an ONNX file that computes the same, for images of any number and size."""

from __future__ import annotations

import copy
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from carcli.export import operators
from carcli.export.metadata import PROPERTY
from carcli.models.base import ByChannel, Network
from carcli.models.foreign import Foreign
from carcli.models.resampler_net import ContentAdaptiveResampler

OPSET = 18
_TRACING = threading.Lock()  # what traces keeps its state, as loggers and warnings do theirs, for the whole process
INPUT, RESULT = "image", "result"
COMPOSED: dict[Any, Callable[..., Tensor]] = {F.interpolate: operators.interpolate, torch.remainder: operators.remainder}


class _Standard(TorchFunctionMode):
    """What has no standard operator is composed of those that there are, and a convolution computes as its weights are stored."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function in COMPOSED:
            return COMPOSED[function](*args, **(kwargs or {}))  # which this mode does not see
        if function is F.conv2d:
            image, weight, *rest = args
            args = (image.to(weight.dtype), weight, *rest)
        return function(*args, **(kwargs or {}))


class _Halvable(TorchFunctionMode):
    """Hears which weights are computed with in half precision, where that is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: set[int] = set()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is F.conv2d and torch.is_autocast_enabled("cpu"):
            self.weights.add(id(args[1]))
        return function(*args, **(kwargs or {}))


def _example(network: Network) -> Tensor:
    side = -(-max(network.minimum, 8) // network.multiple_of) * network.multiple_of
    return torch.rand(1 if isinstance(network, Foreign) else 2, network.channels_in, 2 * side, 3 * side)


def _halve(network: Network) -> None:
    """Store the weights as float16 that autocast computes with in half precision; a network keeps others as they are."""
    with _Halvable() as halvable, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(_example(network))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and id(module.weight) in halvable.weights:
            module.half()


def _prepared(network: Network, precision: str) -> Network:
    """A copy on the CPU whose every operation can be exported."""
    own = copy.deepcopy(network).cpu().eval()
    for module in own.modules():
        if isinstance(module, ContentAdaptiveResampler):
            module.resample = operators.resampled
    if precision == "fp16":
        _halve(own)
    return own.requires_grad_(False)


def _sizes(network: Network) -> dict[int, Any]:
    """The axes of its input that are free."""
    step = network.multiple_of
    sizes: dict[int, Any] = {} if isinstance(network, Foreign) else {0: torch.export.Dim("batch", min=1)}  # one image by one
    if isinstance(network, ByChannel):
        sizes[1] = torch.export.Dim("channels", min=1)
    for axis, name in ((2, "rows"), (3, "columns")):
        cells = torch.export.Dim(name, min=2)
        sizes[axis] = cells * step if step > 1 else cells
    return sizes


def _name_axes(value: Any, network: Network, height: str, width: str) -> None:
    """Call the free axes of an input or a result by names that say what they are."""
    names = {0: "batch", 1: "channels", 2: height, 3: width}
    for axis, name in ((axis, names[axis]) for axis in _sizes(network)):
        value.type.tensor_type.shape.dim[axis].dim_param = name


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporters say of themselves, and whatever precision the caller computes in."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def graph(network: Network, precision: str = "fp32", metadata: Mapping[str, Any] | None = None) -> bytes:
    """An ONNX file: ``image`` (B, C, H, W) float32 in [0, 1] → ``result``, float32, not clamped; B, H and W are free.

    ``precision`` is ``fp32``, or ``fp16`` for weights and convolutions in float16, but those that a network keeps; ``metadata``
    is stored as JSON under ``PROPERTY``. A network that works channel by channel takes any number of those. Raises
    ``ValueError`` where the network cannot be a graph.
    """
    import onnx

    own = _prepared(network, precision)
    try:
        with _TRACING, _quietly():
            with _Standard():
                program = torch.export.export(own, (_example(own),), dynamic_shapes=(_sizes(own),), strict=False)
            exported = torch.onnx.export(
                program, input_names=[INPUT], output_names=[RESULT], opset_version=OPSET, dynamo=True, verbose=False
            )
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:160]) from error
    assert exported is not None
    model = exported.model_proto
    _name_axes(model.graph.input[0], own, "height", "width")
    _name_axes(model.graph.output[0], own, "result_height", "result_width")
    del model.metadata_props[:]
    for node in model.graph.node:  # which file and line of ours made it
        del node.metadata_props[:]
        node.doc_string = ""
    model.producer_name, model.doc_string = "carcli", ""
    if metadata is not None:
        onnx.helper.set_model_props(model, {PROPERTY: json.dumps(metadata, sort_keys=True)})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
