"""A verifier from pixels to embeddings, under the attacks and restrictions that every target has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparring import Classifier, Linf, Restricted, Scene, Verifier, run
from sparring.attacks import PGD, HopSkipJump, Square
from sparring.error_rates import ScoreMap
from sparring.errors import AccessError, ConfigError, GoalError, InputError, TargetError
from sparring.goals import Dodge, Impersonate
from sparring.targets import PublishedScores
from sparring.tasks import Verification, similarity
from sparring.testing import check_target

SIZE = 6


class SeesBright(nn.Module):
    """A detector that finds a face in the left upper corner of an image, unless that is black there."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = torch.tensor([[1.5, 2.0], [4.5, 2.0], [3.0, 5.0]]).to(x)
        return points.expand(len(x), 3, 2), x[:, :, :2, :2].mean((1, 2, 3)) > 0.05


def embedder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * (SIZE - 2) ** 2, 5)).double()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.8 + 0.1


@pytest.fixture
def scene(images: Tensor) -> Scene:
    return Scene(landmarks=SeesBright()(images)[0])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_dodging_and_impersonating_by_either_metric(metric: str, images: Tensor, scene: Scene) -> None:
    verifier = Verifier(embedder(), SIZE, metric=metric)
    check_target(verifier, images, context=scene)
    templates = verifier.enroll(images, context=scene)
    others = templates.flip(0)
    alike = verifier.similarity(templates, others)
    if metric == "cosine":
        torch.testing.assert_close(alike, (templates * others).sum(1) / (templates.norm(dim=1) * others.norm(dim=1)))
    else:
        torch.testing.assert_close(alike, -(templates - others).norm(dim=1))
    start = torch.roll(images, 1, 0) * 0.1 + images * 0.9  # of the same person, near the template
    own = verifier.similarity(verifier.predict(start, context=scene), templates)
    threshold = float(own.min()) - 0.01 * float(own.min().abs())
    attack = PGD(Linf(0.3), steps=20)
    dodged = run(attack, verifier, Dodge(templates, threshold, metric=metric), start, context=scene)
    assert dodged.success.all()
    assert (verifier.similarity(verifier.predict(dodged.examples, context=scene), templates) < threshold).all()
    goal = Impersonate(others[:, None], float(alike.max()) * (0.99 if metric == "euclidean" else 1.001), metric=metric)
    taken = run(attack, verifier, goal, images, context=scene)
    assert taken.success.any()
    met = goal.similarity(verifier.predict(taken.examples, context=scene)) > goal.threshold
    assert torch.equal(met, taken.success)


def test_a_face_that_is_not_found_is_no_answer(images: Tensor, scene: Scene) -> None:
    verifier = Verifier(embedder(), SIZE, detector=SeesBright())
    templates = verifier.enroll(images)
    assert torch.equal(templates, Verifier(embedder(), SIZE).enroll(images, context=scene))
    dark = images.clone()
    dark[2] = 0
    assert verifier.predict(dark).isnan().any(1).tolist() == [False, False, True, False]
    with pytest.raises(InputError, match="no face was found in image 2"):
        verifier.enroll(dark)
    outcome = run(PGD(Linf(0.5), steps=3), verifier, Dodge(templates, 0.999999), images)
    assert verifier.predict(outcome.examples[outcome.success]).isfinite().all()  # hiding the face is no success


def test_a_service_of_decisions_is_attacked_as_any_other(images: Tensor, scene: Scene) -> None:
    verifier = Verifier(embedder(), SIZE)
    templates = verifier.enroll(images, context=scene)
    box = Restricted(verifier, "decisions")
    outcome = run(HopSkipJump(Linf(), steps=3), box, Dodge(templates, 0.9), images, context=scene)
    assert outcome.success.all()
    assert (verifier.similarity(verifier.predict(outcome.examples, context=scene), templates) < 0.9).all()


def test_metrics_that_do_not_fit_are_refused(images: Tensor, scene: Scene) -> None:
    verifier = Verifier(embedder(), SIZE, metric="euclidean")
    templates = verifier.enroll(images, context=scene)
    attack = PGD(Linf(0.1), steps=1)
    with pytest.raises(GoalError, match="by metric='cosine', and the target by 'euclidean'"):
        run(attack, verifier, Dodge(templates, 0.5), images, context=scene)
    with pytest.raises(GoalError, match=r"threshold=0\.6 is no minus a distance; .* between -inf and 0"):
        run(attack, verifier, Dodge(templates, 0.6, metric="euclidean"), images, context=scene)
    for wrong in (
        lambda: Verification("l2"),
        lambda: Dodge(templates, 0.5, metric="l2"),
        lambda: similarity(templates, templates, "l2"),
    ):
        with pytest.raises(ConfigError, match="metric='l2' is unknown; pass one of cosine, euclidean"):
            wrong()


def test_votes_of_distances_are_the_mean_embedding() -> None:
    answers = [torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])]
    assert Verification("euclidean").fuse(answers).tolist() == [[2.0, 2.0]]
    assert Verification().fuse(answers)[0].tolist() == pytest.approx([0.8, 0.4])


def test_whole_number_scores_are_all_that_an_attack_is_told(images: Tensor, scene: Scene) -> None:
    verifier = Verifier(embedder(), SIZE)
    templates = verifier.enroll(images, context=scene)
    scores = ScoreMap(-1.0, 0.8, 1.0)
    service = PublishedScores(verifier, scores)
    outcome = run(Square(Linf(0.3), n_queries=200), service, Dodge(templates, 0.8), images, context=scene)
    assert outcome.success.any()
    told = scores(verifier.similarity(verifier.predict(outcome.examples, context=scene), templates)).round()
    assert torch.equal(told < 60, outcome.success)  # a score rounded to that of the threshold is no success
    with pytest.raises(AccessError):
        run(PGD(Linf(0.1)), service, Dodge(templates, 0.8), images, context=scene)
    margin = service.adapt_goal(Impersonate(templates[:, None], 0.8)).margin(templates)
    assert margin.tolist() == pytest.approx([40.0] * 4)
    with pytest.raises(ConfigError, match="decimals=8"):
        PublishedScores(verifier, scores, decimals=8)
    with pytest.raises(TargetError, match="is of classification"):
        PublishedScores(Classifier(nn.Identity()), scores)
    assert service.identity() != PublishedScores(verifier, scores, decimals=1).identity()
