"""Noticing that a run has collapsed, from its losses alone, a few steps after it happens."""

from __future__ import annotations

import math

FAST, SLOW = 0.1, 0.01  # share of the newest step in the two running means
SETTLING = 50  # steps before the means are trusted
CALM = 1.3  # ratio below which a state is worth keeping
LR_RATIO, LR_FLOOR = 3.0, 0.03  # the LR has left bicubic for good: a mean difference of 0.03 is 7 levels


class Watch:
    """Running means of loss and LR distance, a fast and a slow one each.

    ``collapsed`` is true when the fast mean of the loss stands ``ratio`` times above the slow
    one, or that of the LR distance three times and above 0.03, or when ten steps in a row were
    not finite. ``calm`` says that nothing of the kind is near.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after going back to an earlier state."""
        self.steps, self.non_finite = 0, 0
        self.loss_fast = self.loss_slow = self.lr_fast = self.lr_slow = 0.0

    def see(self, loss: float, lr_distance: float) -> None:
        """Take in the losses of one step."""
        if not (math.isfinite(loss) and math.isfinite(lr_distance)):
            self.non_finite += 1
            return
        self.non_finite = 0
        self.steps += 1
        fast, slow = max(FAST, 1 / self.steps), max(SLOW, 1 / self.steps)  # true means until they are long enough
        self.loss_fast += fast * (loss - self.loss_fast)
        self.loss_slow += slow * (loss - self.loss_slow)
        self.lr_fast += fast * (lr_distance - self.lr_fast)
        self.lr_slow += slow * (lr_distance - self.lr_slow)

    def _above(self, ratio: float, lr_ratio: float) -> bool:
        return self.loss_fast > ratio * self.loss_slow or self.lr_fast > max(lr_ratio * self.lr_slow, LR_FLOOR)

    @property
    def collapsed(self) -> bool:
        return self.non_finite >= 10 or (self.steps > SETTLING and self._above(self.ratio, LR_RATIO))

    @property
    def calm(self) -> bool:
        return self.non_finite == 0 and not self._above(CALM, CALM)

    def state_dict(self) -> dict[str, float]:
        return {k: v for k, v in vars(self).items() if k != "ratio"}

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)
