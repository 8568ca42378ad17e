"""Ordinary thumbnails, which no pair made: what super-resolution is measured on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from carcli.errors import UsageError
from carcli.images.picture import Picture
from carcli.images.written import JPEG, LOSSLESS, Encoding
from carcli.models.families import ALSO, CLASSICAL

TEXT = re.compile(r"([\w.-]+)(?: q(\d{1,3}))?")


@dataclass(frozen=True)
class Thumbnails:
    """How they are made."""

    resampling: str  # one of the classical families
    quality: int | None = None  # of a JPEG, as websites keep them; None: nothing is lost

    @classmethod
    def parse(cls, text: str) -> Thumbnails:
        """Of a classical family, or of one with a quality: ``lanczos q75``. Raises ``UsageError``."""
        match = TEXT.fullmatch(text.strip())
        quality = int(match[2]) if match is not None and match[2] else None
        resampling = "" if match is None else ALSO.get(match[1], match[1])
        if resampling not in CLASSICAL or not 1 <= (quality or 1) <= 100:
            raise UsageError(
                f"--thumbnails {text!r}: say one of {', '.join(CLASSICAL)}, for JPEGs with a quality from 1 to 100: 'lanczos q75'"
            )
        return cls(resampling, quality)

    def __str__(self) -> str:
        return self.resampling if self.quality is None else f"{self.resampling} q{self.quality}"

    @property
    def encoding(self) -> Encoding:
        """How their files are written."""
        return LOSSLESS if self.quality is None else Encoding(JPEG, self.quality)

    def of(self, hr: Picture, scale: int) -> Picture:
        """A thumbnail; without a tag, for nothing is hidden in it."""
        from carcli.rescale.rescaler import load  # and with it torch

        return replace(load(self.resampling, scale, "cpu").down_picture(hr), tag=None)
