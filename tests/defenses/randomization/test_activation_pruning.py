"""Stochastic activation pruning: its marginals and joint law in closed form, its expectation, its slope."""

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.defenses.randomization import ActivationPruning, add_activation_pruning, networks
from sparring.errors import ConfigError, TargetError
from sparring.random import Key
from sparring.targets import Defended
from sparring.testing.cases import small_net

COUNT = 40_000
ROW = torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, -3.0, 0.02, 0.0], dtype=torch.float64)


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def asked(layer: nn.Module, inputs: Tensor, seed: int = 3) -> Tensor:
    return sp.Classifier(layer)(inputs, key_of(len(inputs), seed))


def many(share: float = 1.0) -> Tensor:
    """The layer's answers to the same row, each with its own draws."""
    return asked(ActivationPruning(share), ROW.expand(COUNT, -1))


@pytest.mark.parametrize("share", [0.25, 1.0, 3.0])
def test_each_activation_is_kept_with_its_chance_and_scaled_by_its_inverse(share: float) -> None:
    chance = 1 - (1 - ROW.abs() / ROW.abs().sum()) ** round(share * 8)
    out = many(share)
    kept = (out != 0).double()
    spread = (chance * (1 - chance) / COUNT).sqrt()
    assert bool(((kept.mean(0) - chance).abs() <= 4.5 * spread).all())
    here = kept[:, 1:7].bool()
    assert torch.allclose(out[:, 1:7][here], (ROW / chance)[1:7].expand(COUNT, -1)[here])


def test_two_are_kept_together_as_draws_with_replacement_have_it() -> None:
    """P(i and j) = 1 - (1 - p_i)^r - (1 - p_j)^r + (1 - p_i - p_j)^r, which independent coins do not have."""
    share, r = ROW.abs() / ROW.abs().sum(), 2
    kept = (many(r / 8) != 0).double()
    for i, j in ((4, 5), (3, 5), (2, 4)):
        both = float((kept[:, i] * kept[:, j]).mean())
        exact = float(1 - (1 - share[i]) ** r - (1 - share[j]) ** r + (1 - share[i] - share[j]) ** r)
        apart = float((1 - (1 - share[i]) ** r) * (1 - (1 - share[j]) ** r))
        assert both == pytest.approx(exact, abs=4.5 * (exact / COUNT) ** 0.5)
        assert abs(both - apart) > 4.5 * (exact / COUNT) ** 0.5
    assert int(kept.sum(1).max()) <= r


def test_the_expectation_is_what_came_in() -> None:
    for share in (0.5, 2.0):
        out = many(share)
        assert bool(((out.mean(0) - ROW).abs() <= 4.5 * out.std(0) / COUNT**0.5).all())


def test_the_expected_slope_is_one() -> None:
    inputs = ROW.expand(COUNT, -1).clone().requires_grad_()
    out = asked(ActivationPruning(), inputs)
    (slope,) = torch.autograd.grad(out.sum(), inputs)
    assert torch.equal(slope * inputs.detach(), out.detach())
    live = ROW != 0
    spread = slope.std(0) / COUNT**0.5
    assert bool(((slope.mean(0) - 1).abs() <= 4.5 * spread)[live].all())
    assert not bool(slope[:, ~live].any())


@pytest.mark.parametrize(
    "row", [torch.zeros(6), torch.tensor([0.0, 0.0, 5.0, 0.0]), torch.full((3,), 1e-30), torch.full((3,), 1e30)]
)
def test_rows_at_the_edge_are_left_finite(row: Tensor) -> None:
    inputs = row.expand(50, -1).clone().requires_grad_()
    out = asked(ActivationPruning(2.0), inputs)
    out.sum().backward()
    assert bool(out.isfinite().all())
    assert bool(inputs.grad.isfinite().all())
    if int((row != 0).sum()) <= 1:
        assert torch.equal(out.detach(), inputs.detach())


