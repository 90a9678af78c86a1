"""`fit_artifact`: one artifact for many scenes, by one gradient attack after another, through a physical chain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...access import Attack, Gradients, Keep
from ...engine import Engine, run
from ...engine.arguments import as_engine
from ...errors import ConfigError, InputError
from ...goals import FoolScenes, Goal
from ...targets import OverScenes, Pipeline, Regularized, Target, as_target
from ...targets.regularized import Penalty
from ..chain import PhysicalChain

ALL_SCENES = 0.8  # of the scenes that are drawn; what counts as a success inside the search


@dataclass(frozen=True)
class FittedArtifact:
    """An artifact, not yet exported: `export_png(path, fitted.image, width_mm=)`.

    Args:
        image: (3, h, w) in [0, 1].
        changed: (h, w) bool, the pixels that the attack chose.
        success_rate: how often the artifact deceived most scenes in fresh draws of the chain it was fitted through. It
            is no result: `judge_physical` measures that.
        forwards, backwards: passes of the model.
        seconds: on the clock.
    """

    image: Tensor
    changed: Tensor
    success_rate: float
    forwards: int
    backwards: int
    seconds: float


def fit_artifact(
    target: Target[Gradients],
    goal: Goal,
    scenes: Any,
    chain: PhysicalChain,
    start: Tensor,
    attacks: Sequence[Attack[Any, Any]],
    *,
    penalties: Sequence[Penalty] = (),
    changed: Tensor | None = None,
    scenes_per_question: int = 8,
    engine: Engine | None = None,
) -> FittedArtifact:
    """Run the attacks one after another on an artifact in scenes that are drawn anew at each query.

    Each begins where the one before it ended, at its artifact of the highest loss.

    Args:
        target: the model; gradients go through it and the chain.
        goal: one row per scene.
        scenes: N scenes with images and what the placement needs (landmarks, quads, boxes).
        chain: the chain to fit through.
        start: (3, h, w) in [0, 1], the artifact to begin with.
        attacks: as `(MIFGSM(Linf(1.0), steps=100, step_size=1 / 51),)`; their balls are around the artifact they
            begin at.
        penalties: of the artifact, as `TotalVariation(weight=1.0)`; the loss of the scenes lies around 1.
        changed: (h, w) bool, the pixels that may be chosen. None: all.
        scenes_per_question: scenes of one query, each with a draw of its own.
        engine: seed, checkpoint and progress; each attack has a folder of its own in the checkpoint.

    Raises: InputError, ConfigError, GoalError, TargetError.
    """
    if not isinstance(start, Tensor) or start.ndim != 3:
        raise InputError("an artifact begins as an image (3, h, w) in [0, 1]")
    if changed is not None and (not isinstance(changed, Tensor) or changed.shape != start.shape[1:]):
        raise InputError(f"changed is bool {tuple(start.shape[1:])}, one entry for each pixel of the artifact")
    if not attacks:
        raise ConfigError("no attack is given; pass one or more, as (MIFGSM(Linf(1.0), steps=100),)")
    began, engine = time.perf_counter(), as_engine(engine)
    over: Target[Any] = OverScenes(Pipeline(as_target(target), chain), goal, scenes, scenes_per_question)
    over = Regularized(over, *penalties) if penalties else over
    x, forwards, backwards, rate = start[None].clone(), 0, 0, 0.0
    for number, attack in enumerate(attacks):
        folder = None if engine.checkpoint is None else Path(engine.checkpoint) / str(number)
        own = replace(engine, seed=engine.seed + number, checkpoint=folder)
        mask = None if changed is None else changed[None, None]
        aim = FoolScenes(torch.zeros(1), ALL_SCENES)
        outcome = run(attack, over, aim, x, mask=mask, keep=Keep.HIGHEST_LOSS, engine=own)
        x, rate = outcome.examples, float(outcome.success_rate[0])
        forwards += int((outcome.passes.forwards + outcome.passes.checks).sum()) * scenes_per_question
        backwards += int(outcome.passes.backwards.sum()) * scenes_per_question
    free = torch.ones(start.shape[1:], dtype=torch.bool) if changed is None else changed
    return FittedArtifact(x[0], free, rate, forwards, backwards, time.perf_counter() - began)
