"""`craft`: the attack's own steps and nothing else."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import APGD, BIM, FGSM, MIFGSM, PGD, CarliniWagner, FastFGSM, Square
from sparring.engine import craft
from sparring.errors import AccessError, ConfigError, InputError, ThreatError
from sparring.rows import take


@pytest.fixture
def case():
    return testing.small_net(6)


def by_hand(case, eps, steps, rate):
    """Signed steps from the image, in ten lines of their own."""
    x = case.images.clone()
    for _ in range(steps):
        x.requires_grad_()
        loss = nn.functional.cross_entropy(case.module(x), case.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, x)
        moved = x.detach() + rate * slope.sign()
        x = torch.minimum(torch.maximum(moved, case.images - eps), case.images + eps).clamp(0, 1)
    return x


@pytest.mark.parametrize("steps", [1, 5])
def test_it_is_where_the_walk_ends(case, steps):
    goal = sp.Misclassify(case.labels, sp.goals.CrossEntropy())
    made = craft(PGD(sp.Linf(0.1), steps, 0.03, random_start=False), case.target, goal, case.images)
    torch.testing.assert_close(made, by_hand(case, 0.1, steps, 0.03), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("attack", "forwards", "backwards"), [
    (PGD(sp.Linf(0.1), steps=7), 7, 7),
    (PGD(sp.L2(0.5), steps=7), 7, 7),
    (FGSM(sp.Linf(0.1)), 1, 1),
    (FastFGSM(sp.Linf(0.1)), 1, 1),
    (MIFGSM(sp.Linf(0.1), steps=5), 5, 5),
    (BIM(sp.Linf(0.1), steps=5), 5, 5),
])  # fmt: skip
def test_it_costs_the_steps_alone(case, attack, forwards, backwards):
    counting = testing.Counting(case.module)
    made = craft(attack, sp.Classifier(counting), case.goal, case.images)
    assert (counting.forwards, counting.backwards) == (6 * forwards, 6 * backwards)
    assert float(attack.ball.norm(made - case.images).max()) <= attack.ball.eps + 1e-9
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert not made.requires_grad


def test_every_attack_that_ends_somewhere_ends_in_its_ball(case):
    for attack in (APGD(sp.Linf(0.1), steps=10), Square(sp.Linf(0.1), n_queries=10)):
        made = craft(attack, case.target, case.goal, case.images)
        assert float((made - case.images).abs().max()) <= 0.1 + 1e-9
        assert not torch.equal(made, case.images)


def test_examples_alone_and_together_are_the_same(case):
    attack = PGD(sp.Linf(0.1), steps=3)
    together = craft(attack, case.target, case.goal, case.images)
    for row in range(6):
        one = torch.tensor([row])
        alone = craft(attack, case.target, take(case.goal, one), case.images[one], indices=one)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-12)


def test_the_model_is_left_alone(case):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4)).double().train()
    for value in (True, False):
        module[0].train(value)
        before = [(part.training, [b.clone() for b in part.buffers()]) for part in module.modules()]
        state = torch.get_rng_state()
        craft(PGD(sp.Linf(0.1), steps=2), sp.Classifier(module), case.goal, case.images)
        for part, (flag, buffers) in zip(module.modules(), before, strict=True):
            assert part.training == flag
            assert all(torch.equal(a, b) for a, b in zip(part.buffers(), buffers, strict=True))
        assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())
        assert torch.equal(torch.get_rng_state(), state)


def test_what_it_refuses(case):
    with pytest.raises(ConfigError, match=r"CarliniWagner ends nowhere: it searches for the smallest example"):
        craft(CarliniWagner(), case.target, case.goal, case.images)
    with pytest.raises(AccessError, match="needs Gradients"):
        craft(FGSM(sp.Linf(0.1)), sp.Restricted(case.target, sp.Scores), case.goal, case.images)
    with pytest.raises(InputError, match="divide by 255"):
        craft(FGSM(sp.Linf(0.1)), case.target, case.goal, case.images * 255)
    with pytest.raises(ThreatError, match="larger than the whole range"):
        craft(FGSM(sp.Linf(8.0)), case.target, case.goal, case.images)
