"""A picture that stays adversarial through a camera: expectation over transformations (Athalye et al. 2018).

    maximize  E_t [ log P(y_t | t(x')) - lambda || LAB(t(x')) - LAB(t(x)) ||_2 ]              (arXiv:1707.07397, eq. 4)

t is drawn anew at each step. Departures: any goal of the model takes the place of the target class, and its loss that
of log P; the picture also stays in a ball, as other attacks have it (with `Linf(1.0)` there is none).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...access import Attack, Gradients, Keep
from ...attacks import PGD, TransferAttack
from ...engine import Engine, Outcome, run
from ...errors import ConfigError
from ...geometry import Ball
from ...goals import Goal
from ...targets import Pipeline, Target, as_target
from ...transforms import Transform
from ..lab_distance import LabDistance


def eot_image(
    target: Target[Gradients],
    goal: Goal | Tensor,
    x: Tensor,
    through: Sequence[Transform],
    ball: Ball,
    *,
    steps: int = 100,
    step_size: float | None = None,
    draws: int = 8,
    lab_weight: float = 0.0,
    engine: Engine | None = None,
) -> Outcome:
    """Attack each picture through printer and camera, which are drawn anew for each query.

    Args:
        target: the model.
        goal: one row per picture, or labels.
        x: (N, 3, H, W) in [0, 1].
        through: transforms of whole pictures, as `(chain.printer, chain.camera)` of a chain.
        ball: where the pictures may go.
        steps, step_size: of projected gradient descent.
        draws: of these in each step, over which loss and gradient are averaged.
        lab_weight: lambda, of the distance in CIELAB through them; 0: none.
        engine: batch size, seed, checkpoint.

    Returns: an `Outcome`; success is confirmed through fresh draws of this family, and is judged by another.

    Raises: what `run` raises; ConfigError for a negative weight, or no transform.
    """
    parts: Any = through
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(one, Transform) for one in parts):
        raise ConfigError(f"through={through!r:.80}; pass transforms, as (optimization_family().camera,)")
    if not isinstance(lab_weight, int | float) or not lab_weight >= 0:
        raise ConfigError(f"lab_weight={lab_weight!r}; pass a number >= 0")
    attack: Attack[Any, Any] = PGD(ball, steps=steps, step_size=step_size)
    if lab_weight:
        attack = TransferAttack(attack, LabDistance(lab_weight, tuple(through)))
    pipeline = Pipeline(as_target(target), *through, draws=draws)
    return run(attack, pipeline, goal, x, keep=Keep.HIGHEST_LOSS, engine=engine)
