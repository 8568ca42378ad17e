"""Refinement: time spent when shrinking, to restore better (HCD, Xu et al., ICCV 2023, and a faster way of our own).

The networks stay as they are; the LR image itself is moved, by gradient descent on the error of
what it restores to, and stays an ordinary 8-bit picture.

``fast`` descends on LR pixels alone, through a straight-through rounding, against the original;
every step is judged as the 8-bit file it would become. ``hcd`` is the published procedure: a
norm-bounded change of the HR image first, then one of the LR image.

Large images are worked on window by window, so that memory stays bounded: a window moves the LR
pixels of its core, sees as much around it as the upscaler does, and answers for every HR pixel near
them, so that windows fit together without a seam.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from carcli.errors import UsageError
from carcli.images.alpha import filled
from carcli.images.picture import Picture, Pixels
from carcli.models.base import Network
from carcli.ops.quantise import quantise_ste, to_float, to_tensor, to_uint8
from carcli.rescale.pictures import PictureRescaler
from carcli.rescale.refinement import Refinement
from carcli.rescale.tiling import Span, cut, padded, reflected, spans
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device import autocast

CORE, UNDIVIDED = 160, 224  # LR pixels a side: of a window's core, and of an image that needs no windows
ANSWERS = 8  # LR pixels around a core whose restoration its window answers for
RATES = (3 / 255, 0.3 / 255)  # of Adam, first and last step; a short descent starts lower
SHORT = 30  # iterations
BETAS = (0.7, 0.9)
# towards the rounded value, at the last step: else pixels gather where rounding tips over; the second for long descents
PULL = (0.3, 0.6)
FINE = 0.5 / 255  # half a level
BAND = 256  # rows that are compared at once
PATIENCE, LEAST = 12, 0.003  # so many iterations, or a quarter of them all, without so many dB more end the descent early


class Refined(NamedTuple):
    """A refined LR image (h, w, C) uint8, and the mean squared error (of 8-bit HR levels, squared) before and after."""

    lr: Pixels
    before: float
    after: float

    @property
    def gain(self) -> float:
        """dB."""
        return 10 * math.log10(self.before / self.after) if self.after > 0 else math.inf if self.before > 0 else 0.0


class Window(NamedTuple):
    """A piece of the LR image that is worked on at once: rows and columns, each core with its surroundings."""

    rows: Span
    columns: Span


Observe = Callable[[float, float], bool | None]  # share done, gain so far in dB → True to stop here


def windows(height: int, width: int, halo: int | None) -> Iterator[Window]:
    """The windows of an LR image, in LR pixels; a small image is one, and any is without a halo."""
    core = max(height, width) if halo is None or max(height, width) <= UNDIVIDED else CORE
    around = ANSWERS + (halo or 0)
    for rows in spans(height, core, around):
        for columns in spans(width, core, around):
            yield Window(rows, columns)


def _nearby(span: Span, length: int) -> slice:
    """The part of a window, in its own LR pixels, whose restoration it answers for."""
    return slice(max(span.start - ANSWERS, 0) - span.first, min(span.stop + ANSWERS, length) - span.first)


def _through(network: Network, image: Tensor) -> Tensor:
    """A network over an image that is mirrored first where it takes no such size."""
    height, width = image.shape[2:]
    taken = [padded(n, network.multiple_of, network.minimum) for n in (height, width)]
    if taken != [height, width]:
        y, x = (torch.from_numpy(reflected(0, n, size)) for n, size in zip(taken, (height, width), strict=True))
        image = image[:, :, y.to(image.device)][:, :, :, x.to(image.device)]
    return network.over(image)


class _Problem:
    """One window: its HR and LR pixels, what counts of them, and which LR pixels may move."""

    def __init__(self, up: Network, scale: int, hr: Tensor, lr: Tensor, window: Window, size: tuple[int, int]) -> None:
        """``hr`` and ``lr`` are the window's own pixels (1, C, s·h, s·w) and (1, C, h, w), ``size`` the whole original's."""
        rows, columns = window
        self.up, self.scale, self.start = up, scale, lr
        y, x = _nearby(rows, -(-size[0] // scale)), _nearby(columns, -(-size[1] // scale))
        # in HR pixels of the window, and no further than the original
        self.top, self.left = y.start * scale, x.start * scale
        self.bottom = min(y.stop * scale, size[0] - rows.first * scale)
        self.right = min(x.stop * scale, size[1] - columns.first * scale)
        self.target = self.counting(hr)
        self.core = (slice(rows.start - rows.first, rows.stop - rows.first),
                     slice(columns.start - columns.first, columns.stop - columns.first))  # fmt: skip
        self.free = torch.zeros_like(lr)
        self.free[:, :, self.core[0], self.core[1]] = 1

    def counting(self, hr: Tensor) -> Tensor:
        """Those of the window's HR pixels that it answers for."""
        return hr[:, :, self.top : self.bottom, self.left : self.right]

    def error(self, lr: Tensor) -> Tensor:
        """Mean squared error of what an LR window in [0, 1] restores to."""
        near = self.counting(_through(self.up, lr)).clamp(0, 1)
        if self.target.shape[1] == 1:
            near = near.mean(1, keepdim=True)  # as a grey original is restored
        error: Tensor = ((near - self.target) ** 2).mean()
        return error


