"""Training for randomised smoothing: losses against their formulas, and epochs judged by certified radius."""

import csv
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax
from torch import nn

import sparring as sp
from sparring.attacks import PGD
from sparring.defenses.certification import SmoothedClassifier
from sparring.defenses.training import (
    Adversary,
    Consistency,
    Craft,
    GaussianAugmentation,
    Minibatch,
    Optimizer,
    SmoothAdv,
    SmoothingValidation,
    TrainingConfig,
    Validation,
    train,
)
from sparring.defenses.training.dataset import InMemoryData
from sparring.defenses.training.plan import make_training_plan
from sparring.defenses.training.trainer import split_validation
from sparring.defenses.training.validation import SEED
from sparring.engine import Engine
from sparring.errors import ConfigError
from sparring.random import Key
from sparring.targets import Trainee

LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])
SIGMA = 0.7


def read(images):
    """The model whose images are its logits."""
    return images.flatten(1)


def minibatch(size=1.0, dtype=torch.float64):
    images = size * Key(torch.arange(7), 4).normal("images", (5, 1, 1), dtype=dtype)
    return Minibatch(images, LABELS, Key(torch.arange(7), 0))


def noisy(batch, m):
    """(m, 7, 5) in numpy: the images with the draws of the batch's key."""
    draws = [batch.key.normal("smoothing", (5, 1, 1), step, torch.float64) for step in range(m)]
    return np.stack([read(batch.images + SIGMA * draw).numpy() for draw in draws])


def entropies(logits):
    """(7,) the mean cross-entropy over the draws."""
    return -log_softmax(logits, 2)[:, np.arange(7), LABELS].mean(0)


@pytest.mark.parametrize("m", [1, 3])
def test_gaussian_loss_is_the_mean_under_noise(m):
    batch = minibatch()
    found = GaussianAugmentation(SIGMA, m).losses(read, batch, ())
    np.testing.assert_allclose(found.numpy(), entropies(noisy(batch, m)), rtol=1e-9)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_consistency_loss_is_its_formula(size):
    batch = minibatch(size)
    logits = noisy(batch, 3)
    logs = log_softmax(logits, 2)
    mean, mean_log = softmax(logits, 2).mean(0), logsumexp(logs, 0) - math.log(3)
    divergence = (mean * (mean_log - logs)).sum(2).mean(0)
    entropy = -(mean * mean_log).sum(1)
    found = Consistency(SIGMA, 3, lambda_=4.0, eta=0.25).losses(read, batch, ())
    np.testing.assert_allclose(found.numpy(), entropies(logits) + 4 * divergence + 0.25 * entropy, rtol=1e-8)


def test_smooth_adv_loss_is_the_mean_under_noise_at_the_example():
    batch, example = minibatch(), minibatch(2.0)
    found = SmoothAdv(SIGMA, 2).losses(read, batch, (example.images,))
    np.testing.assert_allclose(found.numpy(), entropies(noisy(example, 2)), rtol=1e-9)


@pytest.mark.parametrize("objective", [GaussianAugmentation(SIGMA, 2), Consistency(SIGMA)])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_losses_and_slopes_are_finite_in_float32(objective, size):
    batch = minibatch(size, torch.float32)
    batch.images.requires_grad_()
    losses = objective.losses(read, batch, ())
    (slope,) = torch.autograd.grad(losses.sum(), batch.images)
    assert bool(losses.isfinite().all())
    assert bool(slope.isfinite().all())


def pictures(count=120):
    """Brighter on the left or on the right."""
    key = Key(torch.arange(count), 3)
    labels = key.integers("label", (1,), 2).squeeze(1)
    images = 0.3 + 0.2 * key.uniform("noise", (1, 6, 6))
    images[labels == 1, :, :, :3] += 0.3
    images[labels == 0, :, :, 3:] += 0.3
    return images.clamp(0, 1), labels


def net():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


CONFIG = TrainingConfig(epochs=10, batch_size=16, optimizer=Optimizer(name="adam", lr=2e-2, weight_decay=0.0))
WATCH = SmoothingValidation(sigma=0.25, n0=10, n=50)
VALIDATION = Validation(val_size=24, batch_size=10, smoothing=WATCH)


