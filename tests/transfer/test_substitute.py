"""A substitute learns from labels alone, within its budget, where the victim's border runs."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import PGD
from sparring.errors import BudgetError, ConfigError, InputError
from sparring.testing.cases import draw
from sparring.transfer import train_substitute


def fresh_net():
    """A small net that knows nothing, the same each time."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.Tanh(), nn.Linear(24, 4)).double()
    with torch.no_grad():
        for i, weight in enumerate(net.parameters()):
            weight.copy_(0.1 * draw(f"fresh {i}", tuple(weight.shape)))
    return net


def counted(case):
    """The victim, and how many images it was asked about."""
    asked = []

    def model(images):
        asked.append(len(images))
        return case.module(images)

    return sp.Restricted(sp.Classifier(model, name="victim"), sp.Decisions), asked


def test_it_asks_no_more_than_its_budget_and_learns_to_answer_alike():
    case = testing.small_net(60)
    victim, asked = counted(case)
    found = train_substitute(victim, fresh_net(), case.images[:20], budget=150, rounds=5, epochs=30, lr=3e-3)
    assert found.queries == sum(asked) == 150
    assert torch.equal(found.labels, case.module(found.images).argmax(1))
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    untrained = (fresh_net()(case.images[20:]).argmax(1) == case.labels[20:]).double().mean()
    trained = (found.target(case.images[20:]).argmax(1) == case.labels[20:]).double().mean()
    assert float(trained) > float(untrained) + 0.2
    assert found.agreement > 0.9


def test_new_images_lie_one_step_along_the_sign_of_the_substitutes_slope():
    case = testing.small_net(4)
    victim, _ = counted(case)
    net = fresh_net()
    found = train_substitute(victim, net, case.images, budget=8, rounds=2, epochs=1, lambda_=0.07)
    move = (found.images[4:] - found.images[:4]).abs()
    inside = (found.images[4:] > 0) & (found.images[4:] < 1)
    assert torch.allclose(move[inside], torch.full_like(move[inside], 0.07))
    assert inside.double().mean() > 0.5


def test_only_labels_are_read():
    """A victim of the same labels and other scores gives the same substitute."""
    case = testing.small_net(10)
    loud = sp.Classifier(lambda images: 100 * case.module(images) + 3)
    pair = [
        train_substitute(victim, fresh_net(), case.images, budget=40, rounds=3, epochs=2)
        for victim in (counted(case)[0], loud)
    ]
    assert torch.equal(pair[0].images, pair[1].images)
    for mine, other in zip(pair[0].target.model.parameters(), pair[1].target.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_examples_made_on_it_fool_the_victim_more_often_than_noise():
    case = testing.small_net(40)
    victim, _ = counted(case)
    found = train_substitute(victim, fresh_net(), case.images[:20], budget=320, rounds=5, epochs=30, lr=3e-3)
    made = sp.run(PGD(sp.Linf(0.3), steps=20), found.target, case.goal, case.images, keep=sp.Keep.HIGHEST_LOSS)
    fooled = (case.module(made.examples).argmax(1) != case.labels).double().mean()
    noise = (case.images + 0.3 * draw("noise", tuple(case.images.shape)).sign()).clamp(0, 1)
    by_noise = (case.module(noise).argmax(1) != case.labels).double().mean()
    assert float(fooled) > float(by_noise) + 0.2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"budget": 3}, BudgetError, "4 first images cost 4 queries, and the budget is 3"),
        ({"rounds": 0}, ConfigError, "pass counts of at least 1"),
        ({"lambda_": 0.0}, ConfigError, "sizes above 0"),
    ],
)
def test_bad_input(change, error, message):
    case = testing.small_net(4)
    with pytest.raises(error, match=message):
        train_substitute(case.target, fresh_net(), case.images, **({"budget": 10} | change))
    with pytest.raises(InputError, match="starts from images"):
        train_substitute(case.target, fresh_net(), case.images[:0], budget=10)
