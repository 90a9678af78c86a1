"""`run`: what it refuses, what it reports, and that how it is run changes no result."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep, Reason
from sparring.attacks import FGSM, PGD, Boundary, CarliniWagner, DeepFool, HopSkipJump, Restarts, Square
from sparring.errors import ConfigError, GoalError, InputError, OutOfMemoryError
from sparring.goals import CrossEntropy, Margin
from sparring.rows import take


@pytest.fixture
def case():
    return testing.small_net(6)


def same(a, b):
    assert torch.equal(a.examples, b.examples)
    assert torch.equal(a.reason, b.reason)
    assert torch.equal(a.distance, b.distance)


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x * 255, r"pixels reach from .* and images lie in \[0, 1\]; divide by 255"),
    (lambda x: (x - 0.5) / 0.25, r"pixels reach from .*; undo the normalisation: the target owns mean and std"),
    (lambda x: x.index_fill(0, torch.tensor([4]), torch.nan), "image 4 holds NaN or infinity; clean the data first"),
    (lambda x: x.index_fill(0, torch.tensor([2]), torch.inf), "image 2 holds NaN or infinity"),
    (lambda x: x[0], r"must be a float tensor \(N, C, H, W\).*got torch.float64 of shape \(3, 8, 8\)"),
    (lambda x: x.numpy().astype("int64"), "x has pixels of type int64 .*which value is white is not known"),
    (lambda x: x.half(), r"images are torch.float16, too coarse .*; pass images\.float\(\)"),
    (lambda x: x[:0], "there are no images: x has 0 rows"),
    (lambda x: x[:5], "the goal speaks of 6 images and there are 5; one label per image"),
])  # fmt: skip
@pytest.mark.wrong_types
def test_images_that_cannot_be_used(case, change, words):
    counting = testing.Counting(case.module)
    with pytest.raises(InputError, match=words):
        sp.run(FGSM(sp.Linf(0.1)), sp.Classifier(counting), case.goal, change(case.images))
    assert counting.calls == 0


@pytest.mark.parametrize(("options", "words"), [
    ({"batch_size": 0}, "engine batch_size=0; pass an int >= 1"),
    ({"check_done_every": 0}, "engine check_done_every=0"),
    ({"seed": 1.5}, r"engine seed=1\.5; pass an int"),
    ({"autocast": torch.float32}, r"engine autocast=torch\.float32; pass torch\.bfloat16"),
])  # fmt: skip
@pytest.mark.wrong_types
def test_engines_that_make_no_sense(options, words):
    with pytest.raises(ConfigError, match=words):
        sp.Engine(**options)


class Small(nn.Module):
    """Runs out of memory above `limit` images."""

    def __init__(self, module, limit):
        super().__init__()
        self.module, self.limit, self.refused = module, limit, []

    def forward(self, x):
        if len(x) > self.limit:
            self.refused.append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory (planted)")
        return self.module(x)


@pytest.mark.parametrize("attack", [
    Restarts(PGD(sp.Linf(0.03), steps=4), 2), Square(sp.Linf(0.06), n_queries=30), HopSkipJump(steps=2), DeepFool(),
], ids=lambda attack: attack.name)  # fmt: skip
def test_out_of_memory_halves_the_batch_and_remembers(attack):
    case = testing.small_net(10)
    small = Small(case.module, 3)
    outcome = sp.run(attack, sp.Classifier(small), case.goal, case.images, engine=sp.Engine(batch_size=10))
    whole = testing.attack_laws.run_on_case(attack, case, engine=sp.Engine(batch_size=10))
    assert small.refused == [10, 5]  # then 2, and never more again
    assert torch.equal(outcome.success, whole.success)
    assert float((outcome.examples - whole.examples).abs().max()) < 1e-12


def test_one_image_that_does_not_fit_is_an_error(case):
    small = Small(case.module, 0)
    with pytest.raises(OutOfMemoryError, match=r"also for a single image .*planted"):
        sp.run(FGSM(sp.Linf(0.1)), sp.Classifier(small), case.goal, case.images)
    assert small.refused == [6, 3, 1]


class Fickle(nn.Module):
    """Another answer at each call: its logits are turned around every other time after the first."""

    def __init__(self, module):
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, x):
        self.calls += 1
        return self.module(x) * (-1 if self.calls == 2 else 1)


def test_a_success_that_is_not_confirmed_is_none(case):
    outcome = sp.run(FGSM(sp.Linf(0.0)), sp.Classifier(Fickle(case.module)), case.goal, case.images)
    assert outcome.reasons == [Reason.UNCONFIRMED] * 6
    assert not outcome.success.any()
    assert torch.equal(outcome.examples, case.images)
    assert outcome.distance.isinf().all()
    assert (outcome.queries_to_success == -1).all()
    assert (outcome.passes.checks == 2).all()


def half_wrong(case):
    labels = case.labels.clone()
    labels[::2] = (labels[::2] + 1) % 4
    return sp.Misclassify(labels)


@pytest.mark.parametrize(
    "attack", [PGD(sp.Linf(0.3)), CarliniWagner(binary_search_steps=2, steps=10), HopSkipJump(steps=1)]
)
def test_rows_that_are_wrong_already_cost_nothing(case, attack):
    outcome = sp.run(attack, case.target, half_wrong(case), case.images)
    wrong = torch.arange(6) % 2 == 0
    assert torch.equal(outcome.already, wrong)
    assert torch.equal(outcome.examples[wrong], case.images[wrong])
    assert not outcome.distance[wrong].any()
    assert outcome.success[wrong].all()
    assert (outcome.queries_to_success[wrong] == -1).all()
    assert not outcome.passes.forwards[wrong].any()
    assert not outcome.passes.backwards[wrong].any()
    assert (outcome.passes.checks[wrong] == 1).all()


def test_rates_count_those_rows_apart(case):
    goal = half_wrong(case)
    nothing = sp.run(FGSM(sp.Linf(0.0)), case.target, goal, case.images)
    assert nothing.attack_success_rate == 0
    assert nothing.robust_accuracy == pytest.approx(0.5)
    everything = sp.run(HopSkipJump(steps=1), case.target, goal, case.images)
    assert everything.attack_success_rate == 1
    assert everything.robust_accuracy == 0
    assert "success 100.0%" in str(everything)
    none_stood = sp.run(FGSM(sp.Linf(0.0)), case.target, sp.Misclassify((case.labels + 1) % 4), case.images)
    assert math.isnan(none_stood.attack_success_rate)


def test_keep_worst_attacks_wrong_rows_too_and_returns_the_highest_loss(case):
    goal, asked = half_wrong(case), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    attack = PGD(sp.Linf(0.1), steps=5)
    for row in range(6):
        asked.clear()
        one = take(goal, torch.tensor([row]))
        outcome = sp.run(attack, sp.Classifier(watching), one, case.images[row : row + 1], keep=Keep.HIGHEST_LOSS)
        images = torch.cat(asked[1:])
        with torch.no_grad():
            verdicts = take(goal, torch.full((len(images),), row))(case.module(images))
            clean, returned = (one(case.module(x)) for x in (case.images[row : row + 1], outcome.examples))
        loss = verdicts.loss.where(verdicts.margin > 0, -torch.inf) if outcome.success else verdicts.loss
        assert float(returned.loss) == pytest.approx(float(loss.max()))
        assert not outcome.already.any()
        assert int(outcome.passes.backwards) == 5
        assert float(returned.loss) > float(clean.loss)


def test_progress_is_told_after_every_step(case):
    seen = []
    engine = sp.Engine(batch_size=4, progress=seen.append)
    sp.run(PGD(sp.Linf(0.001), steps=3), case.target, case.goal, case.images, engine=engine)
    assert [(p.done, p.batch, p.step) for p in seen] == [(d, b, s) for d, b in ((0, 4), (4, 2)) for s in (1, 2, 3)]
    assert all((p.attack, p.total, p.steps) == ("PGD", 6, 3) for p in seen)
    assert all(p.live == p.batch for p in seen)


def test_autocast_stays_inside_the_search(case):
    case.module.float()
    images, kinds = case.images.float(), []

    def watching(x):
        z = case.module(x)
        kinds.append(z.dtype)
        return z

    attack = PGD(sp.Linf(0.3), steps=3)
    engine = sp.Engine(autocast=torch.bfloat16)
    outcome = sp.run(attack, sp.Classifier(watching), case.goal, images, engine=engine)
    assert outcome.success.any()
    assert kinds[0] == kinds[-1] == torch.float32  # the clean look and the confirmation
    assert set(kinds[1:-1]) == {torch.bfloat16}
    assert outcome.examples.dtype == torch.float32
    for other in (
        Square(sp.L2(1.0), n_queries=20),
        CarliniWagner(binary_search_steps=2, steps=5),
        DeepFool(),
        HopSkipJump(steps=1),
    ):
        lower = sp.run(other, case.target, case.goal, images, engine=engine)
        won = case.goal(case.module(lower.examples)).margin > 0
        assert torch.equal(won, lower.success), other.name


@pytest.mark.parametrize("attack", [
    PGD(sp.Linf(0.05), steps=20), CarliniWagner(binary_search_steps=4, steps=20, learning_rate=0.05), DeepFool(),
    HopSkipJump(steps=3), Square(sp.Linf(0.08), n_queries=60), Restarts(PGD(sp.L2(0.3), steps=5), 3),
], ids=lambda attack: attack.name)  # fmt: skip
@pytest.mark.parametrize("keep", [None, Keep.SMALLEST])
def test_how_often_the_engine_looks_changes_no_result(case, attack, keep):
    one, eight = (
        testing.attack_laws.run_on_case(attack, case, keep=keep, engine=sp.Engine(check_done_every=every))
        for every in (1, 8)
    )
    assert torch.equal(one.success, eight.success)
    assert float((one.examples - eight.examples).abs().max()) < 1e-12
    assert torch.equal(one.queries_to_success, eight.queries_to_success)


@pytest.mark.parametrize(
    "attack", [PGD(sp.Linf(0.05), steps=5), Square(sp.L2(0.8), n_queries=40), HopSkipJump(steps=2)]
)
def test_a_data_set_in_two_halves_equals_the_whole(case, attack):
    def part(rows, indices):
        return sp.run(
            attack, case.target, take(case.goal, rows), case.images[rows], indices=indices, keep=Keep.HIGHEST_LOSS
        )

    whole = part(torch.arange(6), None)
    odd, even = torch.tensor([1, 3, 5]), torch.tensor([0, 2, 4])
    for rows in (odd, even):
        assert float((part(rows, rows).examples - whole.examples[rows]).abs().max()) < 1e-12
    assert not torch.equal(part(odd, None).examples, part(odd, odd).examples)  # the indices did matter


@pytest.mark.wrong_types
@pytest.mark.parametrize(("indices", "got"), [
    (torch.arange(5), r"torch.int64 of shape \(5,\)"),
    (torch.zeros(6), r"torch.float32 of shape \(6,\)"),
    ([0.5] * 6, "list"),
])  # fmt: skip
def test_indices_are_one_position_per_image(case, indices, got):
    with pytest.raises(InputError, match=rf"indices must be int64 of shape \(6,\), one position per image; got {got}"):
        sp.run(FGSM(sp.Linf(0.1)), case.target, case.goal, case.images, indices=indices)


def test_another_seed_is_another_search(case):
    attack = PGD(sp.Linf(0.05), steps=3)
    results = [
        sp.run(attack, case.target, case.goal, case.images, keep=Keep.HIGHEST_LOSS, engine=sp.Engine(seed=seed))
        for seed in (0, 0, 1)
    ]
    same(results[0], results[1])
    assert not torch.equal(results[0].examples, results[2].examples)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(case, mode):
    plain = sp.run(PGD(sp.Linf(0.1), steps=5), case.target, case.goal, case.images)
    with mode():
        inside = sp.run(PGD(sp.Linf(0.1), steps=5), case.target, sp.Misclassify(case.labels + 0), case.images + 0)
    same(plain, inside)
    assert not inside.examples.is_inference()


def test_goals_of_another_loss(case):
    """Logits times 10,000: the gradient of the cross-entropy is exactly zero, that of the log-odds is not."""
    target = sp.Classifier(lambda x: 1e4 * case.module(x))
    attack = PGD(sp.Linf(0.2), steps=10, random_start=False)
    blind = sp.run(attack, target, replace(case.goal, loss=CrossEntropy()), case.images)
    sighted = sp.run(attack, target, case.goal, case.images)
    assert Reason.NO_GRADIENT in blind.reasons
    assert sighted.success.sum() > blind.success.sum()
    assert sighted.success.all()
    assert sp.run(attack, target, replace(case.goal, loss=Margin()), case.images).success.all()


def test_a_goal_that_is_no_record_is_refused(case):
    class Loose(sp.goals.Goal):
        def terms(self, outputs):
            return sp.goals.Terms(outputs)

        def __len__(self):
            return 6

    with pytest.raises(GoalError, match=r"the goal Loose is no dataclass.*frozen=True"):
        sp.run(FGSM(sp.Linf(0.1)), case.target, Loose(), case.images)


def test_names_and_times_are_in_the_outcome(case):
    outcome = sp.run(Restarts(FGSM(sp.Linf(0.1)), 2), case.target, sp.ClassifyAs(case.labels), case.images)
    assert (outcome.attack, outcome.goal) == ("FGSM x 2", "ClassifyAs")
    assert outcome.seconds > 0
    assert len(outcome) == 6
    assert outcome.already.all()


def test_budget_and_missing_start_are_different_reasons(case):
    """A row that the budget closed before a start was found ran out of budget, not of starts."""
    never = sp.ClassifyAs(torch.full_like(case.labels, 3))
    target = sp.Classifier(lambda x: case.module(x) - torch.tensor([0, 0, 0, 1e3]).double())
    attack = HopSkipJump(steps=2, init_size=5)
    assert sp.run(attack, target, never, case.images).reasons == [Reason.NO_START] * 6
    short = sp.run(attack, target, never, case.images, budget=sp.Budget(forwards=3))
    assert short.reasons == [Reason.BUDGET] * 6


class Rounding(nn.Module):
    """Two classes whose border lies a hair farther out once `strict`, as another batch size may round it."""

    strict = False

    def forward(self, x):
        level = x.flatten(1).mean(1) - 0.5 - (1e-4 if self.strict else 0.0)
        return torch.stack((-level, level), 1)


@pytest.mark.parametrize("ball", [sp.L2(), sp.L2(3.0)])
def test_a_smallest_example_that_rounding_takes_back_is_enlarged_until_it_holds(ball):
    images = torch.full((6, 1, 4, 4), 0.3, dtype=torch.float64)
    goal, net = sp.Misclassify(torch.zeros(6, dtype=torch.long)), Rounding()
    engine = sp.Engine(progress=lambda now: setattr(net, "strict", now.step == now.steps))
    outcome = sp.run(Boundary(ball, steps=2000), sp.Classifier(net), goal, images, engine=engine)
    assert outcome.success.all()
    assert (outcome.passes.checks >= 3).all()  # the clean image, a confirmation that failed, one that did not
    assert (net(outcome.examples).argmax(1) == 1).all()
    assert torch.allclose(outcome.distance, (outcome.examples - images).flatten(1).norm(dim=1))
    tight = sp.run(Boundary(sp.L2(0.80001), steps=2000), sp.Classifier(Rounding()), goal, images)
    net.strict = False
    edge = sp.run(Boundary(sp.L2(0.80001), steps=2000), sp.Classifier(net), goal, images, engine=engine)
    assert tight.success.any()
    assert not edge.success.any()  # never beyond the ball


def test_randomness_that_is_not_declared_is_noted():
    """Functional dropout draws whatever the mode; a model that draws and answers alike is not random."""
    case = testing.small_net(4)

    def run(change, **declared):
        target = sp.Classifier(lambda x: change(case.module(x)), **declared)
        return sp.run(PGD(sp.Linf(0.01), steps=2), target, case.goal, case.images)

    def dropped(z):
        return torch.nn.functional.dropout(z, 0.5, training=True)

    assert any("is random and does not say so" in note for note in run(dropped).notes)
    for change in (lambda z: z, lambda z: z + 0 * torch.rand_like(z)):
        assert not any("is random" in note for note in run(change).notes)