def test_smooth_adv_examples_raise_the_loss_of_the_smoothed_classifier():
    module, (images, labels) = net(), pictures()
    train(sp.Classifier(module), (images, labels), GaussianAugmentation(0.25), config=CONFIG, validation=VALIDATION)
    trainee = Trainee(sp.Classifier(module), as_trained=False)
    batch = Minibatch(images, labels, Key(torch.arange(len(labels)), 0))
    attack = PGD(sp.L2(1.0), steps=4)
    craft = Craft(batch, trainee, (attack,), (), False, 0, {}, Engine())
    (found,) = SmoothAdv(0.25, 4).examples(craft)
    assert bool(((found - images).flatten(1).norm(dim=1) <= 1 + 1e-5).all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    soft = SmoothedClassifier(sp.Classifier(module), 0.25).soft(draws=20)
    with torch.no_grad():
        before, after = (
            nn.functional.cross_entropy(soft(x, Key(batch.key.indices, 9)), labels) for x in (images, found)
        )
    assert float(after) > float(before) + 0.1


@pytest.mark.parametrize(
    ("objective", "adversary"),
    [
        (GaussianAugmentation(0.25), None),
        (Consistency(0.25), None),
        (SmoothAdv(0.25), Adversary((PGD(sp.L2(0.5), steps=2),))),
    ],
)
def test_best_epoch_is_that_of_the_largest_average_certified_radius(objective, adversary, tmp_path):
    module, data = net(), pictures()
    found = train(sp.Classifier(module), data, objective, adversary, config=CONFIG, validation=VALIDATION, out=tmp_path)
    assert found.best.acr == max(epoch.acr for epoch in found.log) > 0.18  # one class for all: 0.14
    _, held_out = split_validation(InMemoryData(*data), 24, CONFIG.seed)
    images, labels = held_out.at(torch.arange(24))
    certificates = SmoothedClassifier(sp.Classifier(module), 0.25).certify(
        images, 10, 50, 0.001, engine=Engine(seed=CONFIG.seed + SEED)
    )
    assert found.best.acr == pytest.approx(certificates.average_radius(labels), rel=1e-6)
    assert "average certified radius 0." in str(found)
    with (tmp_path / "log.csv").open() as file:
        assert [float(row["acr"]) for row in csv.DictReader(file)] == [epoch.acr for epoch in found.log]


def test_without_smoothing_no_radius_is_measured():
    found = train(
        sp.Classifier(net()), pictures(), GaussianAugmentation(0.25), config=CONFIG, validation=Validation(val_size=24)
    )
    assert all(epoch.acr is None for epoch in found.log)
    assert found.best.score == found.best.clean


def test_numbers_that_can_certify_nothing_are_refused_before_the_first_update():
    watch = SmoothingValidation(sigma=0.25, n=10, alpha=1e-6)
    with pytest.raises(ConfigError, match="n=10 draws cannot certify at alpha=1e-06"):
        train(
            sp.Classifier(net()),
            pictures(),
            GaussianAugmentation(0.25),
            validation=Validation(val_size=24, smoothing=watch),
        )
    for make, words in (
        (lambda: GaussianAugmentation(0), "sigma=0"),
        (lambda: GaussianAugmentation(0.1, 0), "m=0"),
        (lambda: Consistency(0.1, 1), "m=1"),
        (lambda: Consistency(0.1, lambda_=-1), "lambda_=-1"),
        (lambda: SmoothAdv(math.inf), "sigma=inf"),
        (lambda: SmoothingValidation(sigma=-1), "validation.smoothing.sigma=-1"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()


def test_plans_name_the_objectives_and_the_radius():
    plan = {
        "model": "zoo:mnist-plain",
        "data": {"train": "zoo:mnist-4k"},
        "objective": {"name": "consistency", "sigma": 0.5, "lambda_": 5},
        "validation": {"val_size": 10, "smoothing": {"sigma": 0.5, "n": 30}},
    }
    made = make_training_plan(plan)
    assert made.make_objective(lambda name: None) == Consistency(0.5, lambda_=5)
    assert made.make_validation()[0].smoothing == SmoothingValidation(sigma=0.5, n=30)
    with pytest.raises(ConfigError, match="sigm"):
        make_training_plan(plan | {"validation": {"smoothing": {"sigm": 0.5}}})
    with pytest.raises(ConfigError, match="sigma"):
        make_training_plan(plan | {"objective": {"name": "gaussian"}})
