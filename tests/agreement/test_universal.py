"""Universal perturbations beside ART's: made on the same digits, judged on the same unseen ones."""

from __future__ import annotations

import random
from copy import deepcopy

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.attacks import ArtifactAttack, GradientUniversal, Universal
from sparring.zoo import load_data, load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own
BALL = sp.Linf(0.2)


def test_ours_fool_more_unseen_digits_than_arts_for_fewer_passes():
    from art.attacks.evasion import UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

    loaded = load_model("zoo:mnist-plain")
    images = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=300).chunks(300))).images
    net = deepcopy(loaded.target.model).eval()
    with torch.no_grad():
        predicted = net(images).argmax(1)
    seen, unseen = slice(0, 20), slice(20, 300)
    counting = sp.testing.Counting(net)
    random.seed(0)
    settings = {"clip_values": (0.0, 1.0), "device_type": "cpu"}
    model = PyTorchClassifier(counting, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, **settings)
    quiet = {"verbose": False, "nb_grads": 3, "max_iter": 5}
    theirs = UniversalPerturbation(
        model, eps=0.2, norm=np.inf, max_iter=1, delta=0.0, verbose=False, attacker_params=quiet
    )
    theirs.generate(images[seen].numpy())
    noise = torch.from_numpy(theirs.noise[0])
    assert float(noise.abs().max()) <= 0.2 + 1e-6
    with torch.no_grad():
        moved = net((images[unseen] + noise).clamp(0, 1)).argmax(1)
    baseline = float((moved != predicted[unseen]).float().mean())
    for attack in (Universal(BALL, epochs=2, target_fooling_rate=1.0), GradientUniversal(BALL)):
        made = sp.fit(attack, sp.Classifier(net), sp.Misclassify(predicted[seen]), images[seen])
        goal = sp.Misclassify(predicted[unseen])
        held_out = sp.run(ArtifactAttack(made.artifact), sp.Classifier(net), goal, images[unseen])
        assert held_out.attack_success_rate >= baseline > 0.02, attack.name
        assert made.forwards < counting.forwards, attack.name
