"""A model behind a defence, its two views, and what random answers are worth."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.access import Keep
from sparring.engine import Engine
from sparring.errors import ConfigError, GoalError, TargetError
from sparring.goals import ClimbDetector, ClimbTask, DetectorOutputs, Undetected
from sparring.random import Key
from sparring.rows import take
from sparring.targets import Defended, Keyed
from sparring.targets.eot_budget import draws_for, moments
from sparring.testing.cases import Counting, small_net
from sparring.transforms import Detector, Stage, apply_with_bpda


class Noise(Stage):
    """x + sigma * normal."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + self.sigma * key.normal("noise", images.shape[1:], dtype=images.dtype)


class Rounding(Stage):
    """Sixteen levels; the identity stands in for its slope."""

    @property
    def differentiable(self) -> bool:
        return False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return (images * 15).round() / 15


class Halved(Stage):
    """Each second pixel, declared without a stand-in that has its shape."""

    @property
    def differentiable(self) -> bool:
        return False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images[..., ::2, ::2]


class Bright(Detector):
    """Rejects what is brighter than `limit` on average."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return (images.flatten(1).mean(1) - self.limit) * 100


class Jitter(Keyed):
    """A random layer of a network."""

    def noisy(self, inputs: Tensor) -> Tensor:
        return inputs + 0.1 * self.normal(inputs)


def noisy(sigma: float = 0.1, votes: int = 1, count: int = 12) -> tuple[Defended, Tensor, Tensor]:
    case = small_net(count)
    return Defended(case.target, Noise(sigma), votes=votes), case.images, case.labels


def key_of(images: Tensor) -> Key:
    return Key(torch.arange(len(images)), 3)


def test_parts_are_met_in_their_order() -> None:
    case = small_net(4)
    both = Defended(case.target, Rounding(), Noise(0.1)), Defended(case.target, Noise(0.1), Rounding())
    key = key_of(case.images)
    noise = 0.1 * key.reseeded(1).normal("noise", (3, 8, 8), dtype=torch.float64)
    expected = case.module((case.images * 15).round() / 15 + noise)
    assert torch.equal(both[0](case.images, key), expected)
    assert not torch.allclose(both[1](case.images, key), expected)


def test_a_stand_in_leaves_the_forward_pass_exact_and_gives_the_slope() -> None:
    case = small_net(4)
    view = Defended(case.target, Rounding()).adaptive_view()
    x = case.images.clone().requires_grad_()
    outputs = view(x)
    rounded = ((case.images * 15).round() / 15).requires_grad_()
    exact = case.module(rounded)
    assert torch.equal(outputs, exact)
    (slope,) = torch.autograd.grad(outputs.sum(), x)
    assert torch.equal(slope, torch.autograd.grad(exact.sum(), rounded)[0])  # that of the identity, at its own input


def test_a_stand_in_of_another_shape_is_told() -> None:
    x = torch.rand(1, 3, 8, 8).requires_grad_()
    with pytest.raises(TargetError, match=r"approximation gives \(1, 3, 8, 8\) and the stage \(1, 3, 4, 4\)"):
        apply_with_bpda(Halved(), x, key_of(x))


def test_the_defence_in_use_has_no_gradient_to_give() -> None:
    defended, images, labels = noisy()
    with pytest.raises(sp.errors.AccessError, match="grants Scores only"):
        sp.run(sp.attacks.PGD(sp.Linf(0.1)), defended, sp.Misclassify(labels), images)


@pytest.mark.parametrize("draws", [1, 4])
def test_an_expectation_is_the_mean_of_the_gradients_exactly(draws: int) -> None:
    defended, images, labels = noisy(count=3)
    seen: list[Tensor] = []

    class Once(sp.attacks.FGSM):
        def step(self, oracle, state, t):
            seen.append(oracle.gradient(images).grad)
            return super().step(oracle, state, t)

    goal = sp.Misclassify(labels, sp.goals.CrossEntropy())
    sp.run(Once(sp.Linf(0.1)), defended.adaptive_view(draws), goal, images)
    total = torch.zeros_like(images)
    for draw in range(draws):
        x = images.clone().requires_grad_()
        key = Key(torch.arange(3), 0).at(torch.zeros(3, dtype=torch.long)).reseeded(draw)
        loss = nn.functional.cross_entropy(defended.once(x, key), labels, reduction="sum")
        total += torch.autograd.grad(loss, x)[0]
    assert torch.equal(seen[0], total / draws)


def test_the_variance_of_an_expectation_falls_as_one_over_the_draws() -> None:
    defended, images, labels = noisy(0.2, count=1)
    goal, one = sp.Misclassify(labels), defended.adaptive_view(1)
    few, many = [], []
    x = images.expand(600, -1, -1, -1).clone().requires_grad_()
    goal = take(goal, torch.zeros(600, dtype=torch.long))
    (grad,) = torch.autograd.grad(goal.loss_of(one(x, Key(torch.arange(600), 9))).sum(), x)
    few, many = grad.flatten(1), grad.flatten(1).view(60, 10, -1).mean(1)
    ratio = float(few.var(0).sum() / many.var(0).sum())
    assert ratio == pytest.approx(10, rel=0.35)


def test_draws_are_chosen_by_the_variance() -> None:
    case = small_net(8)
    goal = sp.Misclassify(case.labels)

    def chosen(sigma: float) -> int:
        return draws_for(Defended(case.target, Noise(sigma)).adaptive_view(1), goal, case.images)

    assert chosen(1e-4) == 1
    assert 1 < chosen(1.0) < chosen(4.0) <= 64


def test_moments_against_a_closed_form() -> None:
    """logits (w + noise) . x: the slope of the margin is known, and so are its mean and variance."""
    weights = torch.zeros(2, 12, dtype=torch.float64)
    weights[1] = 1.0

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ weights.T

    class Scale(Stage):
        stochastic = True

        def __call__(self, images: Tensor, key: Key) -> Tensor:
            return images * (1 + 0.5 * key.normal("scale", images.shape[1:], dtype=images.dtype))

    images = torch.full((64, 3, 2, 2), 0.5, dtype=torch.float64)
    goal = sp.Misclassify(torch.zeros(64, dtype=torch.long), loss=sp.goals.Margin())
    signal, noise = moments(Defended(sp.Classifier(Linear()), Scale()).adaptive_view(1), goal, images)
    assert float(signal.mean()) == pytest.approx(12, rel=0.02)  # |(1, ..., 1)|^2
    assert float(noise.mean()) == pytest.approx(12 * 0.25, rel=0.05)


def test_success_is_judged_on_fresh_draws_of_the_defence_in_use() -> None:
    defended, images, labels = noisy(0.3, votes=3)
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.1), steps=10), defended.adaptive_view(2), sp.Misclassify(labels), images)
    wins = torch.zeros(len(images))
    for look in range(400):
        answers = defended(outcome.examples, Key(torch.arange(len(images)), 1000 + look))
        wins += (answers.argmax(1) != labels).float()
    gap = (outcome.success_rate - wins / 400).abs()
    assert float(gap.mean()) < 0.12
    assert float(gap.max()) < 0.45
    assert torch.equal(outcome.success, outcome.success_rate > 0.5)
    assert outcome.robust_accuracy == pytest.approx(1 - float(outcome.success_rate.mean()))
    assert bool(((outcome.success_rate > 0) & (outcome.success_rate < 1)).any())


def test_one_lucky_answer_is_no_success() -> None:
    """Labels that the defence gets right in seven answers of ten fall to nobody who changes nothing."""

    class Fickle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack((0.5 + x.flatten(1)[:, 0] * 0, x.flatten(1)[:, 0]), 1)

    defended = Defended(sp.Classifier(Fickle()), Noise(0.2))
    images = torch.full((40, 1, 2, 2), 0.4, dtype=torch.float64)  # wrong where 0.2 * normal > 0.1: 31 %
    black_box = sp.run(
        sp.attacks.Square(sp.Linf(1e-6), n_queries=60), defended, sp.Misclassify(torch.zeros(40).long()), images,
        engine=Engine(confirmation_samples=100),
    )  # fmt: skip
    assert not bool(black_box.success.any())
    assert float(black_box.success_rate.mean()) == pytest.approx(0.3085, abs=0.03)


def test_what_comes_of_a_row_does_not_depend_on_its_batch() -> None:
    defended, images, labels = noisy(0.2)
    attack, goal = sp.attacks.PGD(sp.Linf(0.05), steps=5), sp.Misclassify(labels)
    together = sp.run(attack, defended.adaptive_view(3), goal, images)
    for size in (1, 5):
        apart = sp.run(attack, defended.adaptive_view(3), goal, images, engine=Engine(batch_size=size))
        assert torch.equal(apart.examples, together.examples)
        assert torch.equal(apart.success_rate, together.success_rate)


def test_passes_are_what_a_counting_model_saw() -> None:
    case = small_net(5)
    counting = Counting(case.module)
    view = Defended(sp.Classifier(counting), Noise(0.1)).adaptive_view(4)
    spent = sp.run(
        sp.attacks.PGD(sp.Linf(0.05), steps=3), view, case.goal, case.images, engine=Engine(confirmation_samples=6)
    ).passes
    assert int((spent.forwards + spent.checks).sum()) == counting.forwards
    assert int(spent.backwards.sum()) == counting.backwards == 5 * 3 * 4


def test_a_budget_counts_every_draw() -> None:
    defended, images, labels = noisy(count=4)
    budget = sp.Budget(forwards=10)
    spent = sp.run(
        sp.attacks.PGD(sp.Linf(0.05), steps=9), defended.adaptive_view(4), sp.Misclassify(labels), images, budget=budget
    ).passes
    assert int(spent.forwards.max()) == 8


def test_resumed_it_ends_as_if_it_had_never_stopped(tmp_path) -> None:
    defended, images, labels = noisy(0.2, count=6)
    attack, goal, view = sp.attacks.PGD(sp.Linf(0.05), steps=6), sp.Misclassify(labels), defended.adaptive_view(2)
    whole = sp.run(attack, view, goal, images)

    def interrupt(progress: object) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    engine = Engine(checkpoint=tmp_path, checkpoint_seconds=-1, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        sp.run(attack, view, goal, images, engine=engine)
    again = sp.run(attack, view, goal, images, engine=replace(engine, progress=None))
    assert torch.equal(again.examples, whole.examples)
    assert torch.equal(again.success_rate, whole.success_rate)


def test_random_layers_draw_from_the_key_and_leave_the_generators_alone() -> None:
    case = small_net(6)
    target = sp.Classifier(nn.Sequential(Jitter(), case.module, Jitter()))
    assert target.stochastic
    key, generator = key_of(case.images), torch.get_rng_state()
    whole = target(case.images, key)
    part = target(case.images[2:4], Key(torch.tensor([2, 3]), 3))
    assert torch.allclose(whole[2:4], part, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not torch.equal(whole, target(case.images, key.reseeded(1)))
    assert torch.equal(target.disable_noise()(case.images), case.module(case.images))


def test_a_model_of_somebodys_own_randomness_is_asked_with_seeds() -> None:
    case = small_net(6)

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return case.module(x + 0.2 * torch.randn_like(x))

    target, generator = sp.Classifier(Own(), stochastic=True), torch.get_rng_state()
    first = sp.run(sp.attacks.PGD(sp.Linf(0.05), steps=4), target, case.goal, case.images)
    again = sp.run(sp.attacks.PGD(sp.Linf(0.05), steps=4), target, case.goal, case.images)
    assert torch.equal(first.examples, again.examples)
    assert torch.equal(torch.get_rng_state(), generator)


def test_unaware_climbs_the_bare_model_and_is_judged_by_the_defended_one() -> None:
    case = small_net(6)
    hard = Defended(case.target, Rounding())
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.05)), hard.naive_view(), case.goal, case.images)
    with torch.no_grad():
        wrong = hard(outcome.examples).argmax(1) != case.labels
    assert torch.equal(wrong, outcome.success)


def test_what_is_detected_is_no_success() -> None:
    case = small_net(8)
    limit = float(case.images.flatten(1).mean(1).amax()) + 0.002
    screened = Defended(case.target, Bright(limit))
    outputs = screened(case.images)
    assert isinstance(outputs, DetectorOutputs)
    assert bool((outputs.alarm < 0).all())
    view = screened.adaptive_view()
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.1)), view, case.goal, case.images)
    answers = screened(outcome.examples)
    undetected = (answers.outputs.argmax(1) != case.labels) & (answers.alarm < 0)
    assert torch.equal(undetected, outcome.success)
    assert outcome.goal == "Undetected"
    assert bool(outcome.success.any())
    naive = sp.run(sp.attacks.PGD(sp.Linf(0.1)), screened.naive_view(), case.goal, case.images)
    assert naive.attack_success_rate <= outcome.attack_success_rate


def test_either_part_of_the_joint_goal_can_be_climbed() -> None:
    outputs = DetectorOutputs(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0.5, -1.0]))
    goal = Undetected(sp.Misclassify(torch.zeros(2).long()))
    assert goal.margin(outputs).tolist() == [-1.0, 1.0]
    assert goal.loss_of(outputs, ClimbDetector()).tolist() == [-0.5, 1.0]
    assert goal.loss_of(outputs, ClimbTask(sp.goals.Margin())).tolist() == [-1.0, 3.0]
    with pytest.raises(GoalError, match="nothing here may reject"):
        sp.Misclassify(torch.zeros(2).long()).loss_of(outputs.outputs, ClimbDetector())


@pytest.mark.parametrize("fuse", ["probabilities", "logits", "majority"])
def test_votes_are_fused(fuse: str) -> None:
    case = small_net(5)
    key = key_of(case.images)
    voted = Defended(case.target, Noise(0.3), votes=7, fuse=fuse)(case.images, key)
    single = torch.stack([Defended(case.target, Noise(0.3))(case.images, key.reseeded(vote)) for vote in range(7)])
    expected = {
        "probabilities": single.softmax(2).mean(0).log(),
        "logits": single.mean(0),
        "majority": nn.functional.one_hot(single.argmax(2), 4).double().mean(0).clamp_min(1e-16).log(),
    }[fuse]
    assert torch.allclose(voted.clamp_min(-30), expected.clamp_min(-30))


def test_a_draw_of_the_vote_is_no_success() -> None:
    class Coin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack((0.5 - x.flatten(1)[:, 0], x.flatten(1)[:, 0] - 0.5), 1)

    defended = Defended(sp.Classifier(Coin()), Noise(1.0), votes=2, fuse="majority")
    images = torch.full((200, 1, 1, 1), 0.5)
    margin = sp.Misclassify(torch.zeros(200).long())(defended(images)).margin
    assert 0.15 < float((margin > 0).float().mean()) < 0.35  # both votes wrong: a quarter
    assert 0.4 < float((margin == 0).float().mean()) < 0.6


def test_without_a_key_each_answer_is_another() -> None:
    defended, images, _ = noisy()
    assert not torch.equal(defended(images), defended(images))


def test_a_training_example_of_a_random_model_is_crafted_with_keys() -> None:
    case = small_net(6)
    target = sp.Classifier(nn.Sequential(Jitter(), case.module))
    generator = torch.get_rng_state()
    crafted = sp.craft(sp.attacks.PGD(sp.Linf(0.05), steps=4), target, case.goal, case.images)
    assert torch.equal(crafted, sp.craft(sp.attacks.PGD(sp.Linf(0.05), steps=4), target, case.goal, case.images))
    assert torch.equal(torch.get_rng_state(), generator)


def test_networks_of_the_stages_are_held_still_and_put_back() -> None:
    case = small_net(4)
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double().train()

    class Net(Stage):
        modules = (inner,)

        def __call__(self, images: Tensor, key: Key) -> Tensor:
            assert not inner[1].training
            return images + 0 * inner(images)

    before = {name: value.clone() for name, value in inner.state_dict().items()}
    sp.run(sp.attacks.PGD(sp.Linf(0.05), steps=2), Defended(case.target, Net()).adaptive_view(), case.goal, case.images)
    assert inner.training
    assert all(parameter.requires_grad for parameter in inner.parameters())
    assert all(torch.equal(value, before[name]) for name, value in inner.state_dict().items())


def test_keep_surest_wants_the_highest_margin() -> None:
    case = small_net(6)
    surest = sp.run(
        sp.attacks.PGD(sp.Linf(0.1), steps=9), case.target, case.goal, case.images, keep=Keep.HIGHEST_MARGIN
    )
    first = sp.run(sp.attacks.PGD(sp.Linf(0.1), steps=9), case.target, case.goal, case.images)
    margins = [case.goal(case.module(one.examples)).margin for one in (surest, first)]
    assert bool((margins[0] >= margins[1] - 1e-12).all())
    assert torch.equal(surest.success, first.success)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: Defended(t, "jpeg"), "is no part of a pipeline"),
        (lambda t: Defended(sp.Restricted(t, sp.Scores)), "white box"),
        (lambda t: Defended(t, Noise(0.1), votes=0), "votes=0"),
        (lambda t: Defended(t, Rounding(), votes=5), "5 times the same"),
        (lambda t: Defended(t, Noise(0.1), fuse="mean"), "fuse 'mean' is unknown"),
        (lambda t: Defended(t, Noise(0.1)).adaptive_view(), "pass draws="),
        (lambda t: Defended(t, Noise(0.1)).adaptive_view(0), "draws=0"),
        (lambda t: Defended(t, Rounding()).adaptive_view(8), "8 draws are one"),
        (lambda t: Defended(t, Bright(0.5)).adaptive_view(weight=-1), "weight=-1"),
    ],
)
@pytest.mark.wrong_types
def test_bad_input_is_told_at_the_door(make, message: str) -> None:
    with pytest.raises((ConfigError, TargetError), match=message):
        make(small_net(2).target)
