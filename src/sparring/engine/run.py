"""`run`: attack every image of a tensor, batch by batch."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import Attack, Budget, Decisions, Keep, Shared
from ..errors import (
    AccessError,
    ConfigError,
    GoalError,
    InputError,
    OutOfMemoryError,
    ThreatError,
    out_of_memory,
)
from ..geometry.region import Region
from ..goals import Goal
from ..inputs import Images, Inputs
from ..isolation import isolated
from ..random import Key
from ..rows import flatten, floats_to, outside_inference, take, to
from ..targets import Target, TorchModule, as_target, check_context, check_task
from ..zoo.loaded import LoadedModel
from .answers import FEW
from .arguments import as_budget, as_engine, as_indices, as_keep, as_radii, as_tensor
from .checkpoint import Checkpoint, fingerprint, identity_of, kept_checkpoint
from .given import goal_and_inputs
from .options import Engine, Progress
from .outcome import Outcome, joined, with_remarks
from .search import Search, on_device

A = TypeVar("A", bound=Decisions)
DOORS = {"fit": "it makes one artifact for many images", "run": "it attacks each image by itself"}


@dataclass(frozen=True)
class Job:
    """The arguments of one call of `run`, checked."""

    attack: Attack[Any, Any]
    target: Target[Any]
    goal: Goal
    region: Region
    indices: Tensor
    begin: Tensor | None
    context: Any
    keep: Keep
    budget: Budget
    engine: Engine


@isolated()
def run(
    attack: Attack[A, Any],
    target: Target[A] | TorchModule | LoadedModel,
    goal: Any,
    x: Any = None,
    *,
    indices: Tensor | None = None,
    mask: Tensor | None = None,
    eps: Tensor | float | None = None,
    start: Tensor | None = None,
    context: Any = None,
    keep: Keep | str | None = None,
    budget: Budget | None = None,
    engine: Engine | None = None,
) -> Outcome:
    """Attack the images `x` (N, C, H, W) in [0, 1], or whatever the target takes; `goal` has one row per input.

    Args:
        attack: the attack; it must not need more access than the target grants.
        target: what is attacked; a module alone is a `Classifier` of images in [0, 1]. Its mode, gradients and buffers
            are restored afterwards.
        goal: what counts as success; labels (N,) mean `Misclassify(labels)`.
        x: the inputs; or in their place whatever `load_data` takes: an array, a data set, "folder:DIR". Labelled data
            may also be given alone, with neither goal nor `x` beside it, and images before their labels.
        indices: (N,) int64, the images' positions in their data set, which key their randomness; 0 to N - 1 by default.
        mask: bool, like `x` or broadcast over it: true where a component may move. None: everywhere.
        eps: (N,) a radius for each image, or one number, in place of that of the attack's ball.
        start: images like `x` to begin at, for attacks with `accepts_start`: Square, the decision attacks, PGD.
        context: data beside the images, a frozen dataclass whose tensors have one row per image (boxes, landmarks,
            which points are present), for targets that take it (`Target.takes_context`).
        keep: which example to return, a `Keep` or its word; the attack's own choice by default.
        budget: passes per example.
        engine: how to run; see `Engine`.

    Returns:
        An `Outcome` with one row per image. Every success in it was measured again on the example returned.

    Raises:
        InputError, ThreatError, TargetError, GoalError, AccessError: before the search starts.
        RunError: a checkpoint that cannot be read or written.
    """
    engine, budget, kept = as_engine(engine), as_budget(budget), as_keep(keep)
    target = as_target(target)
    check_access(attack, target, Attack)
    goal, x = goal_and_inputs(target, goal, x)
    x, mask, start, context = (outside_inference(as_tensor(given)) for given in (x, mask, start, context))
    check_images(x, goal, target.inputs)
    check_task(target, goal)
    check_context(target, context, len(x))
    region = region_of(attack, target, x, mask, outside_inference(as_radii(eps, len(x))))
    aim = target.adapt_goal(goal_like(goal, x, target))
    attack.check(region)
    attack.check_goal(aim)
    if start is not None:
        check_start(attack, start, region)
    started = time.perf_counter()
    places = as_indices(indices, len(x))
    job = Job(attack, target, aim, region, places, start, context, kept or attack.keep, budget, engine)
    with kept_checkpoint(engine), target.frozen():
        parts = _batches(job)
        return with_remarks(joined(parts, time.perf_counter() - started))


def goal_like(goal: Goal, x: Tensor, target: Target[Any]) -> Goal:
    """Return the goal on the target's device, its numbers in the dtype of the inputs `x`, as the answers are."""
    return floats_to(to(outside_inference(goal), target.device), x.dtype)


