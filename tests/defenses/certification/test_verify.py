"""Verdicts: complete on ReLU networks, never wrong, confirmed on the classifier, and open where time runs out."""

import time

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import FGSM
from sparring.defenses.certification import BranchAndBound, Network, SlopeSearch, Status, verify
from sparring.errors import ConfigError

from .conftest import convolutional, dense, least_margin, points_of, region_of

QUICK = {"search": SlopeSearch(steps=5), "branching": BranchAndBound(steps=8), "rounds": 0}


@pytest.fixture(autouse=True)
def seconds_of_the_processor(monkeypatch):
    """The clock of `verify`, so that verdicts are the same on a busy machine."""
    monkeypatch.setattr(time, "monotonic", time.process_time)


def shifted(net, label, shift):
    """The network with its logit of `label` raised."""
    with torch.no_grad():
        net[-1].bias[label] += shift
    return net


@pytest.mark.parametrize("ball", [sp.Linf(0.3), sp.L1(0.9)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_verdicts_are_those_of_enumerated_activation_patterns(seed, ball):
    """The same network, with its least margin moved to just above and just below 0."""
    torch.manual_seed(seed)
    image = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    net = dense(seed, widths=(4, 5, 4, 3))
    label = int(net(image).argmax())
    least = least_margin(net, image, label, ball)
    weak = FGSM(ball)  # so that the counterexample is left to branch and bound
    goal = sp.Misclassify(torch.tensor([label]))
    above = verify(shifted(net, label, 1e-3 - least), goal, image, ball, attack=weak, timeout=60, **QUICK)
    assert above.status == (Status.PROVEN,)
    assert float(above.slack) < float(above.lower) <= 1e-3 + 1e-9
    below = verify(shifted(net, label, -2e-3), goal, image, ball, attack=weak, timeout=60, **QUICK)
    assert below.status == (Status.BROKEN,)
    assert int(net(below.examples).argmax()) != label
    assert bool(region_of(image, ball).contains(below.examples).all())


def test_verdicts_in_l2_are_decided_too():
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.rand(4, 1, 2, 3, dtype=torch.float64)
        net = dense(seed, widths=(6, 8, 6, 3))
        goal, ball = sp.Misclassify(net(images).argmax(1)), sp.L2(0.25)
        found = verify(net, goal, images, ball, timeout=60, **QUICK)
        assert not found.which(Status.OPEN).any()
        points = points_of(region_of(images, ball), seed, 300)
        logits = net(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        met = (logits.argmax(2) != goal.classes).any(0)
        assert not bool((met & found.which(Status.PROVEN)).any())


@pytest.mark.parametrize("ball", [sp.Linf(0.3), sp.L2(0.5), sp.L1(0.9)], ids=str)
def test_a_target_class_is_never_reached_or_an_example_reaches_it(ball):
    torch.manual_seed(0)
    images = torch.rand(6, 1, 2, 3, dtype=torch.float64)
    net = dense(3, widths=(6, 8, 6, 4))
    goal = sp.ClassifyAs((net(images).argmax(1) + 1) % 4)
    found = verify(net, goal, images, ball, timeout=60, **QUICK)
    assert not found.which(Status.OPEN).any()
    assert found.which(Status.PROVEN).any()
    broken = found.which(Status.BROKEN)
    assert bool((net(found.examples[broken]).argmax(1) == goal.classes[broken]).all())
    points = points_of(region_of(images, ball), 0, 300)
    logits = net(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    reached = (logits.argmax(2) == goal.classes).any(0)
    assert not bool((reached & found.which(Status.PROVEN)).any())


def spike(corner, height=1.0):
    """A network whose label changes in one corner of the box [0.4, 0.6]^n only; elsewhere its gradient is 0."""
    n = len(corner)
    net = nn.Sequential(nn.Flatten(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.diag(-corner))  # the distance to the corner, pixel by pixel
        net[1].bias.copy_(corner * (0.5 + 0.1 * corner))
        net[3].weight.fill_(-1.0)
        net[3].bias.fill_(0.02)
        net[5].weight.copy_(torch.tensor([[0.0], [100.0 * height]]))
        net[5].bias.copy_(torch.tensor([2.0, 1.0]))
    return net


def test_a_spike_in_a_corner_is_found_or_not_proven():
    corner = torch.tensor([1.0, -1, 1, 1, -1, 1], dtype=torch.float64)
    image = torch.full((1, 1, 2, 3), 0.5, dtype=torch.float64)
    goal, ball = sp.Misclassify(torch.tensor([0])), sp.Linf(0.1)
    found = verify(spike(corner), goal, image, ball, attack=FGSM(ball), timeout=30)
    assert found.status == (Status.BROKEN,)
    lower = verify(spike(corner, 0.499), goal, image, ball, attack=FGSM(ball), timeout=30)
    assert lower.status == (Status.PROVEN,)  # the spike ends below the other class
    inside = verify(spike(corner), goal, image, sp.Linf(0.09), attack=FGSM(ball), timeout=30)
    assert inside.status == (Status.PROVEN,)  # the ball does not reach it


def bumps(pixels, eps, short=0.3):
    """A network whose label changes where every pixel is near 0.5 + eps / 2; the ends of the box are local maxima.

    Each pixel u, in radii from 0.5, adds a function with kinks at (u, value): -1, 1; .1, .5; .5, 1.4; .9, .5; 1, .9.
    """
    knots = torch.tensor([[-1.0, 1.0], [0.1, 0.5], [0.5, 1.4], [0.9, 0.5], [1.0, 0.9]])
    slopes = knots.diff(dim=0)[:, 1] / knots.diff(dim=0)[:, 0]
    pieces = len(slopes)
    net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, pixels * pieces), nn.ReLU(), nn.Linear(pixels * pieces, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(pixels).repeat_interleave(pieces, 0) / eps)
        net[1].bias.copy_((-knots[:-1, 0] - 0.5 / eps).repeat(pixels))
        net[3].weight.zero_()
        net[3].weight[1] = torch.cat((slopes[:1], slopes.diff())).repeat(pixels)
        net[3].bias.copy_(torch.tensor([pixels * (1.4 - 1.0) - short, 0.0]))
    return net


def test_local_search_breaks_what_gradients_and_branch_and_bound_leave_open():
    net, ball = bumps(9, 0.2), sp.Linf(0.2)
    best = torch.full((1, 1, 3, 3), 0.6)
    assert float(net(best).detach().diff()) == pytest.approx(0.3, abs=1e-3)
    images, goal = torch.full((2, 1, 3, 3), 0.5), sp.Misclassify(torch.zeros(2, dtype=torch.long))
    for attack in (sp.attacks.Auto(ball), sp.attacks.Restarts(sp.attacks.PGD(ball, steps=40), n_restarts=5)):
        assert not sp.run(attack, net, goal, images).success.any()
    without = verify(net, goal, images, ball, attack=None, timeout=0.5, rounds=0)
    assert without.status == (Status.OPEN, Status.OPEN)
    found = verify(net, goal, images, ball, attack=None, timeout=60)
    assert found.methods == ("local-search", "local-search")
    assert (net(found.examples).argmax(1) == 1).all()
    assert region_of(images, ball).contains(found.examples).all()
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    mask[..., 0] = False  # without these pixels the label cannot change
    masked = verify(net, goal, images, ball, attack=None, timeout=0.2, mask=mask)
    assert masked.which(Status.BROKEN).sum() == 0


def test_mask_radius_and_clean_errors_are_taken_into_account():
    torch.manual_seed(0)
    images = torch.full((4, 1, 2, 3), 0.5, dtype=torch.float64)
    corner = torch.tensor([1.0, -1, 1, 1, -1, 1], dtype=torch.float64)
    mask = torch.ones(4, 1, 2, 3, dtype=torch.bool)
    mask[1, 0, 0, 0] = False
    eps = torch.tensor([0.1, 0.1, 0.05, 0.1], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    found = verify(spike(corner), sp.Misclassify(labels), images, sp.Linf(0.3), mask=mask, eps=eps, timeout=30)
    assert found.status == (Status.BROKEN, Status.PROVEN, Status.PROVEN, Status.BROKEN)
    assert found.methods[3] == "clean"
    assert torch.equal(found.examples[3], images[3])
    assert bool(found.lower[~found.which(Status.PROVEN)].isneginf().all())
    assert str(found) == "2 proven, 2 broken, 0 open of 4 images"


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_smooth_networks_are_split_too(activation):
    torch.manual_seed(2)
    images = torch.rand(8, 1, 2, 3, dtype=torch.float64)
    net = dense(2, widths=(6, 8, 6, 3), activation=activation, scale=3)
    goal = sp.Misclassify(net(images).argmax(1))
    without = verify(net, goal, images, sp.Linf(0.12), timeout=0, **QUICK)
    found = verify(net, goal, images, sp.Linf(0.12), timeout=3, **QUICK)
    assert bool((found.lower >= without.lower - 1e-9).all())
    assert int(found.which(Status.OPEN).sum()) < int(without.which(Status.OPEN).sum())


def test_what_time_does_not_suffice_for_is_open_with_its_bound():
    torch.manual_seed(0)
    images = torch.rand(6, 2, 5, 5)
    net = convolutional(1).float().eval()
    goal, ball = sp.Misclassify(net(images).argmax(1)), sp.Linf(0.08)
    found = verify(net, goal, images, ball, timeout=0, search=SlopeSearch(steps=1))
    still = found.which(Status.OPEN)
    assert bool(still.any())
    assert bool((found.lower[still] <= found.slack[still]).all())
    assert bool(found.lower[still].isfinite().all())
    longer = verify(net, goal, images, ball, timeout=2)
    assert bool((longer.lower[still] >= found.lower[still] - 1e-9)[longer.which(Status.OPEN)[still]].all())
    assert bool((longer.domains[longer.which(Status.OPEN)] > 0).all())
    assert bool((longer.seconds > 0).all())
    points = points_of(region_of(images, ball), 0, 200)
    logits = net(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    own = logits.gather(2, goal.classes[None, :, None].expand(200, 6, 1))
    margins = (own - logits.scatter(2, goal.classes[None, :, None].expand(200, 6, 1), -torch.inf)).amin(2).amin(0)
    assert bool((margins.double() >= longer.lower - 1e-5).all())


def test_no_attack_breaks_what_is_proven():
    torch.manual_seed(5)
    images = torch.rand(12, 2, 5, 5)
    target = sp.Classifier(convolutional(4).float().eval(), mean=0.5, std=0.5)
    goal, ball = sp.Misclassify(target(images).argmax(1)), sp.Linf(0.04)
    network = Network(target, images)
    found = verify(network, goal, images, ball, timeout=3, attack=FGSM(ball))
    outcome = sp.run(sp.attacks.Auto(ball), target, goal, images)
    assert not bool((outcome.success & found.which(Status.PROVEN)).any())
    assert found.which(Status.PROVEN).any()


def test_wrong_settings_are_refused():
    images, net = torch.rand(1, 1, 2, 3), dense(0).float()
    for wrong in ({"timeout": -1}, {"rounds": -1}, {"rounds": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            verify(net, sp.Misclassify(torch.tensor([0])), images, sp.Linf(0.1), **wrong)
