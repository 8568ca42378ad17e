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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carcli.errors import UsageError, WeightsError
from carcli.files import write_whole
from carcli.models.layers import bicubic_down
from carcli.models.registry import build
from carcli.models.resampler_net import ContentAdaptiveResampler, ResamplerHeads
from carcli.ops.quantize import quantize_soft, quantize_ste
from carcli.ops.resample import resample
from carcli.training import data, losses
from carcli.training.recipe import Recipe
from carcli.training.validate import Fidelity, validate
from carcli.weights import checkpoint

PAUSE = 5.0  # seconds: a longer step means the machine slept, and does not count against the budget
VALIDATION_CROPS, VALIDATION_SIDE = 24, 192


@dataclass(frozen=True)
class Run:
    """Where a run lives and when it ends: after ``minutes`` of stepping, or ``steps`` where given."""

    folder: Path
    minutes: float
    steps: int | None = None
    device: str = "cpu"
    resume: bool = False
    init: Path | None = None  # a checkpoint whose weights to start from
    validate_every: float = 150.0  # seconds of stepping
    learning_rate: float | None = None  # instead of the recipe's


@dataclass(frozen=True)
class Progress:
    """What a run tells its observer at every validation."""

    step: int
    done: float  # fraction of the budget
    loss: float
    fidelity: Fidelity
    best: float
    steps_per_second: float


def rate_at(done: float, recipe: Recipe) -> float:
    """Learning rate as a fraction of the peak: linear warm-up, then a cosine down to ``final``."""
    warmup, final = recipe.optimiser.warmup, recipe.optimiser.final
    if done < warmup:
        return max(done / warmup, 0.01)
    fall = (min(done, 1.0) - warmup) / max(1 - warmup, 1e-9)
    return final + (1 - final) * (1 + math.cos(math.pi * fall)) / 2


def _loss(pair: nn.ModuleDict, hr: Tensor, recipe: Recipe) -> Tensor:
    weights, scale, down = recipe.loss, recipe.model.scale, pair["down"]
    total = hr.new_zeros(())
    if isinstance(down, ContentAdaptiveResampler) and (weights.offset_distance or weights.partial_tv):
        heads = cast(ResamplerHeads, down.net(hr))
        lr = resample(hr, heads.kernels, heads.offsets_h, heads.offsets_v, scale, heads=down.net.heads)
        distance, tv = losses.offset_regularisers(heads, scale, down.net.heads)
        total = total + weights.offset_distance * distance + weights.partial_tv * tv
    else:
        lr = down(hr)
    lr = lr.float()
    rounded = {"straight-through": quantize_ste, "soft": quantize_soft, "none": lambda x: x}[weights.rounding](lr)
    sr = pair["up"](rounded).float()
    total = total + (F.l1_loss(sr, hr) if weights.reconstruction == "l1" else F.mse_loss(sr, hr))
    if weights.lr_guidance:
        total = total + weights.lr_guidance * F.l1_loss(lr, bicubic_down(hr, scale))
    return total + weights.out_of_range * losses.out_of_range(lr)


def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            kept.lerp_(new, 1 - decay)


def _save(path: Path, state: dict[str, Any]) -> None:
    write_whole(path, lambda file: torch.save(state, file))


def train(
    recipe: Recipe,
    sources: Sequence[Path],
    run: Run,
    observe: Callable[[Progress], None] = lambda progress: None,
    skip: Callable[[Path, str], None] = lambda path, reason: None,
) -> Path:
    """Train a pair and return the path of its best checkpoint.

    ``observe`` is called at every validation, ``skip`` for every image that cannot be used.

    Raises ``UsageError`` for data or folders that cannot be used, ``WeightsError`` for an
    unusable checkpoint to start from or to resume.
    """
    # data
    scale, device = recipe.model.scale, torch.device(run.device)
    photographs = data.load(sources, recipe.data.patch * scale)
    for path, reason in photographs.skipped:
        skip(path, reason)
    sampler = data.PatchSampler(photographs.train, recipe.data.patch * scale, recipe.data.batch, recipe.data.seed)
    crops = data.validation_crops(photographs.held_out, VALIDATION_SIDE, VALIDATION_CROPS, max(8, scale))

    # networks
    torch.manual_seed(recipe.data.seed)
    description = checkpoint.Description(recipe.name, recipe.model.family, scale, recipe.model.down, recipe.model.up)
    architecture = {"down": recipe.model.down, "up": recipe.model.up}
    model = nn.ModuleDict(build(recipe.model.family, scale, architecture)._asdict())
    if run.init is not None:
        start = checkpoint.read(run.init, description)
        model.load_state_dict(nn.ModuleDict(start._asdict()).state_dict())
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    rate = run.learning_rate or recipe.optimiser.rate
    optimiser = torch.optim.Adam(trained, rate, recipe.optimiser.betas)

    # resume
    run.folder.mkdir(parents=True, exist_ok=True)
    state_path, best_path, log_path = (run.folder / n for n in ("state.pt", "best.safetensors", "log.jsonl"))
    step, elapsed, best, skipped = 0, 0.0, -math.inf, 0
    if run.resume and state_path.exists():
        try:
            state = torch.load(state_path, map_location=device, weights_only=True)
            model.load_state_dict(state["model"])
            average.load_state_dict(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            step, elapsed, best, skipped = state["step"], state["elapsed"], state["best"], state["skipped"]
        except Exception as error:
            raise WeightsError(f"{state_path}: cannot resume from it ({error})") from error
    elif state_path.exists():
        raise UsageError(f"{run.folder}: holds a run already; continue it with --resume or name another --output")
    else:
        log_path.unlink(missing_ok=True)

    def done() -> float:
        return step / run.steps if run.steps is not None else elapsed / (60 * run.minutes)

    def checkpoint_and_report(loss: float, speed: float) -> None:
        nonlocal best
        average.eval()
        fidelity = validate(average["down"], average["up"], crops, scale, device)
        if fidelity.hr > best:
            best = fidelity.hr
            checkpoint.write(best_path, description, average["down"], average["up"])
        state = {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        _save(state_path, {**state, "step": step, "elapsed": elapsed, "best": best, "skipped": skipped})
        record = {"step": step, "minutes": round(elapsed / 60, 2), "loss": round(loss, 6), "hr": round(fidelity.hr, 3),
                  "lr": round(fidelity.lr, 3), "rate": optimiser.param_groups[0]["lr"], "skipped": skipped}  # fmt: skip
        with log_path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        observe(Progress(step, min(done(), 1.0), loss, fidelity, best, speed))

    # steps
    running, marked, mark_step = math.nan, elapsed, step
    while done() < 1:
        began = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = rate * rate_at(done(), recipe)
        hr = sampler(step).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            loss = _loss(model, hr, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, recipe.optimiser.clip)
        value = float(loss.detach())
        if math.isfinite(value) and math.isfinite(float(norm)):
            optimiser.step()
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        else:
            skipped += 1
        step += 1
        _average(average, model, min(recipe.optimiser.ema, step / (step + 10)))
        elapsed += min(time.monotonic() - began, PAUSE)
        if elapsed - marked >= run.validate_every and done() < 1:
            checkpoint_and_report(running, (step - mark_step) / (elapsed - marked))
            marked, mark_step = elapsed, step
    checkpoint_and_report(running, (step - mark_step) / max(elapsed - marked, 1e-9))
    if not best_path.exists():
        raise WeightsError(f"{run.folder}: no step gave a usable network; lower the learning rate and try again")
    return best_path
