"""No point of a region lies outside the bounds, at any node, for any method and norm; and which bounds are tighter."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses.certification import METHODS, Network, certify_bounds
from sparring.defenses.certification.concretize import InputSet
from sparring.defenses.certification.intervals import propagate_intervals
from sparring.defenses.certification.linear_bounds import dual_slopes, relaxed_intervals
from sparring.defenses.certification.optimized_slopes import SlopeSearch, optimized_intervals
from sparring.errors import ConfigError, GoalError, InputError, TargetError, ThreatError

from .conftest import convolutional, dense, points_of, region_of, values_at

BALLS = [sp.Linf(0.15), sp.L2(0.4), sp.L1(0.7)]
ROUNDING = 1e-9


NODE_BOUNDS = {
    "ibp": propagate_intervals,
    "crown": relaxed_intervals,
    "alpha": lambda *given: optimized_intervals(*given, SlopeSearch(steps=4)),
    "dual": lambda *given: relaxed_intervals(*given, dual_slopes),
}
CASES = [
    (name, activation)
    for name, activation in (
        ("dense", nn.ReLU),
        ("dense", nn.Tanh),
        ("dense", nn.GELU),
        ("dense", nn.Hardswish),
        ("convolutional", nn.ReLU),
        ("convolutional", nn.SiLU),
        ("convolutional", nn.ReLU6),
    )
]


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize(("kind", "activation"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_values_of_all_nodes_lie_within_their_bounds(kind, activation, ball):
    for seed in range(3):
        torch.manual_seed(seed)
        shape = (1, 2, 3) if kind == "dense" else (2, 5, 5)
        net = dense(seed, activation=activation) if kind == "dense" else convolutional(seed, activation)
        images = torch.rand(3, *shape, dtype=torch.float64)
        mask = torch.rand(3, *shape) < 0.8
        mask[:, 0, 0, 0] = True
        eps = ball.eps * torch.tensor([1.0, 0.3, 2.0], dtype=torch.float64)
        region = region_of(images, ball, mask=mask, eps=eps)
        network = Network(net.eval(), images)
        weights = {name: value.detach() for name, value in network.weights(torch.float64).items()}
        inputs = InputSet.of(region, torch.float64)
        points = points_of(region, seed, 60)
        values = [one.unflatten(0, points.shape[:2]) for one in values_at(network, weights, points.flatten(0, 1))]
        with torch.no_grad():
            for name, bounds in NODE_BOUNDS.items():
                if name == "dual" and activation is not nn.ReLU:
                    continue
                for number, interval in enumerate(bounds(network, weights, inputs)):
                    assert bool((values[number] >= interval.low - ROUNDING).all()), (name, number)
                    assert bool((values[number] <= interval.high + ROUNDING).all()), (name, number)


def margins(network, points, goal, rivals):
    logits = network(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    own = logits.gather(2, goal.classes[None, :, None].expand(len(points), -1, 1))
    differences = own - logits.gather(2, rivals.expand(len(points), *rivals.shape))
    return -differences if isinstance(goal, sp.ClassifyAs) else differences


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.ELU])
def test_margins_exceed_their_bounds_and_methods_keep_their_order(activation, ball):
    for seed in range(4 if activation is nn.ReLU else 1):
        torch.manual_seed(seed)
        images = torch.rand(4, 1, 2, 3, dtype=torch.float64)
        network = Network(dense(seed, activation=activation), images)
        points = points_of(region_of(images, ball), seed, 90)
        with torch.no_grad():
            for goal in (sp.Misclassify(torch.tensor([0, 1, 2, 0])), sp.ClassifyAs(torch.tensor([1, 1, 0, 2]))):
                found = {}
                for method in METHODS:
                    if method == "wong-kolter" and activation is not nn.ReLU:
                        continue
                    bounds = certify_bounds(network, goal, images, ball, method=method)
                    found[method] = bounds.lower
                    assert bool((margins(network, points, goal, bounds.rivals) >= bounds.lower - ROUNDING).all())
                assert bool((found["crown"] >= found["ibp"] - ROUNDING).all())
                assert bool((found["crown-ibp"] >= found["ibp"] - ROUNDING).all())
                assert bool((found["alpha-crown"] >= found["crown"] - ROUNDING).all())
                assert bool((found["alpha-crown"] > found["crown"] + 1e-5).any())


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_affine_networks_have_exact_bounds(ball):
    torch.manual_seed(0)
    images = 0.3 + 0.4 * torch.rand(3, 2, 4, 4, dtype=torch.float64)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 4)).double()
    target = sp.Classifier(net, mean=(0.4, 0.5), std=(0.2, 0.7))
    labels = torch.tensor([0, 3, 1])
    ball = type(ball)(0.2)  # within [0, 1], so that the optimum is the dual norm's
    at = images.clone().requires_grad_()
    with target.frozen():
        logits = target(at)
        for method in ("crown-ibp", "crown", "alpha-crown", "wong-kolter"):
            found = certify_bounds(target, sp.Misclassify(labels), images, ball, method=method)
            for k in range(3):
                rival = found.rivals[:, k]
                margin = (logits.gather(1, labels[:, None]) - logits.gather(1, rival[:, None])).squeeze(1)
                (slope,) = torch.autograd.grad(margin.sum(), at, retain_graph=True)
                exact = margin - 0.2 * ball.dual_norm(slope)
                assert torch.allclose(found.lower[:, k], exact, atol=1e-9), method


def test_one_hidden_layer_is_bounded_as_by_hand():
    """relu(x - 0.2) - relu(x - 0.4) on [0, 1] around 0.5: CROWN's lines, worked out."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0], [1.0]]))
        net[1].bias.copy_(torch.tensor([-0.2, -0.4]))
        net[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        net[3].bias.zero_()
    image, goal = torch.full((1, 1, 1, 1), 0.5).double(), sp.Misclassify(torch.tensor([0]))
    # z1 in [-0.2, 0.8], z2 in [-0.4, 0.6]. Below relu(z1) lies z1 = x - 0.2; above relu(z2) 0.6 (z2 + 0.4) = 0.6 x.
    # The margin is at least 0.4 x - 0.2 on [0, 1]: -0.2. With slope a below: a (x - 0.2) - 0.6 x, best at a = 0.6:
    # -0.12. Wong and Kolter's slope is 0.8: 0.2 x - 0.16 >= -0.16. Intervals: 0 - 0.6.
    expected = {"ibp": -0.6, "crown": -0.2, "crown-ibp": -0.2, "alpha-crown": -0.12, "wong-kolter": -0.16}
    search = SlopeSearch(steps=200, learning_rate=0.05)
    for method, value in expected.items():
        found = certify_bounds(net, goal, image, sp.Linf(0.5), method=method, search=search)
        assert float(found.lower.detach()) == pytest.approx(value, abs=1e-4), method


def dual_network_bound(net, x, eps, c):
    """Wong & Kolter 2018, algorithm 1, for dense ReLU nets and an Linf ball without a valid range: min c^T f."""
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    weights = [(one.weight.detach(), one.bias.detach()) for one in layers]
    lows, highs = [], []

    def objective(depth, c):
        """A lower bound of c^T z_depth, for columns c (n, S); the value of the dual at nu."""
        nu = c
        value = torch.zeros(c.shape[1], dtype=c.dtype)
        for layer in range(depth, -1, -1):
            weight, bias = weights[layer]
            value = value + bias @ nu
            hat = weight.T @ nu
            if layer == 0:
                return value + x @ hat - eps * hat.abs().sum(0)
            low, high = lows[layer - 1], highs[layer - 1]
            crosses = (low < 0) & (high > 0)
            slope = torch.where(crosses, high / (high - low), (low >= 0).to(low.dtype))
            nu = slope[:, None] * hat
            value = value + (torch.where(crosses, low, 0)[:, None] * nu.clamp(max=0)).sum(0) * -1
        raise AssertionError

    for depth in range(len(weights) - 1):
        eye = torch.eye(len(weights[depth][1]), dtype=x.dtype)
        lows.append(objective(depth, eye))
        highs.append(-objective(depth, -eye))
    return objective(len(weights) - 1, c)


def test_wong_kolter_equals_the_dual_network_of_the_paper():
    for seed in range(5):
        torch.manual_seed(seed)
        net = dense(seed, widths=(6, 9, 8, 7, 4))
        images = 0.5 + 0.1 * torch.rand(1, 1, 2, 3, dtype=torch.float64)
        found = certify_bounds(net, sp.Misclassify(torch.tensor([2])), images, sp.Linf(0.2), method="wong-kolter")
        c = torch.stack([torch.eye(4)[2] - torch.eye(4)[k] for k in (0, 1, 3)], dim=1).double()
        assert torch.allclose(found.lower[0].detach(), dual_network_bound(net, images.flatten(), 0.2, c), atol=1e-9)


def test_bounds_do_not_depend_on_batch_memory_or_first_dtype():
    images = torch.rand(4, 2, 5, 5, dtype=torch.float64)
    network = Network(convolutional(0).eval(), images)
    goal = sp.Misclassify(torch.tensor([0, 1, 2, 0]))
    for method in ("crown", "alpha-crown"):
        whole = certify_bounds(network, goal, images, sp.Linf(0.1), method=method)
        small = certify_bounds(network, goal, images, sp.Linf(0.1), method=method, memory=1e-3)
        single = certify_bounds(network, sp.Misclassify(torch.tensor([1])), images[1:2], sp.Linf(0.1), method=method)
        coarse = certify_bounds(network, goal, images, sp.Linf(0.1), method=method, dtype=torch.float32)
        assert torch.allclose(whole.lower, small.lower, atol=1e-9)
        assert torch.allclose(whole.lower[1:2], single.lower, atol=1e-9)
        assert torch.allclose(whole.lower.float(), coarse.lower, atol=1e-3)


def test_optimised_bounds_of_activations_are_tighter():
    images = torch.rand(3, 1, 2, 3, dtype=torch.float64)
    network, goal, ball = Network(dense(1), images), sp.Misclassify(torch.tensor([0, 1, 2])), sp.Linf(0.2)
    plain, deep = (
        certify_bounds(network, goal, images, ball, method="alpha-crown", search=SlopeSearch(intermediate=deep)).lower
        for deep in (False, True)
    )
    assert float((deep - plain).mean()) > 1e-3


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown", "wong-kolter"])
def test_bounds_have_the_gradient_of_the_weights(method):
    net = dense(0, widths=(4, 5, 4, 3))
    images = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    network = Network(net, images)
    weights = [net[1].weight, net[1].bias, net[3].weight, net[5].weight]

    def loss(*given):
        bounds = certify_bounds(network, sp.Misclassify(torch.tensor([0, 2])), images, sp.Linf(0.05), method=method)
        return nn.functional.cross_entropy(bounds.worst_logits, torch.zeros(2, dtype=torch.long))

    analytic = torch.autograd.grad(loss(), weights)
    for weight, gradient in zip(weights, analytic, strict=True):
        for place in (0, weight.numel() - 1):
            flat = weight.data.view(-1)
            value, step = float(flat[place]), 1e-6
            flat[place] = value + step
            above = float(loss().detach())
            flat[place] = value - step
            below = float(loss().detach())
            flat[place] = value
            assert float(gradient.view(-1)[place]) == pytest.approx((above - below) / (2 * step), abs=1e-5)


def test_training_on_worst_logits_raises_the_certified_share():
    torch.manual_seed(0)
    images = torch.rand(64, 1, 2, 2)
    labels = (images.flatten(1)[:, 0] > images.flatten(1)[:, 1]).long()
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    network, goal, ball = Network(net, images), sp.Misclassify(labels), sp.Linf(0.05)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    shares = []
    for _ in range(60):
        bounds = certify_bounds(network, goal, images, ball, method="ibp", dtype=torch.float32)
        shares.append(float((bounds.margin > 0).float().mean()))
        loss = nn.functional.cross_entropy(bounds.worst_logits, torch.zeros(64, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert shares[0] < 0.5
    assert shares[-1] > 0.8


@pytest.mark.wrong_types
def test_wrong_arguments_are_refused():
    images, net = torch.rand(2, 1, 2, 3), dense(0).float()
    goal = sp.Misclassify(torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="alpha-crown"):
        certify_bounds(net, goal, images, sp.Linf(0.1), method="Crown")
    with pytest.raises(ThreatError):
        certify_bounds(net, goal, images, sp.L0(2))
    with pytest.raises(ThreatError, match="radius"):
        certify_bounds(net, goal, images, sp.Linf())
    with pytest.raises(InputError, match="2 images"):
        certify_bounds(net, sp.Misclassify(torch.tensor([0])), images, sp.Linf(0.1))
    with pytest.raises(InputError, match="3 classes"):
        certify_bounds(net, sp.Misclassify(torch.tensor([0, 3])), images, sp.Linf(0.1))
    with pytest.raises(GoalError):
        certify_bounds(net, sp.goals.MisclassifyPixels(torch.zeros(2, 2, 3, dtype=torch.long)), images, sp.Linf(0.1))
    with pytest.raises(TargetError, match="ReLU"):
        certify_bounds(dense(0, activation=nn.Tanh).float(), goal, images, sp.Linf(0.1), method="wong-kolter")
