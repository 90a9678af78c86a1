"""`judge_artifact`: how often an artifact succeeds on images it was not fitted on, over fresh random draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, TargetError
from ..isolation import isolated
from ..random import Key
from ..rows import outside_inference, take, to
from ..targets import Pipeline, Target, TorchModule, answered, as_target, check_context, check_task, valid_rows
from ..transforms import AppliedArtifact
from ..transforms.artifact import PerturbsImages
from ..zoo.loaded import LoadedModel
from .arguments import as_engine, as_indices, as_tensor
from .given import goal_and_inputs
from .options import Engine
from .run import check_images, goal_like

FRESH = 1 << 43  # the first draw used here; attacks and the engine use lower numbers


@dataclass(frozen=True)
class ArtifactJudgement:
    """How often the goal is met on each of N images, with the artifact and without."""

    success_rate: Tensor  # (N,) share of the draws in which the goal is met with the artifact
    clean_rate: Tensor  # (N,) the same without the artifact
    n_draws: int

    def __len__(self) -> int:
        return len(self.success_rate)

    @property
    def stood(self) -> Tensor:
        """(N,) bool: images on which most answers do not meet the goal without the artifact."""
        return self.clean_rate <= 0.5

    @property
    def attack_success_rate(self) -> float:
        """The mean success rate over the images `stood`; NaN where there are none."""
        return float(self.success_rate[self.stood].mean()) if bool(self.stood.any()) else float("nan")

    def __str__(self) -> str:
        return (
            f"{self.attack_success_rate:.1%} of {int(self.stood.sum())} images that stand without it fall, "
            f"in the mean over {self.n_draws} draws; without it {float(self.clean_rate.mean()):.1%} of {len(self)} do"
        )


@isolated()
def judge_artifact(
    artifact: PerturbsImages,
    target: Target[Any] | TorchModule | LoadedModel,
    goal: Any,
    x: Any = None,
    *,
    indices: Tensor | None = None,
    context: Any = None,
    n_draws: int = 20,
    engine: Engine | None = None,
) -> ArtifactJudgement:
    """Measure what the artifact does to the images `x` (N, C, H, W); `goal` has one row per image.

    Args:
        artifact: a perturbation, a generator, a patch. Random artifacts and targets draw anew for each image and
            each of the draws.
        target: the model as it is deployed.
        goal, x: what counts as success, and the images; in all the forms that `run` takes.
        indices: (N,) int64, the images' positions in their data set, which key the draws; 0 to N - 1 by default.
        context: what lies beside the images, as in `run`.
        n_draws: draws per image; one where neither the artifact nor the target draws.

    Raises: InputError, TargetError, GoalError, ConfigError: before the first query.
    """
    if not isinstance(n_draws, int) or n_draws < 1:
        raise ConfigError(f"n_draws={n_draws!r}; pass an int >= 1")
    engine, use = as_engine(engine), as_target(target).confirming_target
    goal, x = goal_and_inputs(use, goal, x)
    x, context = outside_inference(as_tensor(x)), outside_inference(context)
    bare, worn = Pipeline(use), Pipeline(use, AppliedArtifact(artifact))
    check_images(x, goal, use.inputs)
    check_task(use, goal)
    check_context(worn, context, len(x))
    places = as_indices(indices, len(x))
    aim, draws = use.adapt_goal(goal_like(goal, x, use)), n_draws if worn.stochastic else 1
    rates: list[list[Tensor]] = [[], []]
    with torch.no_grad(), use.frozen():
        for start in range(0, len(x), engine.batch_size):
            rows = torch.arange(start, min(start + engine.batch_size, len(x)))
            images, beside = x[rows.to(x.device)].to(use.device), to(take(context, rows), use.device)
            key, theirs = Key(places[rows].to(use.device), engine.seed), take(aim, rows.to(use.device))
            for view, found in zip((bare, worn), rates, strict=True):
                count = draws if view.stochastic else 1
                won = []
                for draw in range(count):
                    outputs = answered(view, images, key.reseeded(FRESH + draw), beside)
                    if start == draw == 0 and view is bare:
                        view.check(outputs)
                        theirs.check(outputs, aim)
                    margin = theirs.margin(outputs)
                    unanswered = ~valid_rows(outputs, use.task)
                    if bool(unanswered.any()):
                        row = start + int(unanswered.nonzero()[0])
                        raise TargetError(f"{use.name} answers NaN for image {row}, which is no defence; leave it out")
                    won.append(margin > 0)
                found.append(torch.stack(won).float().mean(0).to(x.device))
    clean, success = (torch.cat(parts) for parts in rates)
    return ArtifactJudgement(success, clean, draws)
