"""Who hears of a batch while it runs."""

from __future__ import annotations

from carcli.batch.job import Result


class Observer:
    """Hears nothing; a subclass overrides what it wants to hear. Its methods are called from any thread."""

    def settled(self, result: Result) -> None:
        """What became of an image, at once: results are yielded in the order of their jobs, which may be later."""

    def refining(self, done: float, gain: float) -> bool | None:
        """The share done of an image that is being refined, and the gain so far in dB. True takes it as it is."""
        return None


SILENT = Observer()
