"""A pair in training: it steps, validates, saves and goes back.

What it keeps in its folder as ``best`` are the averaged weights that validated best.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from carcli.errors import UsageError, WeightsError
from carcli.runtime.device import autocast, has_bf16, processor
from carcli.runtime.schema import SCHEMA
from carcli.training import data
from carcli.training import distributed as parallel
from carcli.training import recipe as recipes
from carcli.training import state as states
from carcli.training.data import PatchSampler, Photographs
from carcli.training.folder import RunFolder
from carcli.training.health import CollapseWatch, revive, silent_channels
from carcli.training.objective import Objective, Terms
from carcli.training.optimisers import Optimisers
from carcli.training.recipe import Recipe
from carcli.training.run import Progress, Run
from carcli.training.schedule import Budget, Schedule, Speed
from carcli.training.start import networks
from carcli.training.validate import Fidelity, validate
from carcli.training.winograd import use_winograd
from carcli.weights import checkpoint
from carcli.weights.description import Description

PAUSE = 5.0  # seconds: a longer step means the machine slept, and does not count against the budget
SAVE_EVERY = 60.0  # seconds of stepping
VALIDATION_CROPS, VALIDATION_SIDE = 24, 192
QUALITIES = (75, 90)  # of the JPEG files that a pair is validated through where it is trained through them
MOST_ROLLBACKS = 10
LISTENED = 4  # batches: a channel that is silent on all of them is taken to be silent for good


@dataclass(frozen=True)
class Step:
    """What all processes know of a step together."""

    loss: float  # mean over the batch
    lr_distance: float
    finite: bool  # loss and gradient, in every process
    seconds: float  # of the first process
    stopping: bool  # whether any process was asked to stop


class Trainer:
    """A pair in training, with all that belongs to its run; one in each process.

    Raises ``UsageError`` and ``WeightsError`` as ``train`` does.
    """

    def __init__(self, recipe: Recipe, photographs: Photographs, run: Run, device: torch.device, world: parallel.World) -> None:
        self.recipe, self.run, self.device, self.world = recipe, run, device, world
        self.folder = RunFolder(run.folder)
        scale, self.recursion = recipe.model.scale, recipe.model.recursion

        # data
        patch = recipe.data.patch * scale
        smallest = max(8, scale ** max(self.recursion))  # what its size is a multiple of
        self.crops = data.validation_crops(photographs.held_out, VALIDATION_SIDE, VALIDATION_CROPS, smallest)
        self.held_out = len(photographs.held_out)
        self.sampler = PatchSampler(photographs.train, patch, recipe.data.batch, recipe.data.seed, device)

        # networks
        pair, self.taken = networks(recipe, run.init)
        self.objective = Objective(pair, recipe).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(nn.ModuleDict(pair._asdict())).requires_grad_(False).eval()
        self.precision = "bf16" if has_bf16(device) else "fp32"
        if device.type == "cpu" and self.precision == "fp32":
            use_winograd(self.objective)
        self.loss_of: Callable[..., Terms] = world.wrap(self.objective, device)
        if run.compile:
            self.loss_of = torch.compile(self.loss_of)

        # what changes from step to step
        rate = run.learning_rate
        optimiser = recipe.optimiser if rate is None else recipes.change(recipe, optimiser={"rate": rate}).optimiser
        self.trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimiser = Optimisers(self.trained, optimiser, device)
        self.watch = CollapseWatch(optimiser.collapse)
        self.state = states.State(self.objective, self.average, self.optimiser, self.watch)
        self.schedule = Schedule(recipe)
        self.budget = Budget(run.minutes or recipe.minutes, run.steps, run.validations)
        self.rate = 0.0  # of the latest step
        self.fidelity: Fidelity | None = None
        self.speed = Speed(self.counters)
        self._stage, self._saved = 0, 0.0  # of the latest validation; seconds of stepping at the latest save

    @property
    def counters(self) -> states.Counters:
        return self.state.counters

    @property
    def done(self) -> float:
        """The fraction of the budget that is spent."""
        return self.budget.done(self.counters)

    @property
    def due(self) -> bool:
        """Whether the run is to be validated now."""
        return self.done >= 1 or self.budget.stage(self.counters) > self._stage

    def progress(self, validated: bool) -> Progress:
        """For an observer."""
        return Progress(
            step=self.counters.step,
            done=min(self.done, 1.0),
            loss=self.watch.loss_slow,
            fidelity=self.fidelity,
            best=self.counters.best,
            steps_per_second=self.speed.steps_per_second,
            rollbacks=self.counters.rollbacks,
            validated=validated,
        )

    def begin(self) -> None:
        """Begin in an empty folder, or go on from the state in it if the run says so."""
        if self.world.from_first(self.folder.holds_a_run()):
            if not self.run.resume:
                raise UsageError(f"{self.run.folder}: holds a run already; continue it with --resume or name another --output")
            self._restore()
            if self.world.first:
                with self.folder.writing(self._rescue):
                    self.folder.clear()
        elif self.world.first:
            with self.folder.writing(self._rescue):
                self.folder.clear()
                self.folder.log.unlink(missing_ok=True)
            self.save()
        self._count_from_here()
        self._log(
            "start",
            recipe=self.recipe.model_dump(mode="json"),
            device=_name(self.device),
            processes=self.world.size,
            precision=self.precision,
            images=len(self.sampler.sizes),
            held_out=self.held_out,
            init=self.run.init,
            taken=self.taken,
        )
        if self.counters.step == 0 and self.recipe.optimiser.revive:
            self.revive()

    def _keep(self) -> None:
        states.save(self.folder.state, self.state, self.recipe)

    def _rescue(self) -> None:
        """Keep what was trained, unless it is worse than what is kept."""
        if self.watch.calm:
            self._keep()

    def step(self, stop: Callable[[], bool]) -> Step:
        """One step along the gradient of one batch; none where it is not finite."""
        began = time.monotonic()
        counters = self.counters
        self.rate = self.optimiser.set_pace(counters.pace * self.schedule.rate_at(self.done))
        hr = self.sampler(counters.step, self.world.rank, self.world.size)
        with autocast(self.device, self.precision):
            guidance = torch.tensor(self.schedule.guidance_at(self.done), device=self.device)
            terms = self.loss_of(hr, self.recursion[counters.step % len(self.recursion)], guidance)
        self.optimiser.zero_grad()
        terms.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained, self.recipe.optimiser.clip or math.inf)
        step = self._together(terms, norm, began, stop)
        self.watch.see(step.loss if step.finite else math.nan, step.lr_distance)
        if step.finite:
            self.optimiser.step()
        else:
            counters.skipped += 1
        counters.step += 1
        counters.elapsed += step.seconds
        self._take_into_average()
        self.speed.see(counters)
        return step

    def _together(self, terms: Terms, norm: Tensor, began: float, stop: Callable[[], bool]) -> Step:
        """What the processes' steps, with gradients of this ``norm``, are as one."""
        finite = torch.isfinite(terms.loss) & torch.isfinite(norm)
        figures = torch.stack([terms.loss.detach(), terms.lr_distance, finite.to(terms.loss)]).cpu().double()
        seconds = min(time.monotonic() - began, PAUSE) if self.world.first else 0.0  # the device is ready: figures are here
        told = torch.cat([figures, torch.tensor([seconds, float(stop())], dtype=torch.float64)])
        loss, distance, all_finite, seconds, stopping = self.world.total(told).tolist()
        size = self.world.size
        return Step(
            loss=loss / size,
            lr_distance=distance / size,
            finite=all_finite == size,
            seconds=seconds,
            stopping=stopping > 0,
        )

    def _take_into_average(self) -> None:
        decay = min(self.recipe.optimiser.ema, self.counters.step / (self.counters.step + 10))
        newest = (*self.objective.down.parameters(), *self.objective.up.parameters())
        with torch.no_grad():
            for mean, parameter in zip(self.average.parameters(), newest, strict=True):
                mean.lerp_(parameter, 1 - decay)

    def validate(self) -> None:
        """Measure the averaged pair on what is held out, keep it where it is the best yet, and revive what is silent."""
        counters, recipe = self.counters, self.recipe
        self._stage = self.budget.stage(counters)
        if self.world.first:
            down, up = self.average["down"], self.average["up"]
            qualities = QUALITIES if recipe.loss.carrier == "jpeg" else ()
            fidelity = validate(down, up, self.crops, recipe.model.scale, self.device, self.recursion, qualities)
            if fidelity.hr > counters.best and self.schedule.guidance_at(self.done) == 1:
                counters.best = fidelity.hr
                model = recipe.model
                carrier = None if recipe.loss.carrier == "none" else recipe.loss.carrier
                description = Description(recipe.name, model.family, model.scale, model.down, model.up, carrier)
                with self.folder.writing(self._rescue):
                    checkpoint.write(self.folder.best, description, down, up)
            self.fidelity = fidelity
            self._log(
                "validation",
                minutes=round(counters.elapsed / 60, 2),
                loss=round(self.watch.loss_slow, 6),
                **{name: round(psnr, 3) for name, psnr in fidelity.record().items()},
                rate=self.rate,
                skipped=counters.skipped,
                rollbacks=counters.rollbacks,
            )
        if self.done < recipe.optimiser.revive:
            self.revive()

    def revive(self) -> None:
        """Draw hidden channels anew that are silent on the next few batches."""
        step = self.counters.step
        silent: dict[str, Tensor] = {}
        if self.world.first:
            with autocast(self.device, self.precision):
                silent = silent_channels(self.objective, [self.sampler(step + n) for n in range(LISTENED)])
        silent = self.world.from_first(silent)
        count = 0
        for pair in (self.objective, self.average):
            count = revive(pair, silent, self.recipe.data.seed + step)
        self._log("revival", channels=count)

    def roll_back(self) -> None:
        """Go back to the latest saved state, and on from there at half the rate.

        Raises ``WeightsError`` where that has happened time and again.
        """
        fallen = self.counters
        if fallen.rollbacks == MOST_ROLLBACKS:
            raise WeightsError(f"{self.run.folder}: collapsed {MOST_ROLLBACKS} times; lower the learning rate and try again")
        self._restore()
        self.watch.reset()
        counters = self.counters
        counters.elapsed, counters.skipped, counters.best = fallen.elapsed, fallen.skipped, fallen.best
        counters.rollbacks, counters.pace = fallen.rollbacks + 1, fallen.pace / 2
        self._log("rollback", collapsed_at=fallen.step, pace=counters.pace)
        self.save()
        self._count_from_here()

    def worth_saving(self, validated: bool) -> bool:
        """Whether the state is one to go back to, and newer than the saved one by enough."""
        return self.watch.calm and (validated or self.counters.elapsed - self._saved >= SAVE_EVERY)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        self._saved = self.counters.elapsed
        if self.world.first:
            with self.folder.writing(self._rescue):
                self._keep()

    def _restore(self) -> None:
        kept = states.read(self.folder.state, self.recipe, torch.device("cpu")) if self.world.first else None
        try:
            self.state.restore(self.world.from_first(kept))
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise WeightsError(f"{self.folder.state}: cannot resume from it, for it is of other networks, or damaged") from error

    def _count_from_here(self) -> None:
        self._stage, self._saved = self.budget.stage(self.counters), self.counters.elapsed
        self.speed.restart(self.counters)

    def _log(self, event: str, **fields: object) -> None:
        if self.world.first:
            with self.folder.writing(self._rescue):
                self.folder.note({"schema": SCHEMA, "event": event, "step": self.counters.step, **fields})


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} CPU thread{'s' * (threads > 1)}"
