"""Training on ablated and masked images: what the net sees, its loss, and what certifies afterwards."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring.defenses.certification import DerandomizedSmoothing, PatchCleanser
from sparring.defenses.certification.patches import Ablation, covering_masks
from sparring.defenses.training import (
    AblatedTraining,
    MaskedTraining,
    Minibatch,
    Optimizer,
    Plain,
    TrainingConfig,
    Validation,
    train,
)
from sparring.errors import ConfigError
from sparring.random import Key


def pictures(count=200):
    """A bright line in one of four rows, from side to side: any band of columns shows the class."""
    key = Key(torch.arange(count), 3)
    labels = key.integers("label", (1,), 4).squeeze(1)
    images = 0.3 * key.uniform("noise", (1, 8, 8))
    images[torch.arange(count), 0, 2 * labels] = 1.0
    return images, labels


def net(channels=1):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 32), nn.ReLU(), nn.Linear(32, 4))


def seen_by(objective, images, labels):
    """What the net was shown, and the losses."""
    shown = []

    def answer(x):
        shown.append(x)
        return x.flatten(1)[:, :4]

    losses = objective.losses(answer, Minibatch(images, labels, Key(torch.arange(len(labels)), 0)), ())
    return shown[0], losses


@pytest.mark.parametrize("kind", ["columns", "rows", "block"])
def test_each_image_is_shown_at_one_of_the_places_of_the_ablation(kind):
    images, labels = pictures()
    seen, losses = seen_by(AblatedTraining(3, 2, kind), images, labels)
    possible = torch.where(Ablation(3, kind).kept(images)[:, None, None], images, 0.5)
    which = (possible == seen).flatten(2).all(2)
    assert bool(which.any(0).all())
    assert int(which.any(1).sum()) > 0.8 * min(len(possible), 60)  # all places occur
    torch.testing.assert_close(losses, F.cross_entropy(seen.flatten(1)[:, :4], labels, reduction="none"))


def test_each_image_is_shown_under_two_masks():
    images, labels = pictures()
    seen, _ = seen_by(MaskedTraining(2, 3), images, labels)
    masks = covering_masks(8, 8, (2, 2), 3)
    pairs = (masks[:, None] | masks).flatten(0, 1)
    possible = torch.where(pairs[:, None, None], 0.5, images)
    which = (possible == seen).flatten(2).all(2)
    assert bool(which.any(0).all())
    assert int(which.any(1).sum()) > 40


CONFIG = TrainingConfig(epochs=40, batch_size=20, optimizer=Optimizer(name="adam", lr=1e-2, weight_decay=0.0))


def trained(objective, channels=1):
    module = net(channels)
    target = sp.Classifier(module)
    found = train(target, pictures(), objective, config=CONFIG, validation=Validation(val_size=40))
    if not isinstance(objective, Plain):
        assert found.best.certified == max(epoch.certified for epoch in found.log) == found.best.score
        assert "% certified" in str(found)
    return target


def test_ablated_training_makes_bands_certify():
    images, labels = pictures(240)
    images, labels = images[200:], labels[200:]
    certified = {
        name: DerandomizedSmoothing(trained(objective), 2).certify(images, 2).certified_accuracy(labels)
        for name, objective in (("plain", Plain()), ("ablated", AblatedTraining(2, 2)))
    }
    assert certified["ablated"] > 0.9
    assert certified["ablated"] > certified["plain"] + 0.3


def test_masked_training_makes_double_masking_certify():
    """A patch of 2 pixels is masked by 4: of a line of 8 pixels there is none left under masks side by side."""
    images, labels = pictures(240)
    images, labels = images[200:], labels[200:]
    certified = {
        name: PatchCleanser(trained(objective), 1, masks_per_axis=4).certify(images).certified_accuracy(labels)
        for name, objective in (("plain", Plain()), ("masked", MaskedTraining(1, 4)))
    }
    assert certified["masked"] > 0.9
    assert certified["masked"] >= certified["plain"]


def test_parameters_that_make_no_sense_are_refused():
    for make, words in (
        (lambda: AblatedTraining(0, 2), "size=0"),
        (lambda: AblatedTraining(2, 2, "band"), "ablation='band'"),
        (lambda: AblatedTraining(2, 0), "patch=0"),
        (lambda: MaskedTraining(0), "patch=0"),
        (lambda: MaskedTraining(2, 0), "masks_per_axis=0"),
        (lambda: MaskedTraining(2, fill=2.0), "fill=2.0"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()
