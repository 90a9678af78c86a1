"""Orthogonal and selective PGD: the formula, the laws, and a goal that knows of no detector."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring import testing
from sparring.attacks import Restarts
from sparring.attacks.gradient.orthogonal import OrthogonalPGD, orthogonalize
from sparring.engine import craft
from sparring.errors import ConfigError, GoalError, ThreatError
from sparring.goals import DetectorOutputs, Margin, Misclassify, Undetected
from sparring.testing import attack_laws
from sparring.testing.cases import Case, draw


@dataclass(frozen=True)
class Split(Undetected):
    """`Undetected` on one tensor (B, K + 1), whose last column is the alarm."""

    def terms(self, outputs):
        return super().terms(parted(outputs))

    def margin(self, outputs):
        return super().margin(parted(outputs))

    def loss_of(self, outputs, climb=None):
        return super().loss_of(parted(outputs), climb)

    def check(self, outputs, all_rows):
        super().check(parted(outputs), all_rows)


def parted(outputs):
    return DetectorOutputs(outputs[:, :-1], outputs[:, -1])


class WithAlarm(nn.Module):
    """Logits of `module`, and an alarm that rises with a smooth function of the image."""

    def __init__(self, module, silent=False):
        super().__init__()
        self.module, self.silent = module, silent
        self.register_buffer("weight", draw("alarm", (192,)) / 192**0.5)

    def forward(self, images):
        flat = images.flatten(1)
        alarm = 0 * flat.sum(1) - 1 if self.silent else 4 * torch.tanh(flat[:, :192] @ self.weight[: flat.shape[1]]) - 1
        return torch.cat((self.module(images), alarm[:, None]), 1)


@dataclass(frozen=True)
class ScreenedCase(Case):
    @property
    def goal(self):
        return Split(Misclassify(self.labels))


def screened(count=12):
    case = testing.small_net(count)
    return ScreenedCase(WithAlarm(case.module).eval(), case.images, case.labels)


ATTACKS = {
    "orthogonal linf": OrthogonalPGD(sp.Linf(0.06), steps=8),
    "selective linf": OrthogonalPGD(sp.Linf(0.06), steps=8, orthogonal=False),
    "orthogonal l2": OrthogonalPGD(sp.L2(0.6), steps=8),
}


@pytest.fixture(params=ATTACKS)
def attack(request, monkeypatch):
    monkeypatch.setattr(attack_laws, "Case", ScreenedCase)
    return ATTACKS[request.param]


def test_batch_law(attack):
    testing.check_batch_law(attack, screened(), tolerance=1e-9)


def test_feasible(attack):
    testing.check_feasible(attack, screened())


def test_honest(attack):
    testing.check_reported_success(attack, screened())


def test_within_budget_and_counted_right(attack):
    testing.check_budget(attack, screened(4))


def test_no_door_forced(attack):
    testing.check_access(attack, screened(4))


def test_resume_equals_never_having_stopped(attack):
    testing.check_resume(attack, screened(6))


def test_victim_unchanged(attack):
    testing.check_target_unchanged(attack, screened(4))


@pytest.mark.parametrize("ball", [sp.Linf(0.05), sp.L2(0.4)], ids=str)
def test_beside_a_detector_without_a_slope_it_is_as_exact_as_pgd(ball, monkeypatch):
    def silent(classes):
        case = testing.cases.linear(classes)
        return ScreenedCase(WithAlarm(case.module, silent=True), case.images, case.labels)

    monkeypatch.setattr(attack_laws, "Case", ScreenedCase)
    monkeypatch.setattr(attack_laws, "linear", silent)
    bare = testing.cases.optimum
    monkeypatch.setattr(attack_laws, "optimum", lambda case, ball: bare(replace(case, module=case.module.module), ball))
    testing.check_closed_form(OrthogonalPGD(ball, steps=40, misclassified_margin=0.0), ratio=1.02)


@pytest.mark.parametrize("orthogonal", [True, False])
def test_it_is_the_algorithm(orthogonal):
    """Written out in L2, away from the edge of the valid range."""
    case = screened()
    x = case.images.clamp(0.35, 0.65)
    at, turned = x, []
    for _ in range(12):
        image = at.detach().requires_grad_()
        outputs = case.module(image)
        own = outputs[:, :4].gather(1, case.labels[:, None]).squeeze(1)
        lead = (outputs[:, :4] - 1e9 * F.one_hot(case.labels, 4)).amax(1) - own
        (a,) = torch.autograd.grad(lead.sum(), image, retain_graph=True)
        (b,) = torch.autograd.grad(-outputs[:, 4].sum(), image)
        a, b = a.flatten(1), b.flatten(1)
        if orthogonal:
            share = (a * b).sum(1, keepdim=True)
            a, b = a - share / b.square().sum(1, keepdim=True) * b, b - share / a.square().sum(1, keepdim=True) * a
        fooled = lead.detach()[:, None] > 0.05
        way = torch.where(fooled, b, a)
        turned.append(fooled)
        delta = (at - x).flatten(1) + 0.15 * way / way.norm(dim=1, keepdim=True)
        delta = delta * (0.5 / delta.norm(dim=1, keepdim=True)).clamp(max=1)
        at = x + delta.view_as(x)
    assert 10 < int(torch.stack(turned).sum()) < 134  # of 144: both branches
    attack = OrthogonalPGD(sp.L2(0.5), steps=12, step_size=0.15, orthogonal=orthogonal, random_start=False)
    made = craft(attack, sp.Classifier(case.module), case.goal, x)
    torch.testing.assert_close(made, at, rtol=0, atol=1e-9)


def test_orthogonalize_is_orthogonal():
    a, b = draw("a", (5, 3, 4, 4)), draw("b", (5, 3, 4, 4))
    left = orthogonalize(a, b)
    assert float((left * b).flatten(1).sum(1).abs().max()) < 1e-12
    removed = (a - left).flatten(1)
    torch.testing.assert_close(removed / removed.norm(dim=1, keepdim=True), F.normalize(b.flatten(1)) * (
        (a * b).flatten(1).sum(1, keepdim=True).sign()
    ))  # fmt: skip
    assert torch.equal(orthogonalize(a, torch.zeros_like(b)), a)
    torch.testing.assert_close(orthogonalize(a.float(), b.float() * 1e-30).double(), left, rtol=1e-4, atol=1e-5)


def test_one_step_leaves_the_alarm_of_a_linear_detector_as_it_is():
    """And the selective one does not, where the two gradients are not orthogonal already."""
    layer = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    images = 0.5 + 0.05 * draw("points", (6, 3, 4, 4))
    goal = Split(Misclassify(layer(images)[:, :2].argmax(1)))
    before = layer(images)[:, 2].detach()
    moved = {}
    for orthogonal in (True, False):
        attack = OrthogonalPGD(sp.L2(5), steps=1, step_size=0.2, orthogonal=orthogonal, random_start=False)
        made = craft(attack, sp.Classifier(layer), goal, images)
        moved[orthogonal] = (layer(made)[:, 2].detach() - before).abs()
    assert float(moved[True].max()) < 1e-12
    assert float(moved[False].min()) > 1e-4


def test_it_gets_past_both():
    """Where the detector looks along the way to the boundary, but not only there."""
    case = screened(24)
    ball = sp.Linf(0.15)
    found = sp.run(OrthogonalPGD(ball, steps=40), case.target, case.goal, case.images)
    with torch.no_grad():
        outputs = case.module(found.examples)
    won = found.success
    assert int(won.sum()) >= 12
    assert bool((outputs[won, :4].argmax(1) != case.labels[won]).all())
    assert bool((outputs[won, 4] <= 0).all())


def test_a_start_is_where_it_begins():
    case = screened(4)
    start = (case.images + 0.05).clamp(0, 1)
    attack = OrthogonalPGD(sp.Linf(0.1), steps=1, step_size=1e-9)
    made = craft(attack, case.target, case.goal, case.images, start=start)
    torch.testing.assert_close(made, start, rtol=0, atol=1e-8)


def test_a_goal_without_a_detector_is_refused_in_words():
    case = testing.small_net(4)
    counting = testing.Counting(case.module)
    with pytest.raises(GoalError, match=r"OrthogonalPGD is an attack on a classifier with a detector, .* or use PGD"):
        sp.run(OrthogonalPGD(sp.Linf(0.1)), sp.Classifier(counting), case.goal, case.images)
    with pytest.raises(GoalError, match="OrthogonalPGD is an attack"):
        craft(Restarts(OrthogonalPGD(sp.Linf(0.1)), 2), sp.Classifier(counting), case.goal, case.images)
    assert counting.calls == 0


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"step_size": 0.0}, {"misclassified_margin": -1.0}, {"step_size": float("nan")}]
)
def test_bad_parameters(changes):
    with pytest.raises(ConfigError, match=rf"OrthogonalPGD {next(iter(changes))}=.*; pass a"):
        replace(OrthogonalPGD(sp.Linf(0.1)), **changes)


def test_a_radius_is_needed():
    with pytest.raises(ThreatError, match="OrthogonalPGD needs a radius"):
        OrthogonalPGD(sp.Linf())
    assert isinstance(Margin(), sp.goals.Climb)
