"""Robustness of several models under norms and radii they were not trained for.

    clean(m)     = 1/N sum_i [ m is right on x_i ]
    robust(m, t) = 1/N sum_i [ m is right on x_i, and no example of i found on m lies in the ball t ]
    union(m, T)  = 1/N sum_i [ m is right on x_i, and no example of i found on m lies in any ball of T ]

The union is that of Tramer & Boneh 2019 (arXiv:1904.13000): one attacker who may choose the threat image by image, so
that it is at most the smallest of its columns. An example counts in every ball that it lies in, whichever attack found
it: a column of a larger radius is never above one of a smaller radius, and no pass is spent on what is lost already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..access import Attack
from ..attacks import ALMA, FABT, PGD, Auto, Cascade, HopSkipJump, Restarts, Rivals, SigmaZero
from ..engine import Engine, check_access, check_images, run
from ..errors import ConfigError, ThreatError
from ..geometry import L0, L2, Ball, Linf
from ..goals import Goal, Misclassify, RivalMargin
from ..rows import take
from ..targets import Target
from .matrix import Models, goal_margins

AttackForBall = Callable[[Ball], Attack[Any, Any]]
RESTARTS_L0, RIVALS, ALMA_STEPS, JUMPS = 2, 9, 300, 30


@dataclass(frozen=True)
class Generalization:
    """Robustness of M models (rows) on N images within T balls (columns); all tensors are on the CPU."""

    models: tuple[str, ...]
    balls: tuple[Ball, ...]
    attacks: tuple[str, ...]  # what was run within each ball
    correct: Tensor  # (M, N) bool: right before any attack
    fell: Tensor  # (M, T, N) bool: wrong before, or an example was found in the ball
    forwards: Tensor  # (M, T) int64: images passed by the attack in that ball
    backwards: Tensor  # (M, T) int64
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Return the number of images."""
        return self.correct.shape[1]

    @property
    def clean(self) -> Tensor:
        """Return (M,) how many images each model is right on."""
        return self.correct.sum(1)

    @property
    def robust(self) -> Tensor:
        """Return (M, T) how many images each model still is right on in each ball."""
        return (~self.fell).sum(2)

    def union(self, balls: Iterable[Ball] | None = None) -> Tensor:
        """Return (M,) how many images each model is right on in all of these balls at once; in all balls by default.

        Raises:
            ThreatError: a ball that was not attacked.
        """
        return (~self.fell[:, self.columns(self.balls if balls is None else balls)].any(1)).sum(1)

    def columns(self, balls: Iterable[Ball]) -> list[int]:
        """Return the columns of these balls."""
        wanted = tuple(balls)
        missing = [ball for ball in wanted if ball not in self.balls]
        if missing or not wanted:
            what = f"{missing[0]} was not attacked" if missing else "a union of no balls says nothing"
            raise ThreatError(f"{what}; there are {', '.join(map(str, self.balls))}")
        return [self.balls.index(ball) for ball in wanted]

    def __add__(self, other: Generalization) -> Generalization:
        """Return the matrix of two parts of a data set together."""
        if (self.models, self.balls, self.attacks) != (other.models, other.balls, other.attacks):
            raise ConfigError("parts of a data set add up only for the same models, balls and attacks")
        return replace(
            self,
            correct=torch.cat((self.correct, other.correct), 1),
            fell=torch.cat((self.fell, other.fell), 2),
            forwards=self.forwards + other.forwards,
            backwards=self.backwards + other.backwards,
            notes=_together(self.notes, other.notes),
        )

    def append_rows(self, other: Generalization) -> Generalization:
        """Return the rows of this matrix, and under them those of another on the same images."""
        if (self.balls, self.attacks, self.images) != (other.balls, other.attacks, other.images):
            raise ConfigError("rows go below one another only for the same balls, attacks and images")
        return Generalization(
            models=self.models + other.models,
            balls=self.balls,
            attacks=self.attacks,
            correct=torch.cat((self.correct, other.correct)),
            fell=torch.cat((self.fell, other.fell)),
            forwards=torch.cat((self.forwards, other.forwards)),
            backwards=torch.cat((self.backwards, other.backwards)),
            notes=_together(self.notes, other.notes),
        )


