"""The transfer matrix: examples made on one model, evaluated on others (Papernot et al. 2016, arXiv:1605.07277)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Gradients, Keep
from ..batching import map_batches
from ..engine import Engine, run
from ..errors import ConfigError, GoalError
from ..goals import FoolMembers, Goal
from ..rows import take, to
from ..targets import Target, answered, valid_rows

Models = Mapping[str, Target[Any]]
Goals = Goal | Mapping[str, Goal]  # one for all models, or one for each, by its name


@dataclass(frozen=True)
class TransferCounts:
    """How many of `images` fell, by the model they were made on (rows) and the model they were tried on (columns)."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    fell: Tensor  # (R, C) int64
    images: int  # on which no model had met the goal before

    def __add__(self, other: TransferCounts) -> TransferCounts:
        """Return the counts of two parts of a data set together."""
        if (self.rows, self.columns) != (other.rows, other.columns):
            raise ConfigError(f"a tally of {self.rows} on {self.columns} does not add to one of other models")
        return TransferCounts(self.rows, self.columns, self.fell + other.fell, self.images + other.images)

    def append_rows(self, other: TransferCounts) -> TransferCounts:
        """Return the rows of these counts, and under them those of others on the same images."""
        if self.columns != other.columns or self.images != other.images:
            raise ConfigError("tallies go below one another only for the same models and images")
        return TransferCounts(self.rows + other.rows, self.columns, torch.cat((self.fell, other.fell)), self.images)


def transfer_matrix(
    sources: Models,
    victims: Models,
    attack: Attack[Gradients, Any],
    goal: Goals,
    x: Tensor,
    *,
    indices: Tensor | None = None,
    context: Any = None,
    engine: Engine | None = None,
) -> TransferCounts:
    """Attack images on each source, and try the examples on each victim (Papernot et al. 2016, arXiv:1605.07277).

    Images on which any of the models meets the goal already take no part, so that all figures are of the same images.
    The attack goes on after its own model has fallen (`Keep.HIGHEST_LOSS`): what transfers is the highest loss.
    No victim is asked during the attack.

    Args:
        sources: the models that examples are made on, by name; they grant gradients.
        victims: the models that the examples are tried on, by name.
        attack: what makes the examples.
        goal: one row per image; or a goal for each model, by its name, where models do not answer alike: verifiers
            have templates and thresholds of their own.
        x: images (N, C, H, W) in [0, 1].
        indices: (N,) the images' positions in their data set; 0 to N - 1 by default.
        context: data beside the images, with a row for each, for models that take it.
        engine: how to run.

    Raises: what `run` raises; ConfigError for a model without a goal.
    """
    data = _standing({**sources, **victims}, goal, x, indices, context)
    fell = torch.zeros(len(sources), len(victims), dtype=torch.long)
    for i, (name, source) in enumerate(sources.items() if len(data.x) else ()):
        examples = data.attacked(attack, source, data.goals[name], engine)
        for j, (other, victim) in enumerate(victims.items()):
            fell[i, j] = data.fallen(victim, other, examples)
    return TransferCounts(tuple(sources), tuple(victims), fell, len(data.x))


def leave_one_out(
    models: Models,
    together: Any,
    attack: Attack[Gradients, Any],
    goal: Goals,
    x: Tensor,
    *,
    indices: Tensor | None = None,
    context: Any = None,
    engine: Engine | None = None,
) -> TransferCounts:
    """Return one row: the examples for each model are made on all the *others*, joined by `together` (`Ensemble`).

    With a goal for each model the others are joined as `together(models, fuse="losses")`, and the goal is
    `FoolMembers`. The other arguments are those of `transfer_matrix`.

    Raises: ConfigError for fewer than three models.
    """
    if len(models) < 3:
        raise ConfigError(f"an ensemble of the other models needs 3 models, and there are {len(models)}")
    data = _standing(models, goal, x, indices, context)
    fell = torch.zeros(1, len(models), dtype=torch.long)
    for j, name in enumerate(models if len(data.x) else ()):
        names = [other for other in models if other != name]
        others, aim = [models[other] for other in names], data.goals[name]
        if isinstance(goal, Goal):
            joined = together(others)
        else:
            joined, aim = together(others, fuse="losses"), FoolMembers(*(data.goals[other] for other in names))
        fell[0, j] = data.fallen(models[name], name, data.attacked(attack, joined, aim, engine))
    return TransferCounts(("the others together",), tuple(models), fell, len(data.x))


@dataclass(frozen=True)
class _Standing:
    """The rows that are attacked, with the goals of the models."""

    goals: dict[str, Goal]
    x: Tensor
    indices: Tensor | None
    context: Any

    def attacked(self, attack: Attack[Gradients, Any], model: Any, goal: Goal, engine: Engine | None) -> Tensor:
        """The examples made on a model, of the highest loss."""
        beside = self.context if model.takes_context else None
        return run(
            attack, model, goal, self.x, indices=self.indices, context=beside, keep=Keep.HIGHEST_LOSS, engine=engine
        ).examples

    def fallen(self, model: Target[Any], name: str, examples: Tensor) -> int:
        """How many examples meet the model's goal."""
        return int((goal_margins(model, self.goals[name], examples, context=self.context) > 0).sum())


def _standing(models: Models, goal: Goals, x: Tensor, indices: Tensor | None, context: Any) -> _Standing:
    """Return the rows on which no model has met its goal yet."""
    goals = dict.fromkeys(models, goal) if isinstance(goal, Goal) else dict(goal)
    for name in models:
        if name not in goals:
            raise ConfigError(f"there is no goal for the model {name!r}; pass one for each, or one for all")
    standing = torch.ones(len(x), dtype=torch.bool)
    for name, model in models.items():
        standing &= goal_margins(model, goals[name], x, context=context) <= 0  # no NaN
    left = {name: take(one, standing) for name, one in goals.items()}
    return _Standing(left, x[standing], None if indices is None else indices[standing], take(context, standing))


def goal_margins(model: Target[Any], goal: Goal, x: Tensor, batch_size: int = 128, *, context: Any = None) -> Tensor:
    """Return the goal's margins (N,) on this model, on the CPU: above 0 where it is met, NaN where it gives no answer.

    Raises: GoalError without images.
    """
    if not len(x):
        raise GoalError("there are no images to try")
    whole = model.adapt_goal(to(goal, model.device))
    beside = context if model.takes_context else None

    def margin(images: Tensor, rows: Tensor) -> Tensor:
        theirs = to(take(beside, rows), model.device)
        outputs, part = answered(model, images.to(model.device), None, theirs), take(whole, rows.to(model.device))
        if int(rows[0]) == 0:
            model.check(outputs)
            part.check(outputs, whole)
        return part.margin(outputs).masked_fill(~valid_rows(outputs, model.task), torch.nan).cpu()

    with model.frozen():
        return map_batches(margin, x, torch.arange(len(x)), batch_size=batch_size)
