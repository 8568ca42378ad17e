"""The tag: what ``down`` writes into an LR image so that ``up`` can bring the original back.

JSON, in a compressed iTXt chunk of a PNG (key ``carcli``), and in XMP in any other format (``carcli.images.xmp``). It is
data from a stranger: it is bounded and checked field by field before anything acts on it.

Version 1 is of an LR image whose size the scale decides, and is written wherever that is so. Version 2 is of one of any
other size, which it gives, with the kernel that resized the original to ``scale`` times that before the network.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from carcli.errors import ImageError
from carcli.ops.kernels import KERNELS, Kernel

KEY = "carcli"
VERSION = 2
MAX_LENGTH = 4096  # characters of JSON
MAX_SIDE = 1 << 20  # pixels; no original is larger
MAX_SCALE = 128
HOW = "ignore its tag to restore it as an ordinary image"
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a checkpoint, wherever it is made, written or read
_IDS = re.compile(rf"{ID.pattern}(\+{ID.pattern}){{0,6}}")
_DIGEST = re.compile(r"[0-9a-f]{64}|")
_KERNEL = re.compile("|".join(KERNELS))
_SINCE_2 = ("lr_width", "lr_height", "resize")


@dataclass(frozen=True)
class Tag:
    """How an LR image was made."""

    checkpoint: str  # id, or ids joined by + where several work one after another
    digest: str  # SHA-256 of the checkpoint's file, hexadecimal; empty for a family without weights; of all digests, for several
    scale: int  # of the checkpoint
    width: int  # of the original, pixels, after its orientation was applied
    height: int
    refinement: str | None = None
    grey: bool = False  # whether the original had one channel, whatever the LR image has
    lr_width: int | None = None  # of the LR image, with lr_height and resize, where the scale does not decide it
    lr_height: int | None = None
    resize: Kernel | None = None  # what the original was resized with to scale times the LR image's size

    @property
    def version(self) -> int:
        return 1 if self.resize is None else VERSION

    @property
    def padding(self) -> tuple[int, int]:
        """Columns and rows that the LR image covers beyond the original."""
        return (-self.width % self.scale, -self.height % self.scale) if self.resize is None else (0, 0)

    @property
    def lr_size(self) -> tuple[int, int]:
        """Width and height that the LR image must have."""
        if self.lr_width is not None and self.lr_height is not None:
            return self.lr_width, self.lr_height
        return natural_size(self.width, self.height, self.scale)

    def fields(self) -> dict[str, Any]:
        """All that it says, by name; what only version 2 says is there in version 2."""
        fields = {**asdict(self), "version": self.version, "padding": self.padding}
        return {name: value for name, value in fields.items() if self.version > 1 or name not in _SINCE_2}

    def to_json(self) -> str:
        return json.dumps(self.fields(), separators=(",", ":"), sort_keys=True)


def natural_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """Width and height of the LR image that a network of a scale makes of an original."""
    return -(-width // scale), -(-height // scale)


def _integer(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ImageError(f"its carcli tag has no valid {name}; {HOW}")
    return value


def _text(fields: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ImageError(f"its carcli tag has no valid {name}; {HOW}")
    return value


def parse(text: str, lr_size: tuple[int, int]) -> Tag:
    """Read a tag found in an image of ``lr_size`` (width, height).

    Raises ``ImageError`` for anything malformed, out of bounds, of a later version, or that
    contradicts the image it is in.
    """
    if len(text) > MAX_LENGTH:
        raise ImageError(f"its carcli tag is longer than {MAX_LENGTH} characters; {HOW}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"its carcli tag is not JSON; {HOW}") from error
    if not isinstance(fields, dict):
        raise ImageError(f"its carcli tag is not a JSON object; {HOW}")
    version = _integer(fields, "version", 1, 1 << 30)
    if version > VERSION:
        raise ImageError(f"its carcli tag has version {version}, this carcli reads up to {VERSION}; update carcli")
    refinement = fields.get("refinement")
    if refinement is not None and (not isinstance(refinement, str) or len(refinement) > 200):
        raise ImageError(f"its carcli tag has no valid refinement; {HOW}")
    width, height = _integer(fields, "width", 1, MAX_SIDE), _integer(fields, "height", 1, MAX_SIDE)
    resized: dict[str, Any] = {}
    if version > 1:
        resized = {"lr_width": _integer(fields, "lr_width", 1, width), "lr_height": _integer(fields, "lr_height", 1, height)}
        resized["resize"] = _text(fields, "resize", _KERNEL)
    tag = Tag(
        checkpoint=_text(fields, "checkpoint", _IDS),
        digest=_text(fields, "digest", _DIGEST),
        scale=_integer(fields, "scale", 1, MAX_SCALE),
        width=width,
        height=height,
        refinement=refinement,
        grey=fields.get("grey") is True,
        **resized,
    )
    if tag.lr_size != lr_size:
        raise ImageError(
            f"its carcli tag says {tag.width}x{tag.height} at scale {tag.scale}, so the LR image should be "
            f"{tag.lr_size[0]}x{tag.lr_size[1]}, but it is {lr_size[0]}x{lr_size[1]}: it was cropped or resized; "
            f"{HOW}"
        )
    return tag
