"""A small task: three classes of noisy 8 x 8 patterns, a net that tells them apart, and what PGD makes of them."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.attacks import PGD
from sparring.defenses.detection import (
    LID,
    AdversarialSet,
    DetectorEstimator,
    ExtraClass,
    FeatureDetector,
    FeatureSqueezing,
    InputDetector,
    KernelDensity,
    MagNet,
    Mahalanobis,
    Subspace,
    make_adversarial_set,
)
from sparring.defenses.purification import FitConfig
from sparring.random import Key

CLASSES = 3
SHORT = FitConfig(epochs=6, lr=3e-3, batch_size=32)


def patterns(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) float64 and labels (N,): one of three stripes is brighter, on noise."""
    labels = torch.arange(count) % CLASSES
    images = 0.4 + 0.09 * Key(torch.arange(count), seed).normal("pattern", (1, 8, 8), dtype=torch.float64)
    for stripe in range(CLASSES):
        images[labels == stripe, :, 1 + 2 * stripe : 3 + 2 * stripe] += 0.2
    return images.clamp(0, 1), labels


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(),
        nn.Linear(96, 12), nn.Tanh(), nn.Linear(12, CLASSES),
    ).double()  # fmt: skip


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


@dataclass(frozen=True)
class Task:
    """Images to fit on, to set a threshold on and to test on; and the adversarial ones of the first and the last."""

    net: nn.Module
    target: sp.Classifier
    clean: Tensor
    labels: Tensor
    validation: Tensor
    made: AdversarialSet
    tested: AdversarialSet


@pytest.fixture(scope="session")
def task() -> Task:
    (clean, labels), (fresh, right) = patterns(180, 0), patterns(90, 1)
    validation, _ = patterns(120, 2)
    net = trained(clean, labels)
    target = sp.Classifier(net, classes=CLASSES, name="stripes")
    made = make_adversarial_set(PGD(sp.Linf(0.15), steps=8), target, clean, labels)
    tested = make_adversarial_set(PGD(sp.Linf(0.2), steps=8), target, fresh, right)
    return Task(net, target, clean, labels, validation, made, tested)


DETECTORS: dict[str, DetectorEstimator] = {
    "input": InputDetector(width=4, config=SHORT),
    "feature": FeatureDetector(width=4, config=SHORT),
    "feature of rank 2": FeatureDetector(layer="5", width=4, config=SHORT),
    "extra-class": ExtraClass(config=SHORT),
    "feature-squeezing": FeatureSqueezing(),
    "magnet": MagNet(width=4, config=SHORT),
    "lid": LID(k=5, minibatch_size=40),
    "lid of pooled layers": LID(k=5, minibatch_size=20, n_minibatches=2, pool=True),
    "mahalanobis": Mahalanobis(),
    "mahalanobis with noise": Mahalanobis(magnitude=0.01, layers=("1", "6")),
    "kernel-density": KernelDensity(n_samples=3),
    "subspace": Subspace(),
}


@pytest.fixture(scope="session")
def fitted(task):
    """Every detector, fitted and given a threshold."""
    return {
        name: detector.fit(task.clean, task.made, target=task.target, labels=task.labels).calibrate(task.validation)
        for name, detector in DETECTORS.items()
    }


@pytest.fixture(params=DETECTORS)
def one(request, fitted):
    """Each fitted detector in turn."""
    return fitted[request.param]
