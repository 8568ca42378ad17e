"""What an exported network says of itself: all that tiling, tags and whoever runs it elsewhere need to know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carcli.errors import WeightsError
from carcli.images import tag
from carcli.runtime import paths
from carcli.version import __version__
from carcli.weights.choose import Choice
from carcli.weights.store import MAX_BYTES

if TYPE_CHECKING:
    from carcli.models.base import Half, Network

FORMAT = 1
PROPERTY = "carcli"  # of a file's metadata: its value is JSON


def metadata(choice: Choice, network: Network, half: Half, precision: str = "fp32") -> dict[str, Any]:
    """What is stored in the file of one half of a checkpoint; docs/export.md says what each name means."""
    own = choice.description
    freely = network.channels_of(1) == 1 and network.channels_of(2) == 2  # each channel by itself
    return {
        "format": FORMAT,
        "carcli": __version__,
        "half": half,
        "precision": precision,
        "checkpoint": own.id,
        "digest": choice.digest,
        "family": own.family,
        "carrier": own.carrier,
        "scale": network.scale,
        "multiple_of": network.multiple_of,
        "minimum": network.minimum,
        "halo": network.halo,
        "tile": network.tile,
        "channels_in": 0 if freely else network.channels_in,
        "channels_out": 0 if freely else network.channels_out,
        "keeps_grey": network.keeps_grey,
        "tag": {"version": tag.VERSION, "checkpoint": own.id, "digest": choice.digest, "scale": own.scale},
    }


def read(path: Path) -> dict[str, Any]:
    """What an exported file says of itself. Raises ``WeightsError`` where it is none of ours, or cannot be read."""
    import onnx

    try:
        model = onnx.load_model_from_string(paths.read(path, MAX_BYTES))
        fields = json.loads({entry.key: entry.value for entry in model.metadata_props}[PROPERTY])
    except OSError as error:
        raise WeightsError(f"{path}: {paths.reason(error)}") from error
    except Exception as error:  # protobuf's own kinds among them
        raise WeightsError(f"{path}: no network that carcli exported") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{path}: no network that carcli exported")
    return fields
