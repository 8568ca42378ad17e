"""The training loop, phase by phase: data, networks, resume, steps, validation, checkpoint.

A run lives in a folder of its own: ``state.pt`` (everything that resuming needs),
``best.safetensors`` (the averaged weights that validated best) and ``log.jsonl``.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from carcli.errors import UsageError, WeightsError
from carcli.runtime.device import autocast, has_bf16, processor
from carcli.training import data
from carcli.training import distributed as parallel
from carcli.training import state as states
from carcli.training.collapse import Watch
from carcli.training.objective import Objective
from carcli.training.optimisers import Optimisers
from carcli.training.recipe import Recipe
from carcli.training.revive import revive, silent_channels
from carcli.training.start import networks
from carcli.training.validate import Fidelity, validate
from carcli.training.winograd import use_winograd
from carcli.weights import checkpoint

PAUSE = 5.0  # seconds: a longer step means the machine slept, and does not count against the budget
SAVE_EVERY = 60.0  # seconds of stepping
VALIDATE_EVERY = 150.0  # seconds of stepping, or steps where steps are the budget
VALIDATION_CROPS, VALIDATION_SIDE = 24, 192
MOST_ROLLBACKS = 10
LISTENED = 4  # batches: a channel that is silent on all of them is taken to be silent for good


@dataclass(frozen=True)
class Run:
    """Where a run lives and when it ends: after ``minutes`` of stepping, or ``steps`` where given."""

    folder: Path
    minutes: float
    steps: int | None = None
    device: str = "cpu"
    resume: bool = False
    init: str | None = None  # a checkpoint whose weights to start from: family, id or file
    validations: int | None = None  # how often to validate, evenly over the run
    learning_rate: float | None = None  # instead of the recipe's
    compile: bool = False  # torch.compile: seconds to minutes once, then faster steps on a GPU


@dataclass(frozen=True)
class Progress:
    """What a run tells its observer after every step."""

    step: int
    done: float  # fraction of the budget
    loss: float  # running mean
    fidelity: Fidelity | None  # of the latest validation
    best: float  # dB, held-out HR
    steps_per_second: float
    rollbacks: int
    validated: bool  # whether this step ended with a validation


class Stopped(Exception):  # noqa: N818 - not an error
    """A run that was asked to stop and has saved its state."""


def rate_at(done: float, recipe: Recipe) -> float:
    """Learning rate as a fraction of the peak: linear warm-up, then a cosine down to ``final``."""
    warmup, final = recipe.optimiser.warmup, recipe.optimiser.final
    if done < warmup:
        return max(done / warmup, 0.01)
    fall = (min(done, 1.0) - warmup) / max(1 - warmup, 1e-9)
    return final + (1 - final) * (1 + math.cos(math.pi * fall)) / 2


def guidance_at(done: float, recipe: Recipe) -> float:
    """Share of the LR guidance's weight: from a hundredth, geometrically, to all of it.

    Under full guidance from the start, a decoder that cannot read the LR yet gives an encoder no
    reason to write anything into it.
    """
    rise = recipe.loss.guidance_rise
    return 0.01 ** (1 - done / rise) if done < rise else 1.0


def _average(average: nn.Module, objective: Objective, decay: float) -> None:
    new = (*objective.down.parameters(), *objective.up.parameters())
    with torch.no_grad():
        for kept, parameter in zip(average.parameters(), new, strict=True):
            kept.lerp_(parameter, 1 - decay)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} CPU thread{'s' * (threads > 1)}"


def train(
    recipe: Recipe,
    sources: Sequence[Path],
    run: Run,
    observe: Callable[[Progress], None] = lambda progress: None,
    skip: Callable[[Path, str], None] = lambda path, reason: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a pair and return the path of its best checkpoint.

    ``observe`` is called after every step, ``skip`` for every image that cannot be used;
    once ``stop`` says so the run saves its state and raises ``Stopped``. Under ``torchrun``
    every process calls this, and the first one observes.

    Raises ``UsageError`` for data or folders that cannot be used, ``WeightsError`` for an
    unusable checkpoint to start from or to resume, or for a run that collapses time and again.
    """
    device = parallel.local_device(torch.device(run.device))
    world = parallel.join(device)
    try:
        return _train(recipe, sources, run, device, world, observe, skip, stop)
    finally:
        world.leave()


