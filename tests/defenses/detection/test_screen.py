"""A fitted detector in front of a model: what is deployed, and what an attacker gets past."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import PGD, Square
from sparring.attacks.gradient.orthogonal import OrthogonalPGD
from sparring.errors import AccessError
from sparring.goals import DetectorOutputs
from sparring.targets import Defended


def test_what_is_deployed_rejects_above_the_threshold(one, task):
    defended = Defended(task.target, one)
    outputs = defended(task.validation[:30])
    assert isinstance(outputs, DetectorOutputs)
    if not one.stochastic:
        assert torch.equal(outputs.alarm > 0, one.score(task.validation[:30]) > one.threshold.value)
    with torch.no_grad():
        torch.testing.assert_close(outputs.outputs, task.net(task.validation[:30]))
    with pytest.raises(AccessError):
        sp.run(PGD(sp.Linf(0.1)), defended, sp.Misclassify(task.labels[:3]), task.clean[:3])


def test_a_success_is_misclassified_and_undetected(one, task):
    images, labels = task.tested.originals[:20], torch.arange(90)[:20] % 3
    defended = Defended(task.target, one)
    view = defended.adaptive_view(draws=1)
    attack, engine = OrthogonalPGD(sp.Linf(0.3), steps=10), sp.Engine(confirmation_samples=3)
    found = sp.run(attack, view, sp.Misclassify(labels), images, engine=engine)
    rows = found.success & ~found.already
    if not one.stochastic:
        with torch.no_grad():
            wrong = task.net(found.examples[rows]).argmax(1) != labels[rows]
        assert bool(wrong.all())
        assert bool((one.score(found.examples[rows]) <= one.threshold.value).all())


@pytest.mark.parametrize("name", ["mahalanobis", "subspace"])
def test_who_knows_of_the_detector_gets_past_it_more_often(name, task, fitted):
    images, goal = task.tested.originals, sp.Misclassify(torch.arange(90) % 3)
    defended, ball = Defended(task.target, fitted[name]), sp.Linf(0.2)
    unaware = sp.run(PGD(ball, steps=20), defended.naive_view(), goal, images).success
    joint = sp.run(PGD(ball, steps=20), defended.adaptive_view(), goal, images).success
    assert int(joint.sum()) > int(unaware.sum())


def test_queries_serve_too(task, fitted):
    """A score attack needs no slope of the detector."""
    goal = sp.Misclassify(torch.arange(90)[:20] % 3)
    attack, defended = Square(sp.Linf(0.3), n_queries=200), Defended(task.target, fitted["feature"])
    found = sp.run(attack, defended, goal, task.tested.originals[:20])
    assert int(found.success.sum()) > 0


def test_the_model_and_the_detector_are_as_before(one, task):
    view = Defended(task.target, one).adaptive_view(draws=1)
    before = [part.clone() for module in one.modules for part in module.state_dict().values()]
    images = task.tested.originals[:4]
    sp.run(
        PGD(sp.Linf(0.1), steps=2),
        view,
        sp.Misclassify(torch.arange(4) % 3),
        images,
        engine=sp.Engine(confirmation_samples=2),
    )
    after = [part for module in one.modules for part in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(parameter.requires_grad for parameter in task.net.parameters())


def test_two_detectors_are_two_identities(one, task, fitted):
    others = [f.identity() for name, f in fitted.items() if f is not one]
    mine = one.identity()
    from sparring.engine import fingerprint

    assert fingerprint(*mine) not in {fingerprint(*other) for other in others}
    moved = one.calibrate(task.validation, 0.1)
    assert fingerprint(*moved.identity()) != fingerprint(*mine)


def test_the_reformer_is_a_stage(task, fitted):
    f = fitted["magnet"]
    defended = Defended(task.target, f, f.reformer)
    with torch.no_grad():
        theirs = task.net(f.net(task.validation[:9]).clamp(0, 1))
    torch.testing.assert_close(defended(task.validation[:9]).outputs, theirs)


def test_the_classifier_of_the_extra_class_stands_behind_it(task, fitted):
    f = fitted["extra-class"]
    defended = Defended(f.classifier, f)
    outputs = defended(task.validation)
    assert outputs.outputs.shape == (120, 3)
    assert float((outputs.outputs.argmax(1) == torch.arange(120) % 3).double().mean()) > 0.9


def test_check_goal_of_a_screened_answer(task, fitted):
    """The laws of a goal on real outputs: who has won is who is misclassified and silent."""
    from sparring.goals import Misclassify, Undetected

    labels = torch.arange(90) % 3
    with torch.no_grad():
        outputs = Defended(task.target, fitted["subspace"])(task.tested.examples)
    won = (outputs.outputs.argmax(1) != labels) & (outputs.alarm <= 0)
    verdict = Undetected(Misclassify(labels))(outputs)
    testing.attack_laws.require(torch.equal(verdict.margin > 0, won), "another winner")
