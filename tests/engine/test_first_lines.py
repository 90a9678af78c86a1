"""What people write in their first lines: taken where its meaning is plain, refused in one clear line elsewhere."""

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import FGSM, PGD, Universal
from sparring.errors import (
    AccessError,
    BudgetError,
    ConfigError,
    GoalError,
    InputError,
    SparringError,
    TargetError,
    ThreatError,
)

pytestmark = pytest.mark.wrong_types  # what signatures do not promise
BALL = sp.Linf(0.1)


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)).eval()
    x = torch.rand(6, 1, 6, 6)
    return net, x, net(x).argmax(1)


def same(first, second):
    assert torch.equal(first.examples, second.examples)
    assert torch.equal(first.success, second.success)
    assert bool(first.success.any())


PLAIN = {
    "a module": lambda net, x, y: sp.run(PGD(BALL), net, sp.Misclassify(y), x),
    "labels": lambda net, x, y: sp.run(PGD(BALL), sp.Classifier(net), y, x),
    "labels as a list": lambda net, x, y: sp.run(PGD(BALL), sp.Classifier(net), y.tolist(), x),
    "labels of numpy": lambda net, x, y: sp.run(PGD(BALL), sp.Classifier(net), y.numpy(), x),
    "labels in a column": lambda net, x, y: sp.run(PGD(BALL), sp.Classifier(net), sp.Misclassify(y[:, None]), x),
    "images before labels": lambda net, x, y: sp.run(PGD(BALL), net, x, y),
    "images of numpy": lambda net, x, y: sp.run(PGD(BALL), sp.Classifier(net), sp.Misclassify(y), x.numpy()),
    "images with a gradient": lambda net, x, y: sp.run(PGD(BALL), net, y, x.clone().requires_grad_()),
    "a threat in words": lambda net, x, y: sp.run(PGD("linf:0.1"), net, y, x),
    "a radius of numpy": lambda net, x, y: sp.run(PGD(sp.Linf(np.float64(0.1))), net, y, x),
    "a radius as a tensor": lambda net, x, y: sp.run(PGD(sp.Linf(torch.tensor(0.1, dtype=torch.float64))), net, y, x),
    "steps of numpy": lambda net, x, y: sp.run(PGD(BALL, steps=np.int64(40)), net, y, x),
    "one radius for all": lambda net, x, y: sp.run(PGD(sp.Linf(0.3), step_size=2.5 * 0.1 / 40), net, y, x, eps=0.1),
    "radii as a list": lambda net, x, y: sp.run(PGD(sp.Linf(0.3), step_size=2.5 * 0.1 / 40), net, y, x, eps=[0.1] * 6),
    "a mask of numpy": lambda net, x, y: sp.run(PGD(BALL), net, y, x, mask=np.ones((1, 6, 6), bool)),
    "positions as a list": lambda net, x, y: sp.run(PGD(BALL), net, y, x, indices=list(range(6))),
    "keep as a word": lambda net, x, y: sp.run(PGD(BALL), net, y, x, keep="first"),
    "a batch size of numpy": lambda net, x, y: sp.run(PGD(BALL), net, y, x, engine=sp.Engine(batch_size=np.int64(6))),
}


@pytest.mark.parametrize("what", PLAIN)
def test_what_is_plain_is_taken(case, what):
    net, x, y = case
    same(PLAIN[what](*case), sp.run(PGD(BALL), sp.Classifier(net), sp.Misclassify(y), x))


def test_other_doors_take_the_same(case):
    net, x, y = case
    target, goal = sp.Classifier(net), sp.Misclassify(y)
    assert torch.equal(sp.craft(PGD(BALL), net, y, x), sp.craft(PGD(BALL), target, goal, x))
    made = sp.fit(Universal(BALL, epochs=1), target, goal, x).artifact
    assert torch.equal(sp.fit(Universal(BALL, epochs=1), net, y, x.numpy()).artifact.delta, made.delta)
    one, other = sp.judge_artifact(made, net, y, x), sp.judge_artifact(made, target, goal, x)
    assert torch.equal(one.success_rate, other.success_rate)


@pytest.mark.parametrize("threats", [sp.Linf(0.1), "linf:0.1", ["linf:0.1"], (sp.Linf(0.1),)], ids=str)
def test_an_audit_takes_a_module_and_one_threat(case, threats, tmp_path):
    net, x, y = case
    report = sp.audit(net, (x, y), threats=threats, out=tmp_path / "run", suite=[FGSM])
    assert [threat.norm for threat in report.threats] == ["Linf"]


