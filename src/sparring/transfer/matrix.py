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
from ..goals import Goal
from ..rows import take, to
from ..targets import Target, valid_rows

Models = Mapping[str, Target[Any]]


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
    goal: Goal,
    x: Tensor,
    *,
    indices: Tensor | None = None,
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
        goal: one row per image.
        x: images (N, C, H, W) in [0, 1].
        indices: (N,) the images' positions in their data set; 0 to N - 1 by default.
        engine: how to run.

    Raises: what `run` raises.
    """
    goal, x, indices = _standing({**sources, **victims}, goal, x, indices)
    fell = torch.zeros(len(sources), len(victims), dtype=torch.long)
    for i, source in enumerate(sources.values() if len(x) else ()):
        found = run(attack, source, goal, x, indices=indices, keep=Keep.HIGHEST_LOSS, engine=engine)
        for j, victim in enumerate(victims.values()):
            fell[i, j] = int((goal_margins(victim, goal, found.examples) > 0).sum())
    return TransferCounts(tuple(sources), tuple(victims), fell, len(x))


def leave_one_out(
    models: Models,
    together: Any,
    attack: Attack[Gradients, Any],
    goal: Goal,
    x: Tensor,
    *,
    indices: Tensor | None = None,
    engine: Engine | None = None,
) -> TransferCounts:
    """Return one row: the examples for each model are made on all the *others*, joined by `together` (`Ensemble`).

    The other arguments are those of `transfer_matrix`.

    Raises: ConfigError for fewer than three models.
    """
    if len(models) < 3:
        raise ConfigError(f"an ensemble of the other models needs 3 models, and there are {len(models)}")
    goal, x, indices = _standing(models, goal, x, indices)
    fell = torch.zeros(1, len(models), dtype=torch.long)
    for j, name in enumerate(models if len(x) else ()):
        others = together([model for other, model in models.items() if other != name])
        found = run(attack, others, goal, x, indices=indices, keep=Keep.HIGHEST_LOSS, engine=engine)
        fell[0, j] = int((goal_margins(models[name], goal, found.examples) > 0).sum())
    return TransferCounts(("the others together",), tuple(models), fell, len(x))


def _standing(models: Models, goal: Goal, x: Tensor, indices: Tensor | None) -> tuple[Goal, Tensor, Tensor | None]:
    """Return the rows on which no model has met the goal yet."""
    standing = torch.ones(len(x), dtype=torch.bool)
    for model in models.values():
        standing &= goal_margins(model, goal, x) <= 0  # no NaN
    return take(goal, standing), x[standing], None if indices is None else indices[standing]


def goal_margins(model: Target[Any], goal: Goal, x: Tensor, batch_size: int = 128) -> Tensor:
    """Return the goal's margins (N,) on this model, on the CPU: above 0 where it is met, NaN where it gives no answer.

    Raises: GoalError without images.
    """
    if not len(x):
        raise GoalError("there are no images to try")
    whole = to(goal, model.device)

    def margin(images: Tensor, rows: Tensor) -> Tensor:
        outputs, part = model(images.to(model.device)), take(whole, rows.to(model.device))
        if int(rows[0]) == 0:
            model.check(outputs)
            part.check(outputs, whole)
        return part.margin(outputs).masked_fill(~valid_rows(outputs, model.task), torch.nan).cpu()

    with model.frozen():
        return map_batches(margin, x, torch.arange(len(x)), batch_size=batch_size)