def strong_attack(ball: Ball) -> Attack[Any, Any]:
    """Return `Auto(ball)`, followed by attacks that do without gradients that mislead, as nets of another norm have.

    In L2 and L1 ALMA and FAB-T from random starts, in L2 HopSkipJump too, which needs no slope. In L0, which `Auto`
    does not know, PGD from two starts and sigma-zero.
    """
    if isinstance(ball, L0):
        return Cascade(Restarts(PGD(ball), RESTARTS_L0), SigmaZero(ball))
    if isinstance(ball, Linf):
        return Auto(ball)
    fab = Rivals(FABT(ball, linearize_loss=True, random_start=True), RIVALS, RivalMargin)
    queries = [HopSkipJump(ball, steps=JUMPS)] if isinstance(ball, L2) else []
    return Cascade(Auto(ball), ALMA(ball, steps=ALMA_STEPS), fab, *queries)


def measure_generalization(
    targets: Models,
    balls: Sequence[Ball],
    x: Tensor,
    y: Tensor,
    *,
    attacks: AttackForBall | None = None,
    indices: Tensor | None = None,
    engine: Engine | None = None,
) -> Generalization:
    """Attack each model within each ball, smaller radii first, and count the images not broken.

    Args:
        targets: the models by name, each attacked for itself: no example goes from one to another.
        balls: of a finite radius, each once, in the order of the columns.
        x: images (N, C, H, W) in [0, 1].
        y: their classes (N,) int64.
        attacks: what to run within a ball; `strong` by default.
        indices: (N,) the images' positions in their data set; 0 to N - 1 by default.
        engine: how to run.

    An answer that is not finite on the clean image is a wrong one. Every example was measured again, as `run` does.

    Raises:
        ConfigError, ThreatError, InputError, GoalError, TargetError, AccessError: before the first attack.
    """
    goal, columns = Misclassify(y), tuple(balls)
    if not targets:
        raise ConfigError("there are no models; pass one or more, by name")
    chosen = attacks_within(columns, attacks or strong_attack)
    check_images(x, goal)
    for ball in columns:
        ball.check(x)
    for target in targets.values():
        for attack in chosen:
            check_access(attack, target)
    right = [goal_margins(target, goal, x) <= 0 for target in targets.values()]  # NaN is no answer
    indices = torch.arange(len(x)) if indices is None else indices
    rows = [
        _row(name, target, chosen, goal, x, indices, known, engine)
        for (name, target), known in zip(targets.items(), right, strict=True)
    ]
    whole = rows[0]
    for row in rows[1:]:
        whole = whole.append_rows(row)
    return whole


def attacks_within(balls: Sequence[Ball], attacks: AttackForBall = strong_attack) -> list[Attack[Any, Any]]:
    """Return the attack of each ball; raises where the balls are none, or cannot be columns."""
    if not balls:
        raise ThreatError("there are no threats; pass one or more, as Linf(0.3)")
    for place, ball in enumerate(balls):
        if not isinstance(ball, Ball):
            raise ThreatError(f"{ball!r} is no threat; pass balls, as Linf(0.3)")
        ball.bounded("what a model withstands")
        if ball in balls[:place]:
            raise ThreatError(f"{ball} is given twice; pass each threat once")
    chosen = [attacks(ball) for ball in balls]
    for ball, attack in zip(balls, chosen, strict=True):
        if attack.ball != ball:
            raise ThreatError(f"the attack for {ball} works within {attack.ball}; let attacks(ball) keep to its ball")
    return chosen


def _row(
    name: str,
    target: Target[Any],
    attacks: list[Attack[Any, Any]],
    goal: Goal,
    x: Tensor,
    indices: Tensor,
    correct: Tensor,
    engine: Engine | None,
) -> Generalization:
    """Return one model."""
    balls = tuple(attack.ball for attack in attacks)
    fell = (~correct).repeat(len(balls), 1)
    spent, notes = torch.zeros(2, len(balls), dtype=torch.long), set[str]()
    for column in sorted(range(len(balls)), key=lambda place: balls[place].eps):
        rows = (~fell[column]).nonzero().squeeze(1)
        if not len(rows):
            continue
        images = x[rows.to(x.device)]
        found = run(
            attacks[column], target, take(goal, rows), images, indices=indices[rows.to(indices.device)], engine=engine
        )
        won = found.success
        delta, lost = found.examples[won] - images[won], rows[won.cpu()]
        fell[column, rows[~found.robust.cpu()]] = True
        for place, ball in enumerate(balls):
            fell[place, lost] |= (ball.norm(delta) <= ball.eps).cpu()
        spent[0, column], spent[1, column] = found.passes.forwards.sum(), found.passes.backwards.sum()
        notes |= set(found.notes)
    return Generalization(
        models=(name,),
        balls=balls,
        attacks=tuple(map(repr, attacks)),
        correct=correct[None],
        fell=fell[None],
        forwards=spent[:1],
        backwards=spent[1:],
        notes=tuple(sorted(notes)),
    )


def _together(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))