def check_access(attack: Any, target: Target[Any], kinds: type | UnionType = Attack | Shared) -> None:
    """Raise AccessError where the attack needs more access than the target grants, ConfigError where it is none.

    `kinds` are the attacks that are served.
    """
    given: Any = attack
    if not isinstance(given, kinds):
        if isinstance(attack, Attack | Shared):
            door = "fit" if isinstance(attack, Shared) else "run"
            raise ConfigError(f"{attack.name} is an attack for sparring.{door}: {DOORS[door]}")
        kind = attack.__name__ if isinstance(attack, type) else type(attack).__name__
        raise ConfigError(f"{kind} is no attack; pass one with its ball, as PGD(Linf(8 / 255))")
    if not issubclass(target.access, attack.access):
        raise AccessError(
            f"{attack.name} needs {attack.access.__name__}, and {target.name} grants {target.access.__name__} only; "
            "use an attack that needs less (Square: Scores, HopSkipJump: Decisions)"
        )


def region_of(
    attack: Attack[Any, Any] | Shared[Any, Any, Any],
    target: Target[Any],
    x: Tensor,
    mask: Tensor | None,
    eps: Tensor | None,
) -> Region:
    """Return the region of each input: its ball, valid range, mask and radius.

    Raises: InputError for a mask that does not fit, ThreatError for radii that are none or exceed the valid range.
    """
    ball = attack.ball
    low, high = (torch.as_tensor(bound) for bound in target.inputs.range_like(x))
    ball.with_channel_axis(target.inputs.channel_axis).check(x, float(low.amin()), float(high.amax()))
    if mask is not None and not isinstance(mask, Tensor):
        raise InputError(f"a mask is a bool tensor like the images, and this is a {type(mask).__name__}")
    if eps is not None:
        if not bool((eps > 0).all()):
            raise ThreatError("a radius per row is above 0, and some are 0, negative or NaN; leave those rows out")
        if ball.p == 0 and not bool((eps == eps.round()).all()):
            raise ThreatError("an L0 radius counts components, and some per row are not whole; pass eps.round()")
        eps = eps.to(x.device)
    region = Region.around(x.detach(), ball, target.inputs, mask=mask, eps=eps)
    if eps is not None and bool((finite := eps.isfinite()).any()):
        shape = ball.with_channel_axis(target.inputs.channel_axis)
        shape.check(x, float(low.amin()), float(high.amax()), float(eps[finite].amax()))
    return region


def check_start(attack: Attack[Any, Any], start: Tensor, region: Region) -> None:
    """Raise where the starting images do not fit the inputs, or the attack does not accept any."""
    x = region.x
    if not attack.accepts_start:
        raise ConfigError(f"{attack.name} begins by itself; give start= to Square, HopSkipJump or PGD")
    if not isinstance(start, Tensor) or start.shape != x.shape or start.dtype != x.dtype:
        got = f"{start.dtype} {tuple(start.shape)}" if isinstance(start, Tensor) else type(start).__name__
        raise InputError(f"start must be images like x, {x.dtype} {tuple(x.shape)}; got {got}")
    if not bool(((start >= region.low) & (start <= region.high)).all()):
        raise InputError("start has values outside the valid range or NaN; pass inputs like x")