class _Progress:
    """How far a refinement has got, window by window: asks whose turn it is, tells an observer, and remembers its stop."""

    def __init__(self, observe: Observe, turn: Turn, count: int) -> None:
        self.turn = turn
        self.window = 0  # index of the one at hand, of ``count``
        self.stopped = False
        self._observe, self._count = observe, count

    def tell(self, done: float, gain: float) -> bool:
        """Where ``done`` is the share of the window at hand, and ``gain`` its own in dB; whether to stop here."""
        self.stopped = bool(self._observe((self.window + done) / self._count, gain)) or self.stopped
        return self.stopped


def _fast(problem: _Problem, settings: Refinement, progress: _Progress) -> Tensor:
    """Adam on LR pixels, through the rounding; returns the best rounded window."""
    start = problem.start
    y = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([y], betas=BETAS, eps=1e-20)  # no gradient is too small to count
    best, best_error, begun, noted, stale = start, math.inf, math.inf, math.inf, 0
    n = settings.iterations
    begin = max(RATES[0] * min(n / SHORT, 1), RATES[1])
    pull = min(PULL[0] * max(n / SHORT, 1), PULL[1])
    patience = max(PATIENCE, n // 4)
    for step in range(n + 1):
        progress.turn.begin()
        rounded = quantise_ste(y)
        error = problem.error(rounded)
        loss = error + settings.lr_weight * ((rounded - start) ** 2 * problem.free).sum() / problem.free.sum()
        value = float(loss.detach())
        if step == 0:
            begun = best_error = noted = value
        elif value < best_error:
            best, best_error = rounded.detach(), value
        rate = begin * (RATES[1] / begin) ** (step / max(n - 1, 1))
        stale += rate < FINE  # larger steps pay only once smaller ones follow
        if 10 * math.log10(max(noted, 1e-20) / max(best_error, 1e-20)) > LEAST:
            noted, stale = best_error, 0
        stop = progress.tell(step / n, 10 * math.log10(max(begun, 1e-20) / max(best_error, 1e-20)))
        if step == n or stop or stale >= patience or begun == 0:
            break
        (gradient,) = torch.autograd.grad(loss, y)
        y.grad = gradient * problem.free
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        with torch.no_grad():
            y.clamp_(0, 1)
            y += pull * step / n * (quantise_ste(y) - y)
    return best


def _in_ball(
    shape: torch.Size,
    error: Callable[[Tensor], Tensor],
    settings: Refinement,
    count: int,
    generator: torch.Generator,
    turn: Turn,
) -> Tensor:
    """The best change found by ``count`` normalised gradient steps within the ball."""
    change = torch.randn(shape, generator=generator)
    change *= settings.epsilon * torch.rand(1, generator=generator) / change.norm()
    best, best_error = torch.zeros(shape), math.inf
    for step in range(count + 1):
        turn.begin()
        change = change.detach().requires_grad_()
        value = error(change)
        if float(value.detach()) < best_error:
            best, best_error = change.detach(), float(value.detach())
        if step == count:
            break
        (gradient,) = torch.autograd.grad(value, change)
        with torch.no_grad():
            change = change - settings.alpha * gradient / gradient.norm().clamp(min=1e-12)
            change = change * (settings.epsilon / change.norm()).clamp(max=1)
    return best


def _hcd(
    problem: _Problem,
    settings: Refinement,
    down: Network,
    hr: Tensor,
    generator: torch.Generator,
    progress: _Progress,
) -> Tensor:
    """The published procedure on one window, whose HR pixels ``hr`` are; returns the rounded window."""
    half = max(settings.iterations // 2, 1)
    origin = hr
    channels, height, width = problem.start.shape[1:]

    def shrunk(image: Tensor) -> Tensor:
        if channels == 3:
            image = image.expand(-1, 3, -1, -1)  # grey, whose LR image is in colour
        return _through(down, image)[:, :, :height, :width]

    def through(change: Tensor) -> Tensor:
        return problem.error(shrunk((origin + change).clamp(0, 1)))

    with torch.enable_grad():
        moved = (origin + _in_ball(origin.shape, through, settings, half, generator, progress.turn)).clamp(0, 1)
        progress.tell(0.5, 0.0)
        with torch.no_grad():
            lr = to_float(to_uint8(shrunk(moved)))
        inner = copy.copy(problem)
        inner.target = problem.counting(moved)
        rest = max(settings.iterations - half, 1)
        change = _in_ball(lr.shape, lambda d: inner.error((lr + d).clamp(0, 1)), settings, rest, generator, progress.turn)
    progress.tell(1.0, 0.0)
    return to_float(to_uint8(lr + change))


def squared_error(rescaler: PictureRescaler, hr: Pixels, lr: Pixels, turn: Turn = ALONE) -> float:
    """Mean squared error, in 8-bit levels, of what an LR image (h, w, C) restores to against the original (H, W, C)."""
    restored = rescaler.restore(lr, turn=turn, was_grey=hr.shape[2] == 1)[: hr.shape[0], : hr.shape[1]]
    total = 0
    for row in range(0, len(hr), BAND):
        difference = restored[row : row + BAND].astype(np.int32) - hr[row : row + BAND]
        total += int(np.sum(difference**2, dtype=np.int64))
    return total / hr.size


def refine(
    rescaler: PictureRescaler,
    hr: Pixels,
    lr: Pixels,
    settings: Refinement,
    observe: Observe = lambda done, gain: None,
    turn: Turn = ALONE,
) -> Refined:
    """Move the LR image (h, w, C) of an original (H, W, C), both uint8, so that it restores better.

    C may differ: of a grey original with an LR image in colour all three channels move, and it is their restored mean
    that counts.

    ``observe`` hears the share done and the gain in dB of the window at hand; where it returns True the
    best found so far is taken. The result is never worse than ``lr``: errors are those of the 8-bit files,
    computed exactly as ``up`` does. Deterministic for a seed. Raises ``UsageError`` for networks without gradients,
    ``Abandoned`` once ``turn`` is cancelled.
    """
    scale, device = rescaler.scale, rescaler.device
    down, up = rescaler.networks
    descended = (up,) if settings.method == "fast" else (down, up)
    if not all(network.differentiable for network in descended):
        raise UsageError(f"{rescaler.id} has no gradients, so its images cannot be refined")
    before = squared_error(rescaler, hr, lr, turn)
    now = to_tensor(lr, device)
    # the published method moves windows one by one from where the image stood, ours from where its neighbours have got to
    origin = now.clone()
    generator = torch.Generator().manual_seed(settings.seed)
    halo = up.halo if all(network.halo is not None for network in descended) else None
    every = list(windows(lr.shape[0], lr.shape[1], halo))
    progress = _Progress(observe, turn, len(every))
    for index, window in enumerate(every):
        progress.window = index
        here = to_tensor(cut(hr, *(Span(*(n * scale for n in span)) for span in window)), device)
        rows, columns = (slice(span.first, span.last) for span in window)
        stand = (now if settings.method == "fast" else origin)[:, :, rows, columns].clone()
        problem = _Problem(up, scale, here, stand, window, hr.shape[:2])
        with autocast(device, rescaler.precision):
            if settings.method == "fast":
                best = _fast(problem, settings, progress)
            else:
                best = _hcd(problem, settings, down, here, generator, progress)
        y, x = problem.core
        now[:, :, window.rows.start : window.rows.stop, window.columns.start : window.columns.stop] = best[:, :, y, x]
        if progress.stopped:
            break
    refined = to_uint8(now)[0].permute(1, 2, 0).cpu().numpy()
    after = squared_error(rescaler, hr, refined, turn)
    return Refined(refined, before, after) if after < before else Refined(lr, before, before)


def down_refined(
    rescaler: PictureRescaler,
    picture: Picture,
    settings: Refinement,
    tile: int | None = None,
    observe: Observe = lambda done, gain: None,
    turn: Turn = ALONE,
    *,
    keep_grey: bool = False,
) -> tuple[Picture, Refined]:
    """The refined LR picture of a picture, its tag saying so, and what refining brought.

    ``keep_grey`` is that of ``down_picture``.
    """
    plain = rescaler.down_picture(picture, tile, turn, keep_grey=keep_grey)
    assert plain.tag is not None
    hr = filled(picture.pixels, picture.alpha)  # what is hidden is not worth a gradient
    refined = refine(rescaler, hr, plain.pixels, settings, observe, turn)
    gain = min(refined.gain, 99.0)
    tag = replace(plain.tag, refinement=f"{settings.method} {settings.iterations} {gain:+.2f} dB")
    return replace(plain, pixels=refined.lr, tag=tag), refined