REFUSED = {
    "a number for a ball": (lambda net, x, y: PGD(8 / 255), ThreatError, r"PGD\(Linf\(0.0313725\)\)"),
    "two radii": (lambda net, x, y: PGD("linf:0.1,0.2"), ThreatError, "one radius"),
    "a norm's class": (lambda net, x, y: PGD(sp.Linf), ThreatError, "is a class"),
    "a radius of another library": (lambda net, x, y: PGD(BALL, eps=0.1), ConfigError, "that of the ball"),
    "iterations": (lambda net, x, y: PGD(BALL, n_iter=10), ConfigError, "'steps'"),
    "alpha": (lambda net, x, y: PGD(BALL, alpha=0.01), ConfigError, "'step_size'"),
    "targeted": (lambda net, x, y: PGD(BALL, targeted=True), ConfigError, "ClassifyAs"),
    "a slip": (lambda net, x, y: PGD(BALL, step=10), ConfigError, "'steps'"),
    "an attack's class": (lambda net, x, y: sp.run(PGD, net, y, x), ConfigError, r"PGD\(Linf\(8 / 255\)\)"),
    "an attack's name": (lambda net, x, y: sp.run("pgd", net, y, x), ConfigError, "no attack"),
    "a universal attack": (lambda net, x, y: sp.run(Universal(BALL), net, y, x), ConfigError, "sparring.fit"),
    "an attack to fit": (lambda net, x, y: sp.fit(PGD(BALL), net, y, x), ConfigError, "sparring.run"),
    "a number for a budget": (lambda net, x, y: sp.run(PGD(BALL), net, y, x, budget=100), BudgetError, "forwards"),
    "a number for an engine": (lambda net, x, y: sp.run(PGD(BALL), net, y, x, engine=64), ConfigError, "batch_size"),
    "a word that is no Keep": (lambda net, x, y: sp.run(PGD(BALL), net, y, x, keep="best"), ConfigError, "smallest"),
    "a goal's class": (lambda net, x, y: sp.run(PGD(BALL), net, sp.Misclassify, x), GoalError, "is a class"),
    "one-hot labels": (lambda net, x, y: sp.Misclassify(torch.eye(5)[y]), InputError, "argmax"),
    "one target": (lambda net, x, y: sp.ClassifyAs(3), InputError, "torch.full"),
    "a model's class": (lambda net, x, y: sp.Classifier(nn.Linear), TargetError, "class Linear"),
    "a class for a target": (lambda net, x, y: sp.run(PGD(BALL), nn.Linear, y, x), TargetError, "is a class"),
    "a target again": (lambda net, x, y: sp.Classifier(sp.Classifier(net)), TargetError, "already"),
    "a path for a model": (lambda net, x, y: sp.run(PGD(BALL), "net.pt", y, x), TargetError, "load"),
    "a word for a mean": (lambda net, x, y: sp.Classifier(net, mean="imagenet"), TargetError, "imagenet"),
    "a bare net restricted": (lambda net, x, y: sp.Restricted(net, sp.Scores), TargetError, "Classifier"),
    "an access that is none": (lambda net, x, y: sp.Restricted(sp.Classifier(net), "all"), AccessError, "Scores"),
    "no images": (lambda net, x, y: sp.run(PGD(BALL), net, sp.Misclassify(y)), InputError, "no images are given"),
    "words for radii": (lambda net, x, y: sp.run(PGD(BALL), net, y, x, eps="0.1"), ThreatError, "float tensor"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_plain_is_refused_with_the_cure(case, what):
    made, error, cure = REFUSED[what]
    with pytest.raises(error, match=cure) as caught:
        made(*case)
    assert isinstance(caught.value, SparringError)


def test_an_access_in_words_is_that_access(case):
    target = sp.Restricted(sp.Classifier(case[0]), "scores")
    assert target.access is sp.Scores
    with pytest.raises(AccessError, match="grants Scores"):
        sp.Restricted(target, sp.Gradients)


@pytest.mark.parametrize("threats", [8 / 255, [0.1], [sp.Linf]], ids=str)
def test_an_audit_refuses_what_is_no_threat(case, threats, tmp_path):
    net, x, y = case
    with pytest.raises(ThreatError, match="linf:4/255"):
        sp.audit(net, (x, y), threats=threats, out=tmp_path / "run", suite=["fgsm"])


def test_a_norm_alone_in_words_searches_for_the_smallest_example(case):
    net, x, y = case
    same(sp.run(sp.attacks.DDN("l2"), net, y, x), sp.run(sp.attacks.DDN(sp.L2()), net, y, x))
    with pytest.raises(ThreatError, match="PGD needs a radius"):
        PGD("linf")
    reports = [sp.audit(net, (x, y), threats=given, suite="ddn") for given in ("l2", [sp.L2()])]
    found = [[(one.eps, one.robust_accuracy) for one in report.threats[0].epsilons] for report in reports]
    assert found[0] == found[1]
    assert found[0]


def test_an_audit_of_smallest_examples_without_a_right_image_ends(case):
    net, x, y = case
    report = sp.audit(net, (x, (y + 1) % 5), threats="L2", suite="ddn")
    assert report.data.clean_accuracy.count == 0
