"""Errors that a user sees as one line: what happened, to which file, and how to go on."""

from __future__ import annotations


class CarcliError(Exception):
    """Base of all errors with a message fit for a user."""


class ImageError(CarcliError):
    """One image cannot be read, processed or written; the others can."""


class WeightsError(CarcliError):
    """A checkpoint is missing, damaged or does not fit."""


class UsageError(CarcliError):
    """What was asked for makes no sense as asked."""


class Abandoned(Exception):  # noqa: N818 - not an error
    """A computation that nobody waits for any more."""
