"""A generator made on a student of a black box, within the budget of queries."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks.shared import ArtifactAttack
from sparring.attacks.shared.advgan import AdvGAN
from sparring.errors import BudgetError, ConfigError, InputError
from sparring.testing.cases import Case, draw
from sparring.transfer.distilled import distill_advgan

ATTACK = AdvGAN(sp.Linf(0.15), epochs=8, batch_size=8, learning_rate=5e-3, width=2)
QUICK = AdvGAN(sp.Linf(0.15), epochs=1, batch_size=32, learning_rate=5e-3, width=2)


def fresh_net():
    """A student that knows nothing, the same each time."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    with torch.no_grad():
        for i, weight in enumerate(net.parameters()):
            weight.copy_(0.1 * draw(f"fresh {i}", tuple(weight.shape)))
    return net


def counted(case, access=sp.Scores):
    """The victim, and the images that it was asked about."""
    asked = []

    def model(images):
        assert not images.requires_grad
        asked.append(images.detach().clone())
        return case.module(images)

    return sp.Restricted(sp.Classifier(model, name="victim"), access), asked


def made(victim, case, attack=QUICK, **options):
    values = {"budget": 1000, "rounds": 3, "epochs": 20, "lr": 1e-2, "batch_size": 16} | options
    return distill_advgan(victim, fresh_net(), attack, case.goal, case.images, **values)


@pytest.fixture(scope="module")
def case():
    """Three patterns in noise, and a victim that knows them."""
    patterns, labels = draw("patterns", (3, 64)), torch.arange(32) % 3
    images = (0.5 + 0.08 * patterns[labels] + 0.05 * draw("noisy", (32, 64))).clamp(0, 1).view(32, 1, 8, 8)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    with torch.no_grad():
        module[1].weight.copy_(patterns)
        module[1].bias.copy_(-0.5 * patterns.sum(1))
        assert torch.equal(module(images).argmax(1), labels)
    return Case(module, images, labels)


def test_it_fools_a_victim_that_was_only_asked(case):
    victim, asked = counted(case)
    seen = []
    found = made(victim, case, ATTACK, progress=lambda *told: seen.append(told))
    assert found.queries == sum(map(len, asked)) == 3 * 32
    assert [queries for _, queries, _ in seen] == [32, 64, 96]
    assert found.agreement == seen[-1][2] > 0.9
    assert len(found.fooled) == 3 * 8
    outcome = sp.run(ArtifactAttack(found.artifact), victim, case.goal, case.images)
    noise = (case.images + 0.15 * draw("noise", tuple(case.images.shape)).sign()).clamp(0, 1)
    by_noise = (case.module(noise).argmax(1) != case.labels).double().mean()
    assert outcome.attack_success_rate > float(by_noise) + 0.3


def test_the_dynamic_one_asks_about_what_the_generator_makes(case):
    victim, asked = counted(case)
    found = made(victim, case, rounds=2)
    first, second = torch.cat(asked)[:32], torch.cat(asked)[32:]
    assert torch.equal(first, case.images)
    assert len(second) == 32
    size = (second - case.images).abs().amax((1, 2, 3))
    assert bool((size <= 0.15).all())
    assert float(size.min()) > 0.01
    assert not torch.equal(found.artifact.apply(case.images), second)  # the generator went on after it


def test_the_static_one_asks_once_and_trains_as_long(case):
    victim, asked = counted(case)
    found = made(victim, case, dynamic=False)
    assert found.queries == sum(map(len, asked)) == 32
    assert len(found.fooled) == 3


def test_the_budget_is_kept(case):
    victim, asked = counted(case)
    found = made(victim, case, rounds=4, budget=40)
    assert found.queries == sum(map(len, asked)) == 40
    victim, asked = counted(case)
    with pytest.raises(BudgetError, match="32 images cost 32 queries, and the budget is 31; pass fewer images"):
        made(victim, case, budget=31)
    assert asked == []


def test_decisions_give_labels_and_scores_give_shares(case):
    """A victim of the same labels and other scores teaches the same where only decisions are granted."""
    loud = Case(nn.Sequential(case.module, Louder()), case.images, case.labels)
    for access, alike in ((sp.Decisions, True), (sp.Scores, False)):
        pair = [made(counted(each, access)[0], case, rounds=2, epochs=2) for each in (case, loud)]
        assert torch.equal(pair[0].artifact.weights, pair[1].artifact.weights) == alike


class Louder(nn.Module):
    def forward(self, logits):
        return 3 * logits


def test_the_same_seed_gives_the_same_generator(case):
    victim, _ = counted(case)
    first, again, other = (made(victim, case, rounds=2, engine=sp.Engine(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.artifact.weights, again.artifact.weights)
    assert not torch.equal(first.artifact.weights, other.artifact.weights)


def test_bad_input(case):
    victim, asked = counted(case)
    with pytest.raises(ConfigError, match=r"rounds=0.*pass counts of at least 1"):
        made(victim, case, rounds=0)
    with pytest.raises(ConfigError, match="an lr above 0"):
        made(victim, case, lr=0.0)
    with pytest.raises(InputError, match="a student learns from images"):
        distill_advgan(victim, fresh_net(), ATTACK, case.goal, case.images[:0], budget=10)
    assert asked == []