def check_images(x: Tensor, goal: Goal, inputs: Inputs | None = None) -> None:
    """Raise InputError where `x` is no batch of such inputs, by default images in [0, 1], or does not match the goal.

    Raises GoalError for a goal that is no row-wise record.
    """
    (Images() if inputs is None else inputs).check(x)
    if not hasattr(goal, "__dataclass_fields__"):
        raise GoalError(
            f"the goal {type(goal).__name__} is no dataclass, so its rows cannot follow the images'; decorate it with "
            "@dataclass(frozen=True)"
        )
    try:
        held = flatten(goal)[0]
    except TypeError as error:
        raise GoalError(f"the goal {type(goal).__name__} does not fit: {error}") from error
    for name, tensor in held.items():
        if tensor.ndim == 0:
            raise GoalError(f"{name} of {type(goal).__name__} is a tensor without rows; pass a number of Python")
    if len(goal) != len(x):
        raise InputError(f"the goal speaks of {len(goal)} images and there are {len(x)}; one label per image")


def _batches(job: Job) -> list[Outcome]:
    checkpoint = None
    if job.engine.checkpoint is not None:
        region = job.region
        data = (job.goal, region.x, region.eps, region.free, job.indices, job.begin, job.context)
        how = job.keep, job.budget, job.engine.seed, job.engine.autocast, job.engine.confirmation_samples
        mark = fingerprint(job.attack, *how, *data, *identity_of(job.target))
        checkpoint = Checkpoint(Path(job.engine.checkpoint), mark)
        device, few = job.target.device, slice(0, FEW)
        key, context = Key(job.indices[few].to(device), job.engine.seed), to(take(job.context, few), device)
        checkpoint.check_answers(job.target, region.x[few].to(device), key, context)
    parts: list[Outcome] = []
    start, size = 0, job.engine.batch_size
    while start < len(job.region):
        part = checkpoint.finished(start) if checkpoint else None
        if part is None:
            try:
                part = _batch(job, start, size, checkpoint)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise OutOfMemoryError.for_one_image(error) from error
                size = max(1, min(size, len(job.region) - start) // 2)
                if checkpoint:
                    checkpoint.forget()
                job = replace(job, engine=replace(job.engine, batch_size=size))
                continue
        parts.append(part)
        start += len(part)
    return parts


def _batch(job: Job, start: int, size: int, checkpoint: Checkpoint | None) -> Outcome:
    attack, target, x, engine = job.attack, job.target, job.region.x, job.engine
    saved = checkpoint.under_way(start) if checkpoint else None
    rows = torch.arange(start, min(start + (saved[0] if saved else size), len(x)))
    device = target.device
    region, indices = job.region.take(rows.to(x.device)).to(device), job.indices[rows].to(device)
    begin = None if job.begin is None else job.begin[rows.to(job.begin.device)].to(device)
    goal, beside = take(job.goal, rows.to(device)), to(take(job.context, rows), device)
    search = Search(attack, target, goal, region, indices, job.keep, job.budget, engine, beside)
    clock = time.perf_counter()
    if saved:
        search.load(saved[1], saved[2])
        clock -= search.seconds
    else:
        search.begin(begin, whole=job.goal if start == 0 else None)
    written = time.perf_counter()
    while not search.over:
        search.advance()
        if engine.progress is not None:
            engine.progress(
                Progress(attack.name, len(x), start, len(region), search.live, search.t, attack.total_steps)
            )
        if checkpoint and time.perf_counter() - written > engine.checkpoint_seconds:
            search.seconds = time.perf_counter() - clock
            checkpoint.save(start, len(region), search.save())
            written = time.perf_counter()
    outcome = on_device(search.end(), x.device)
    outcome = replace(outcome, seconds=time.perf_counter() - clock)
    if checkpoint:
        checkpoint.finish(start, outcome)
    return outcome