def test_many_activations_keep_their_marginals() -> None:
    """150,000 sums in a row: those at the end are as likely as those at the beginning."""
    inputs = torch.ones(10, 150_000)
    kept = asked(ActivationPruning(), inputs) > 0
    share = kept.float().mean(0).view(10, -1).mean(1)
    assert torch.allclose(share, torch.full((10,), 1 - 0.3678775), atol=0.006)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    assert asked(ActivationPruning(), torch.ones(2, 3, 4, 4, dtype=dtype).flatten(1)).dtype == torch.promote_types(
        dtype, torch.float32
    )  # of answers, which an attack works with


def test_draws_are_the_keys_or_those_of_torch() -> None:
    target, x = (
        sp.Classifier(add_activation_pruning(nn.Sequential(nn.ReLU(), nn.Linear(6, 3)))),
        key_of(8).normal("x", (6,)),
    )
    before = torch.get_rng_state()
    with torch.no_grad():
        whole = target(x, key_of(8))
        parts = [target(x[i : i + 1], Key(torch.tensor([i]), 3)) for i in range(8)]
        assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
        assert torch.equal(whole, target(x, key_of(8)))
        assert not torch.equal(whole, target(x, key_of(8, seed=4)))
        assert torch.equal(torch.get_rng_state(), before)
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            first = target(x)
            torch.manual_seed(1)
            assert torch.equal(first, target(x))
            assert not torch.equal(first, target(x))


def test_it_stands_behind_each_relu_of_a_copy() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.Conv2d(2, 2, 3), relu, nn.ReLU6(inplace=True), nn.Flatten())
    copy = add_activation_pruning(net, 0.5)
    assert not any(isinstance(module, ActivationPruning) for module in net.modules())
    assert [type(module).__name__ for module in copy] == [
        "Conv2d", "Sequential", "Conv2d", "Sequential", "Sequential", "Flatten",
    ]  # fmt: skip
    assert copy[1] is copy[3]
    assert [type(module).__name__ for module in copy[4]] == ["ReLU6", "ActivationPruning"]
    assert copy[1][1].fraction == 0.5
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(sp.Classifier(copy).disable_noise()(x), net(x))


def test_one_relu_at_two_places_draws_for_each() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((self.relu(x), self.relu(x)), 1)

    out = asked(add_activation_pruning(Twice(), 0.5), torch.ones(400, 20))
    first, second = (out > 0).float().chunk(2, 1)
    assert abs(float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])) < 0.06


def test_a_pruned_net_is_attacked_through_its_expectation() -> None:
    case = small_net(8)
    net = nn.Sequential(*list(case.module)[:1], nn.ReLU(), *list(case.module)[2:])
    with torch.no_grad():
        labels = net(case.images).argmax(1)
    defended = Defended(sp.Classifier(add_activation_pruning(net)))
    goal, attack = sp.Misclassify(labels), sp.attacks.PGD(sp.Linf(0.3), steps=10)
    outcome = sp.run(attack, defended.adaptive_view(4), goal, case.images)
    clean = 1 - float(torch.stack([
        (defended(case.images, key_of(8, seed)).argmax(1) != labels).double() for seed in range(20)
    ]).mean())  # fmt: skip
    assert outcome.robust_accuracy < clean - 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ActivationPruning(0), "fraction=0; pass a number above 0"),
        (lambda: ActivationPruning(float("nan")), "fraction=nan"),
        (lambda: ActivationPruning("all"), "fraction='all'"),
        (lambda: add_activation_pruning(nn.Tanh()), "Tanh has no ReLU or ReLU6 module"),
        (lambda: add_activation_pruning(add_activation_pruning(nn.ReLU())), "has ActivationPrunings already"),
        (lambda: add_activation_pruning("resnet"), "not into a str"),
    ],
)
def test_bad_input_is_told_at_the_door(make, message: str) -> None:
    with pytest.raises((ConfigError, TargetError), match=message):
        make()


def test_the_table_names_it() -> None:
    assert networks["activation-pruning"] is add_activation_pruning
