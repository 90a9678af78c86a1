"""The objective of Adv-BNN: its value, its gradients, the draws that its attack meets, and a whole training."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparring as sp
from sparring.attacks import PGD
from sparring.defenses.bayesian import BayesianLayer, kl_divergence, make_bayesian
from sparring.defenses.training import (
    AdversarialELBO,
    Adversary,
    Craft,
    Minibatch,
    Optimizer,
    TrainingConfig,
    Validation,
    train,
)
from sparring.engine import Engine
from sparring.errors import ConfigError, TargetError
from sparring.random import Key
from sparring.targets import Defended, Trainee

ATTACK = PGD(sp.Linf(0.1), steps=3)


def seeded(make) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make()


def network() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)))


def pictures(count: int = 200) -> tuple[Tensor, Tensor]:
    """Brighter on the left or on the right."""
    key = Key(torch.arange(count), 3)
    labels = key.integers("label", (), 2)
    images = 0.2 + 0.2 * key.uniform("picture", (1, 6, 6))
    images[labels == 1, :, :, :3] += 0.5
    images[labels == 0, :, :, 3:] += 0.5
    return images, labels


def minibatch(n_train: int = 50) -> Minibatch:
    images, labels = pictures(6)
    return Minibatch(images.double(), labels, Key(torch.arange(6), 0), n_train)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_loss_is_cross_entropy_and_a_share_of_the_divergence(alpha: float) -> None:
    net = make_bayesian(network(), prior_std=0.3, init_std=1e-9).double()
    batch = minibatch()
    attacked = batch.images.flip(3)
    losses = AdversarialELBO(alpha).losses(sp.Classifier(net), batch, (attacked,))
    answers = network().double()(attacked)
    expected = F.cross_entropy(answers, batch.labels, reduction="none") + alpha * kl_divergence(net) / 50
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)


def test_gradients_reach_means_and_deviations() -> None:
    net = make_bayesian(network(), prior_std=0.3).double()

    def loss(*weights: Tensor) -> Tensor:
        torch.manual_seed(1)
        return AdversarialELBO(0.5).losses(sp.Classifier(net), minibatch(), (minibatch().images,)).sum()

    with torch.random.fork_rng([]):
        assert torch.autograd.gradcheck(loss, tuple(net.parameters()), fast_mode=True)


@pytest.mark.parametrize("as_trained", [False, True])
def test_each_step_of_the_attack_meets_new_weights(as_trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_bayesian(network()).double().train()
    drawn: list[Tensor] = []
    draw_weights = BayesianLayer.draw_weights

    def noted(layer: BayesianLayer) -> dict[str, Tensor]:
        found = draw_weights(layer)
        if isinstance(layer.layer, nn.Linear):
            drawn.append(found["weight"].detach().clone())
        return found

    monkeypatch.setattr(BayesianLayer, "draw_weights", noted)
    batch = minibatch()
    trainee = Trainee(sp.Classifier(net), as_trained=as_trained)
    AdversarialELBO().examples(Craft(batch, trainee, (ATTACK,), (), False, 0, {}, Engine()))
    assert len(drawn) == 3
    assert all(weights.shape == ((2, 144) if as_trained else (6, 2, 144)) for weights in drawn)
    assert all(not torch.equal(one, other) for one in drawn for other in drawn if one is not other)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_training(mode: str) -> None:
    net = make_bayesian(network(), init_std=0.02)
    images, labels = pictures()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    random = torch.get_rng_state()
    result = train(
        sp.Classifier(net),
        (images, labels),
        AdversarialELBO(0.1),
        Adversary((ATTACK,), batch_norm=mode),
        config=TrainingConfig(epochs=6, batch_size=32, optimizer=Optimizer(name="adam", lr=0.02, weight_decay=0.0)),
        validation=Validation(val_size=40, steps=4),
    )
    assert torch.equal(torch.get_rng_state(), random)
    assert result.best.robust > 0.9
    assert all(not torch.equal(value, before[name]) for name, value in net.named_parameters())
    defended = Defended(sp.Classifier(net), votes=10)
    with defended.frozen():
        assert float((defended(images).argmax(1) == labels).float().mean()) > 0.95


def test_the_divergence_is_weighed_by_the_number_of_training_images() -> None:
    """Without an answer to learn from, deviations go to those of the prior the faster, the fewer images there are."""
    moved = []
    for count in (41, 140):
        net = make_bayesian(network(), prior_std=0.2, init_std=0.02)
        images = torch.full((count, 1, 6, 6), 0.5)
        config = TrainingConfig(
            epochs=1, batch_size=count, optimizer=Optimizer(name="sgd", lr=1e-2, weight_decay=0, schedule="constant")
        )
        labels = torch.arange(count) % 2
        start = net[3].weight_log_std.detach().clone()
        train(
            sp.Classifier(net), (images, labels), AdversarialELBO(1.0), Adversary((ATTACK,)), config=config,
            validation=Validation(val_size=40, steps=1),
        )  # fmt: skip
        moved.append(float((net[3].weight_log_std.detach() - start).mean()))
    slope = 1 - (0.02 / 0.2) ** 2  # of -KL in log std
    assert moved[0] == pytest.approx(1e-2 * slope, rel=0.05)  # of one image that is trained on
    assert moved[1] == pytest.approx(1e-2 * slope / 100, rel=0.5)


def test_refusals() -> None:
    for given in ({"alpha": -1}, {"alpha": float("inf")}, {"label_smoothing": 1}):
        with pytest.raises(ConfigError, match=next(iter(given))):
            AdversarialELBO(**given)
    with pytest.raises(TargetError, match="no random weights; pass make_bayesian"):
        train(sp.Classifier(network()), pictures(), AdversarialELBO(), Adversary((ATTACK,)))
    with pytest.raises(ConfigError, match="n_train"):
        AdversarialELBO().losses(network(), minibatch(), (minibatch().images,))
