"""carcli: photographs made small so that they can be brought back.

>>> import carcli
>>> pair = carcli.load("tad", scale=4)
>>> small = pair.down("tests/photos/eyes.png")  # a path, bytes, a file, a PIL image, an array, a tensor
>>> small.save("small.png")
>>> carcli.up("small.png").size  # model, scale and size are read from the tag in it
(221, 161)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from carcli.errors import Abandoned, CarcliError, ImageError, UsageError, WeightsError
from carcli.version import __version__

if TYPE_CHECKING:
    from carcli.images.exchange import read, save
    from carcli.images.picture import Picture
    from carcli.rescale.refinement import Refinement
    from carcli.rescale.rescaler import Rescaler, load
    from carcli.rescale.sized import down
    from carcli.rescale.sizes import Target
    from carcli.rescale.tagged import load_for, up
    from carcli.rescale.turn import Cancel

__all__ = [
    "Abandoned",
    "Cancel",
    "CarcliError",
    "ImageError",
    "Picture",
    "Refinement",
    "Rescaler",
    "Target",
    "UsageError",
    "WeightsError",
    "__version__",
    "down",
    "load",
    "load_for",
    "read",
    "save",
    "up",
]

_LATER = {  # what needs torch or Pillow, and is imported when it is asked for
    "Cancel": "carcli.rescale.turn",
    "Picture": "carcli.images.picture",
    "Refinement": "carcli.rescale.refinement",
    "Rescaler": "carcli.rescale.rescaler",
    "Target": "carcli.rescale.sizes",
    "down": "carcli.rescale.sized",
    "load": "carcli.rescale.rescaler",
    "load_for": "carcli.rescale.tagged",
    "read": "carcli.images.exchange",
    "save": "carcli.images.exchange",
    "up": "carcli.rescale.tagged",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'carcli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