def _train(
    recipe: Recipe,
    sources: Sequence[Path],
    run: Run,
    device: torch.device,
    world: parallel.World,
    observe: Callable[[Progress], None],
    skip: Callable[[Path, str], None],
    stop: Callable[[], bool],
) -> Path:
    # data
    scale = recipe.model.scale
    if recipe.data.batch % world.size:
        raise UsageError(f"recipe {recipe.name}: a batch of {recipe.data.batch} cannot be shared by {world.size} processes")
    photographs = data.load(sources, recipe.data.patch * scale)
    for path, reason in photographs.skipped if world.first else ():
        skip(path, reason)
    recursion = recipe.model.recursion
    deepest = scale ** max(recursion)
    if recipe.data.patch * scale % deepest:
        raise UsageError(
            f"recipe {recipe.name}: patches of {recipe.data.patch * scale} pixels cannot be made {deepest} times smaller"
        )
    crops = data.validation_crops(photographs.held_out, VALIDATION_SIDE, VALIDATION_CROPS, max(8, deepest))
    sampler = data.PatchSampler(photographs.train, recipe.data.patch * scale, recipe.data.batch, recipe.data.seed, device)

    # networks
    pair, taken = networks(recipe, run.init)
    description = checkpoint.Description(recipe.name, recipe.model.family, scale, recipe.model.down, recipe.model.up)
    objective = Objective(pair, recipe).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(nn.ModuleDict(pair._asdict())).requires_grad_(False).eval()
    precision = "bf16" if has_bf16(device) else "fp32"
    if device.type == "cpu" and precision == "fp32":
        use_winograd(objective)
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimiser = Optimisers(trained, replace(recipe.optimiser, rate=run.learning_rate or recipe.optimiser.rate), device)
    state = states.State(objective, average, optimiser, Watch(recipe.optimiser.collapse))
    step_of: Callable[..., Any] = world.wrap(objective, device)
    if run.compile:
        step_of = torch.compile(step_of)

    # resume
    state_path, best_path, log_path = (run.folder / n for n in ("state.pt", "best.safetensors", "log.jsonl"))

    def log(event: str, **fields: object) -> None:
        if world.first:
            with log_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, "step": state.counters.step, **fields}) + "\n")

    def save() -> None:
        if world.first:
            states.save(state_path, state, recipe)

    if world.from_first(state_path.exists()):
        if not run.resume:
            raise UsageError(f"{run.folder}: holds a run already; continue it with --resume or name another --output")
        state.restore(world.from_first(states.read(state_path, recipe, torch.device("cpu")) if world.first else None))
    elif world.first:
        run.folder.mkdir(parents=True, exist_ok=True)
        log_path.unlink(missing_ok=True)
        save()
    log(
        "start", recipe=asdict(recipe), device=_name(device), processes=world.size, precision=precision,
        images=len(photographs.train), held_out=len(photographs.held_out), init=run.init, taken=taken,
    )  # fmt: skip

    def revive_silent() -> None:
        silent: dict[str, torch.Tensor] = {}
        if world.first:
            with autocast(device, precision):
                silent = silent_channels(objective, [sampler(counters.step + n) for n in range(LISTENED)])
        silent = world.from_first(silent)
        for nets in (objective, average):
            count = revive(nets, silent, recipe.data.seed + counters.step)
        log("revival", channels=count)

    # budget
    counters = state.counters
    budget = float(run.steps) if run.steps is not None else 60 * run.minutes
    validations = run.validations or max(4, round(budget / VALIDATE_EVERY))

    def done() -> float:
        return (counters.step if run.steps is not None else counters.elapsed) / budget

    # steps
    fidelity: Fidelity | None = None
    saved = marked = counters.elapsed
    mark_step, speed, due = counters.step, 0.0, math.floor(done() * validations) + 1
    if counters.step == 0 and recipe.optimiser.revive:
        revive_silent()
    while done() < 1:
        began = time.monotonic()
        rate = optimiser.set_pace(counters.pace * rate_at(done(), recipe))
        hr = sampler(counters.step, world.rank, world.size)
        with autocast(device, precision):
            guidance = torch.tensor(guidance_at(done(), recipe), device=device)
            terms = step_of(hr, recursion[counters.step % len(recursion)], guidance)
        optimiser.zero_grad()
        terms.loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, recipe.optimiser.clip or math.inf)
        seconds = min(time.monotonic() - began, PAUSE) if world.first else 0.0
        told = torch.stack([terms.loss.detach(), terms.lr_distance, norm * 0]).cpu().double()
        told = torch.cat([told / world.size, torch.tensor([seconds, float(stop())], dtype=torch.float64)])
        loss, distance, finite, seconds, stopping = world.total(told).tolist()
        loss += finite  # nothing, or what makes it count as not finite
        state.watch.see(loss, distance)
        if math.isfinite(loss):
            optimiser.step()
        else:
            counters.skipped += 1
        counters.step += 1
        counters.elapsed += seconds
        _average(average, objective, min(recipe.optimiser.ema, counters.step / (counters.step + 10)))

        if state.watch.collapsed:
            if counters.rollbacks == MOST_ROLLBACKS:
                raise WeightsError(f"{run.folder}: collapsed {MOST_ROLLBACKS} times; lower the learning rate and try again")
            fallen = counters
            state.restore(world.from_first(states.read(state_path, recipe, torch.device("cpu")) if world.first else None))
            state.watch.reset()
            counters = state.counters
            counters.elapsed, counters.skipped, counters.best = fallen.elapsed, fallen.skipped, fallen.best
            counters.rollbacks, counters.pace = fallen.rollbacks + 1, fallen.pace / 2
            log("rollback", collapsed_at=fallen.step, pace=counters.pace)
            save()
            mark_step, marked, due = counters.step, counters.elapsed, math.floor(done() * validations) + 1

        validated = done() >= 1 or done() * validations >= due
        if validated:
            due = math.floor(done() * validations) + 1
            if world.first:
                fidelity = validate(average["down"], average["up"], crops, scale, device, recursion)
                if fidelity.hr > counters.best and guidance_at(done(), recipe) == 1:
                    counters.best = fidelity.hr
                    checkpoint.write(best_path, description, average["down"], average["up"])
                log(
                    "validation", minutes=round(counters.elapsed / 60, 2), loss=round(state.watch.loss_slow, 6),
                    hr=round(fidelity.hr, 3), lr=round(fidelity.lr, 3), lr_rgb=round(fidelity.lr_rgb, 3),
                    seen=round(fidelity.seen, 3), rate=rate,
                    skipped=counters.skipped, rollbacks=counters.rollbacks,
                )  # fmt: skip
            if done() < recipe.optimiser.revive:
                revive_silent()
        if stopping or done() >= 1 or (state.watch.calm and (validated or counters.elapsed - saved >= SAVE_EVERY)):
            save()
            saved = counters.elapsed
        if counters.elapsed - marked >= 1:
            speed = (counters.step - mark_step) / (counters.elapsed - marked)
            if counters.elapsed - marked >= 30:
                mark_step, marked = counters.step, counters.elapsed
        if world.first:
            observe(
                Progress(counters.step, min(done(), 1.0), state.watch.loss_slow, fidelity, counters.best, speed,
                         counters.rollbacks, validated)
            )  # fmt: skip
        if stopping and done() < 1:
            raise Stopped(f"stopped after {counters.step} steps; continue with --resume")
    if world.first and not best_path.exists():
        raise WeightsError(f"{run.folder}: no step gave a usable network; lower the learning rate and try again")
    return best_path
