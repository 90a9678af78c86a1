"""Goals of 1:N identification: ranks by hand, the laws, and what the doors refuse."""

from __future__ import annotations

import pytest
import torch

import sparring as sp
from sparring.errors import GoalError, TargetError
from sparring.goals import Dodge, EvadeIdentification, IdentifyAs
from sparring.targets import Identifier, PublishedScores
from sparring.tasks import Identification
from sparring.testing import check_goal, check_target
from sparring.testing.cases import draw

ROWS, PERSONS, NUMBERS = 40, 5, 4


def gallery() -> torch.Tensor:
    return draw("gallery", (PERSONS, NUMBERS)).expand(ROWS, -1, -1)


OUTPUTS = draw("searched", (ROWS, NUMBERS))
PERSON = torch.arange(ROWS) % PERSONS


def ranked(metric: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks from 1 on and similarities of the persons, by sorting row by row."""
    ranks, alike = [], []
    for output, person in zip(OUTPUTS, PERSON.tolist(), strict=True):
        if metric == "cosine":
            each = [float(output @ one / (output.norm() * one.norm())) for one in gallery()[0]]
        else:
            each = [-float((output - one).norm()) for one in gallery()[0]]
        ranks.append(1 + sorted(each, reverse=True).index(each[person]))
        alike.append(each[person])
    return torch.tensor(ranks), torch.tensor(alike, dtype=torch.float64)


@pytest.mark.parametrize(("metric", "threshold"), [("cosine", None), ("cosine", 0.4), ("euclidean", -1.8)])
@pytest.mark.parametrize("rank", [1, 2])
def test_who_is_identified_is_within_the_rank_and_above_the_threshold(
    metric: str, threshold: float | None, rank: int
) -> None:
    ranks, alike = ranked(metric)
    found = (ranks <= rank) & (True if threshold is None else alike >= threshold)
    evade = EvadeIdentification(gallery(), PERSON, threshold, rank, metric=metric)
    assert 0 < int(found.sum()) < ROWS
    check_goal(evade, OUTPUTS, ~found)
    task = Identification(metric)
    said = task.prediction(OUTPUTS, evade)
    assert torch.equal(said["rank"], ranks)
    assert torch.equal(said["identified"], found)
    torch.testing.assert_close(said["similarity"], alike)
    if rank == 1:
        check_goal(IdentifyAs(gallery(), PERSON, threshold, metric=metric), OUTPUTS, found)


@pytest.mark.wrong_types
def test_what_does_not_fit_is_refused() -> None:
    for wrong in (PERSON.int(), PERSON[:3], PERSON + 1, PERSON - 1):
        goal = EvadeIdentification(gallery(), wrong)
        with pytest.raises(GoalError):
            goal.check(OUTPUTS, goal)
    for rank in (0, PERSONS, 1.5, True):
        goal = EvadeIdentification(gallery(), PERSON, rank=rank)  # type: ignore[arg-type]
        with pytest.raises(GoalError, match="rank"):
            goal.check(OUTPUTS, goal)
    closed = IdentifyAs(gallery(), PERSON, 2.0)
    with pytest.raises(GoalError, match="threshold"):
        closed.check(OUTPUTS, closed)


def test_a_verifier_identifies_once_it_is_told_to() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, NUMBERS)).double()
    verifier = sp.Verifier(net)
    images = 0.9 * torch.rand(6, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    enrolled = verifier.enroll(images + 0.01).expand(6, -1, -1)
    goal = EvadeIdentification(enrolled, torch.arange(6))
    with pytest.raises(GoalError, match="identification"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), verifier, goal, images)
    target = Identifier(verifier)
    check_target(target, images)
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.4), steps=20), target, goal, images)
    assert outcome.success.all()
    dodged = sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, Dodge(enrolled[0], 0.99), images)
    assert len(dodged.success) == 6
    scores = sp.error_rates.ScoreMap(0.0, 0.5, 1.0)
    with pytest.raises(GoalError, match="score"):
        PublishedScores(target, scores).adapt_goal(goal)
    with pytest.raises(TargetError, match="Verifier"):
        Identifier(sp.Classifier(net))
