"""Certified training: its losses against closed forms, its ramps, and what it proves afterwards."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from torch import nn

import sparring as sp
from sparring.attacks import PGD, FastFGSM
from sparring.defenses.certification import Network, certify_bounds
from sparring.defenses.training import (
    CROWNIBP,
    IBP,
    MTLIBP,
    SABR,
    Adversary,
    Averaging,
    Craft,
    GradAlign,
    Madry,
    Minibatch,
    Optimizer,
    Plain,
    TrainingConfig,
    Validation,
    ibp_initialization,
    train,
)
from sparring.defenses.training.plan import make_training_plan
from sparring.engine import Engine
from sparring.errors import ConfigError, TargetError, ThreatError
from sparring.geometry import L0
from sparring.random import Key
from sparring.targets import Trainee

BALL, EPS, CLASSES = sp.Linf(0.1), 0.1, 4
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
ATTACK = PGD(BALL, steps=3, step_size=0.05)


def images(size=3):
    """Far enough from 0 and 1 that the range cuts no ball."""
    return 0.2 + 0.6 * Key(torch.arange(6), 1).uniform("images", (1, size, size), dtype=torch.float64)


def module(*layers):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(*[make() for make in layers]).double()


def one_layer():
    return module(nn.Flatten, lambda: nn.Linear(9, CLASSES))


def dense(norm=nn.Identity):
    return module(nn.Flatten, lambda: nn.Linear(9, 7), norm, nn.ReLU, lambda: nn.Linear(7, CLASSES))


def craft(net, attacks=(), share=1.0):
    """What an objective is given, around a network under training."""
    classifier, x = sp.Classifier(net), images()
    batch = Minibatch(x, LABELS, Key(torch.arange(6), 0), 6, Network(classifier, x))
    adversary = Adversary(attacks, eps_schedule=((0, share),))
    trainee = Trainee(classifier, as_trained=False)
    return Craft(batch, trainee, adversary.at(0), (), False, 0, {}, Engine(), adversary.eps_share(0))


def losses(objective, net, *attacks, share=1.0):
    made = craft(net, attacks, share)
    net.train()
    return objective.losses(sp.Classifier(net), made.batch, objective.examples(made))


def worst_entropy(lower):
    """(6,) log(1 + sum_k exp(-lower_k)) in numpy."""
    return logsumexp(np.concatenate((np.zeros((len(lower), 1)), -lower), axis=1), axis=1)


def test_ibp_of_one_layer_is_the_dual_norm_by_hand():
    net = one_layer()
    w, b = (value.detach().numpy() for value in net[1].parameters())
    x, y = images().flatten(1).numpy(), LABELS.numpy()
    z = x @ w.T + b
    lower = np.stack([
        [z[i, y[i]] - z[i, k] - EPS * np.abs(w[y[i]] - w[k]).sum() for k in range(CLASSES) if k != y[i]]
        for i in range(6)
    ])  # fmt: skip
    clean = logsumexp(z, axis=1) - z[np.arange(6), y]
    found = losses(IBP(BALL, kappa_end=0.25), net)
    np.testing.assert_allclose(found.detach().numpy(), 0.25 * clean + 0.75 * worst_entropy(lower), rtol=1e-10)


def test_crown_ibp_of_two_layers_is_its_lines_by_hand():
    net = dense()
    (w1, b1), (w2, b2) = ([value.detach().numpy() for value in net[place].parameters()] for place in (1, 4))
    x, y = images().flatten(1).numpy(), LABELS.numpy()
    lower = []
    for i in range(6):
        centre, radius = w1 @ x[i] + b1, EPS * np.abs(w1).sum(1)
        low, high = centre - radius, centre + radius
        crossing = (low < 0) & (high > 0)
        above = np.where(crossing, high / (high - low), low >= 0)
        below = np.where(crossing, high + low > 0, low >= 0)
        rows = []
        for k in range(CLASSES):
            if k == y[i]:
                continue
            a = w2[y[i]] - w2[k]
            slope = np.where(a > 0, below, above)
            lines = b2[y[i]] - b2[k] - (np.where(a > 0, 0, a) * np.where(crossing, above * low, 0)).sum()
            crown = (a * slope) @ centre + lines - EPS * np.abs((a * slope) @ w1).sum()
            interval = np.where(a > 0, a * np.maximum(low, 0), a * np.maximum(high, 0)).sum() + b2[y[i]] - b2[k]
            rows.append(0.25 * crown + 0.75 * interval)
        lower.append(rows)
    found = losses(CROWNIBP(BALL, kappa_end=0.0, beta_end=0.25), net)
    np.testing.assert_allclose(found.detach().numpy(), worst_entropy(np.array(lower)), rtol=1e-9)


def test_what_they_are_at_their_ends():
    net = dense()
    ibp = losses(IBP(BALL, kappa_end=0.0), net)
    for other in (
        losses(CROWNIBP(BALL, kappa_end=0.0, beta_end=0.0), net),
        losses(SABR(BALL, lambda_=1.0), net, ATTACK),
        losses(MTLIBP(BALL, alpha=1.0), net, ATTACK),
    ):
        torch.testing.assert_close(other, ibp)
    torch.testing.assert_close(losses(MTLIBP(BALL, alpha=0.0), net, ATTACK), losses(Madry(), net, ATTACK))
    torch.testing.assert_close(losses(IBP(BALL), net, share=0.0), losses(Plain(), net))


def test_sabr_takes_small_balls_within_the_large_one():
    net, objective = dense(), SABR(BALL, lambda_=0.4)
    made = craft(net, (ATTACK,))
    centres, tau = objective.examples(made)
    assert torch.equal(tau, torch.full((6,), 0.4 * EPS, dtype=torch.float64))
    assert 0.9 * 0.6 * EPS < float((centres - images()).abs().max()) <= 0.6 * EPS + 1e-9
    lower = certify_bounds(net, sp.Misclassify(LABELS), centres, sp.Linf(0.4 * EPS), method="ibp").lower
    found = losses(objective, net, ATTACK)
    np.testing.assert_allclose(found.detach().numpy(), worst_entropy(lower.detach().numpy()), rtol=1e-9)


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0.0, 0.9, 0.8]), (0.5, [0.05, 0.6, 0.4]), (1.5, [0.15, 0.3])])
def test_radius_and_weights_move_with_the_schedule(share, expected):
    found = CROWNIBP(BALL, kappa_start=0.9, kappa_end=0.3, beta_start=0.8).examples(craft(dense(), share=share))
    assert [one.shape for one in found] == [(6,)] * len(expected)
    np.testing.assert_allclose([float(one[0]) for one in found], expected, atol=1e-12)
    assert SABR(BALL).examples(craft(dense(), (ATTACK,), share))[1][0] == pytest.approx(0.4 * expected[0])


def test_a_batch_norm_takes_the_statistics_of_the_clean_minibatch():
    """In bounds it is an affine layer of these statistics, through which the gradient goes."""
    net = dense(lambda: nn.BatchNorm1d(7))
    found = losses(IBP(BALL, kappa_end=0.0), net)
    hidden = net[1](net[0](images()))
    mean, scale = hidden.mean(0), (hidden.var(0, correction=0) + net[2].eps).rsqrt()
    low, high = (
        (net[1](images().flatten(1)) + sign * EPS * net[1].weight.abs().sum(1) - mean) * scale for sign in (-1, 1)
    )
    low, high = low.relu(), high.relu()
    functions = torch.stack([net[4].weight[y] - net[4].weight[[k for k in range(CLASSES) if k != y]] for y in LABELS])
    biases = torch.stack([net[4].bias[y] - net[4].bias[[k for k in range(CLASSES) if k != y]] for y in LABELS])
    lower = (functions.clamp(min=0) * low[:, None] + functions.clamp(max=0) * high[:, None]).sum(2) + biases
    expected = torch.cat((torch.zeros(6, 1, dtype=torch.float64), -lower), 1).logsumexp(1)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss.sum(), net[1].weight, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes)
    assert int(net[2].num_batches_tracked) == 1  # the trace, the attacks and the bounds moved no statistics


def test_ibp_initialization_keeps_the_width_of_intervals():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = [layer for _ in range(4) for layer in (nn.Linear(600, 600), nn.ReLU())]
        net = nn.Sequential(*layers)
        ibp_initialization(net)
        low = torch.rand(20, 600)
    high = low + 0.1
    for linear in net.requires_grad_(False)[::2]:
        centre, radius = linear((low + high) / 2), (high - low) / 2 @ linear.weight.abs().T
        low, high = (centre - radius).relu(), (centre + radius).relu()
    assert 0.08 < float((high - low).mean()) < 0.12


# the training

SMALL = TrainingConfig(
    epochs=3, batch_size=16, optimizer=Optimizer(name="adam", lr=0.01, weight_decay=0.0), checkpoint_seconds=0.0
)
RAMP = Adversary(eps_schedule=((0, 0.0), (2, 1.0)))


def digits(count=1000):
    data = load_digits()
    return torch.tensor(data.images[:count, None] / 16, dtype=torch.float32), torch.tensor(data.target[:count])


def digit_net(seed=0, norm=nn.Identity):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), norm(), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("objective", "attacks"), [(CROWNIBP(BALL), ()), (SABR(BALL), (ATTACK,))], ids=["crown-ibp", "sabr"]
)
def test_a_training_that_was_stopped_on_the_ramp_ends_the_same(tmp_path, objective, attacks):
    adversary = replace(RAMP, attacks=attacks)

    def trained(net, **options):
        watched = Validation(val_size=40, steps=2)
        return train(net, digits(140), objective, adversary, config=SMALL, validation=watched, **options)

    def stop(at):
        if at.update == 10:
            raise Stop

    norm = lambda: nn.BatchNorm2d(8)  # noqa: E731
    expected = trained(digit_net(norm=norm))
    with pytest.raises(Stop):
        trained(digit_net(norm=norm), out=tmp_path, progress=stop)
    found = trained(digit_net(seed=5, norm=norm), out=tmp_path, resume=True)
    assert str([replace(one, seconds=0.0) for one in found.log]) == str(
        [replace(one, seconds=0.0) for one in expected.log]
    )
    assert [one.eps for one in found.log] == [0.5, 1.0, 1.0]
    for name, value in expected.last_weights.items():
        assert torch.equal(found.last_weights[name], value)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_and_objectives_around_it(precision):
    config = SMALL.model_copy(update={"epochs": 1, "precision": precision})
    adversary = Adversary((FastFGSM(BALL),), eps_schedule=((0, 0.5),))
    objective = GradAlign(CROWNIBP(BALL), 0.1)
    net = digit_net(norm=lambda: nn.BatchNorm2d(8))
    found = train(net, digits(140), objective, adversary, config=config, validation=Validation(val_size=40, steps=2))
    assert found.last.certified is not None
    assert np.isfinite(found.last.loss)


def test_ibp_training_proves_more_than_plain_training():
    x, y = digits(1500)
    shares = {}
    for name, objective in (("plain", Plain()), ("ibp", IBP(BALL))):
        config = SMALL.model_copy(update={"epochs": 12, "batch_size": 50, "averaging": Averaging(decay=0.98)})
        target = sp.Classifier(digit_net())
        adversary = Adversary(eps_schedule=((1, 0.0), (8, 1.0)))
        found = train(target, (x, y), objective, adversary, config=config, validation=Validation(val_size=200))
        later, labels = torch.tensor(load_digits().images[1500:, None] / 16).float(), load_digits().target[1500:]
        goal = sp.Misclassify(torch.tensor(labels))
        shares[name] = float((certify_bounds(target, goal, later, BALL, method="ibp").margin > 0).double().mean())
        if name == "ibp":
            assert found.best.certified == max(epoch.certified for epoch in found.log) == found.best.score
            assert "% certified" in str(found)
    assert shares["ibp"] > 0.4
    assert shares["ibp"] > shares["plain"] + 0.3


def test_what_cannot_be_trained_is_refused():
    grouped = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    before = [value.clone() for value in grouped.parameters()]
    attacked = Adversary((ATTACK,))
    for objective, adversary in ((IBP(BALL), RAMP), (MTLIBP(BALL), attacked), (GradAlign(IBP(BALL)), attacked)):
        with pytest.raises(TargetError, match="group_norm in 1"):
            train(grouped, digits(100), objective, adversary, config=SMALL, validation=Validation(val_size=20))
    assert all(torch.equal(*pair) for pair in zip(before, grouped.parameters(), strict=True))
    for error, words, objective, attacks in (
        (ThreatError, "larger than the whole range", IBP(sp.Linf(3)), ()),
        (ConfigError, "SABR certifies Linf.51/255", SABR(sp.Linf(0.2)), (ATTACK,)),
        (ConfigError, "IBP works with 0 attacks", IBP(BALL), (ATTACK,)),
        (ConfigError, "SABR works with 1 attacks", SABR(BALL), ()),
    ):
        with pytest.raises(error, match=words):
            train(digit_net(), digits(100), objective, Adversary(attacks), validation=Validation(val_size=20))
    for error, words, make in (
        (ThreatError, "Linf, L2 and L1", lambda: IBP(L0(3))),
        (ThreatError, "needs a radius", lambda: IBP(sp.Linf())),
        (ThreatError, "Linf, L2 and L1", lambda: IBP(0.1)),
        (ConfigError, "kappa_end=2", lambda: IBP(BALL, kappa_end=2)),
        (ConfigError, "beta_start=-1", lambda: CROWNIBP(BALL, beta_start=-1)),
        (ConfigError, "lambda_=0", lambda: SABR(BALL, lambda_=0)),
        (ConfigError, "alpha=1.5", lambda: MTLIBP(BALL, alpha=1.5)),
    ):
        with pytest.raises(error, match=words):
            make()


def test_plans_name_the_ball_by_a_threat():
    def plan(**objective):
        table = {"model": "zoo:mnist-plain", "data": {"train": "zoo:mnist-train"}, "objective": objective}
        return make_training_plan(table).make_objective(None)

    assert plan(name="ibp", threat="linf:0.3", kappa_end=0.25) == IBP(sp.Linf(0.3), kappa_end=0.25)
    assert plan(name="mtl-ibp", threat="linf:51/255") == MTLIBP(sp.Linf(0.2))
    for objective, error, words in (
        (
            {"name": "ibp", "threat": ["linf:0.1"]},
            ThreatError,
            r"objective.threat=\['linf:0.1'\]: ibp .*write threat = ",
        ),
        ({"name": "ibp", "threat": "linf:0.1,0.2"}, ThreatError, "has 2 radii"),
        ({"name": "ibp", "threat": 0.1}, ThreatError, "objective.threat=0.1"),
        ({"name": "ibp", "threat": "l0:3"}, ThreatError, "objective: certificates are known in"),
        ({"name": "ibp", "threat": "linf:0.1", "kapa_end": 0}, ConfigError, "kappa_end"),
        ({"name": "plain", "threat": "linf:0.1"}, ConfigError, "has no 'threat'"),
    ):
        with pytest.raises(error, match=words):
            plan(**objective)
