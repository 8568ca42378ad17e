"""carcli: photographs made small so that they can be brought back.

>>> import carcli, numpy as np
>>> pair = carcli.load("edsr", scale=4)
>>> photograph = np.full((50, 30, 3), 128, np.uint8)
>>> small = pair.down(photograph)
>>> pair.up(small, size=(30, 50)).shape
(50, 30, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carcli.errors import CarcliError, ImageError, UsageError, WeightsError
from carcli.version import __version__

if TYPE_CHECKING:
    from carcli.images.codec import Picture
    from carcli.rescale.rescaler import Rescaler, load

__all__ = ["CarcliError", "ImageError", "Picture", "Rescaler", "UsageError", "WeightsError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name in ("Rescaler", "load"):
        from carcli.rescale import rescaler

        return getattr(rescaler, name)
    if name == "Picture":
        from carcli.images.codec import Picture

        return Picture
    raise AttributeError(f"module 'carcli' has no attribute {name!r}")
