"""Multi steepest descent: it goes on from the worst of its steps, stays in the union, and beats each norm alone."""

import pytest
import torch
from torch.nn import functional as F

import sparring as sp
from sparring import testing
from sparring.access import Batch, Keep
from sparring.attacks import MSD, PGD
from sparring.defenses.training.adversary import scaled
from sparring.engine import craft
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.goals import CrossEntropy
from sparring.random import Key
from sparring.zoo import load_data, load_model

SLACK = 0.041  # a walk between the norms may end behind one of them, by some of 100 digits
BALLS = (sp.Linf(0.05), sp.L2(0.5), sp.L1(3))


@pytest.fixture(scope="module")
def case():
    return testing.small_net(24)


def loss_at(case, images):
    with torch.no_grad():
        return F.cross_entropy(case.module(images), case.labels, reduction="none")


def goal(case):
    return sp.Misclassify(case.labels, CrossEntropy())


def test_it_is_the_algorithm(case):
    """Written out for Linf and L2, away from the edge of the valid range."""
    x = case.images.clamp(0.3, 0.7)
    delta, chosen = torch.zeros_like(x), []
    for _ in range(5):
        at = (x + delta).requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(case.module(at), case.labels, reduction="sum"), at)
        first = (delta + 0.02 * slope.sign()).clamp(-0.05, 0.05)
        second = delta + 0.172 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        second = second * (0.45 / second.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)
        better = loss_at(case, x + second) > loss_at(case, x + first)
        chosen.append(better)
        delta = torch.where(better.view(-1, 1, 1, 1), second, first)
    assert 10 < int(torch.stack(chosen).sum()) < 110  # of 120
    attack = MSD((sp.Linf(0.05), sp.L2(0.45)), steps=5, step_sizes=(0.02, 0.172))
    made = craft(attack, case.target, goal(case), x)
    torch.testing.assert_close(made - x, delta, rtol=0, atol=1e-9)


def test_with_one_ball_it_is_pgd_from_the_image(case):
    for ball in BALLS:
        pgd = PGD(ball, steps=6, step_size=2.5 * ball.eps / 6, random_start=False)
        alone = craft(pgd, case.target, goal(case), case.images)
        torch.testing.assert_close(craft(MSD((ball,), 6), case.target, goal(case), case.images), alone)


def test_it_is_as_strong_in_the_union_as_each_norm_alone(case):
    """In float32, where rounding must throw no example away."""
    module, images = case.module.float(), case.images.float()
    try:
        target, marks = sp.Classifier(module), {}
        for name, attack in {"msd": MSD(BALLS, 40), **{str(ball): PGD(ball, steps=40) for ball in BALLS}}.items():
            found = sp.run(attack, target, goal(case), images, keep=Keep.HIGHEST_LOSS)
            assert float(attack.ball.norm(found.examples - images).max()) <= attack.ball.eps * (1 + 1e-5)
            marks[name] = float(loss_at(case, found.examples).mean()), found.attack_success_rate
    finally:
        module.double()
    assert all(marks["msd"][0] > 0.98 * mean for mean, _ in marks.values())
    assert marks["msd"][1] == max(rate for _, rate in marks.values())
    assert marks["msd"][1] > 0


@pytest.mark.parametrize("eps", [(0.1, 1.0, 6.0), (0.06, 1.5, 6.0), (0.06, 1.0, 10.0), (0.09, 1.4, 8.5)], ids=str)
def test_it_finds_the_worst_norm_on_a_real_net(eps):
    """Linf, L2 and L1 are the worst in turn, and in the last nearly the same."""
    loaded = load_model("zoo:mnist-plain")
    chunk = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=100).chunks(100)))
    balls = tuple(kind(radius) for kind, radius in zip((sp.Linf, sp.L2, sp.L1), eps, strict=True))
    goal = sp.Misclassify(chunk.labels)

    def share(attack):
        return sp.run(attack, loaded.target, goal, chunk.images).robust_accuracy

    assert share(MSD(balls, 20)) <= min(share(PGD(ball, steps=20)) for ball in balls) + SLACK


def test_where_it_ends_is_what_craft_returns(case):
    asked = []

    def watching(images):
        asked.append(images.detach().clone())
        return case.module(images)

    attack = MSD(BALLS, steps=3)
    made = craft(attack, sp.Classifier(watching), goal(case), case.images)
    assert len(asked) == 3 * (1 + 3)
    last = torch.stack(asked[-3:])
    values = torch.stack([loss_at(case, images) for images in last])
    assert torch.equal(made, last[values.argmax(0), torch.arange(24)])


def test_it_begins_where_it_is_told(case):
    key = Key(torch.arange(24), 2)
    start = (case.images + 0.4 * key.normal("start", (3, 8, 8), dtype=torch.float64)).clamp(0, 1)
    union = MSD(BALLS).ball
    ledger = sp.access.Ledger(Region.around(case.images, union), Keep.FIRST, sp.Budget())
    oracle = sp.Gradients(sp.access.QueryBroker(case.target, goal(case), ledger, 100, False, key))
    begun = MSD(BALLS).init(oracle, Batch(case.images, key, start)).x
    nearest = union.project(start - case.images, case.images)
    assert float(union.norm(nearest).min()) > 0.999
    torch.testing.assert_close(begun - case.images, nearest, rtol=0, atol=1e-12)
    spread = craft(MSD(BALLS, 1, random_start=True), case.target, goal(case), case.images)
    assert not torch.equal(spread, craft(MSD(BALLS, 1), case.target, goal(case), case.images))


def test_a_training_may_scale_it():
    weaker = scaled(MSD(BALLS, 10, (0.01, 0.1, 0.4)), 0.5, 4)
    assert weaker == MSD((sp.Linf(0.025), sp.L2(0.25), sp.L1(1.5)), 4, (0.005, 0.05, 0.2))


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="one step size for each of its 3 balls"):
        MSD(BALLS, 10, (0.1, 0.2))
    with pytest.raises(ConfigError, match="steps=0"):
        MSD(BALLS, 0)
    with pytest.raises(ConfigError, match=r"step_sizes=\(0.1, -1.0, 0.1\)"):
        MSD(BALLS, 1, (0.1, -1.0, 0.1))
    with pytest.raises(ThreatError, match="an epsilon above 0"):
        MSD((sp.Linf(),))
    with pytest.raises(ThreatError, match="a tuple of balls"):
        MSD(())
