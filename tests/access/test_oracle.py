"""What an attack may ask: answers, budgets in the middle of a step, and doors that stay shut."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.access import (
    Attack,
    Batch,
    Budget,
    Decisions,
    Gradients,
    Jacobians,
    Keep,
    Ledger,
    QueryBroker,
    Reason,
    Scores,
)
from sparring.errors import AccessError
from sparring.geometry.region import Region
from sparring.goals import Margin, RivalMargin
from sparring.rows import take

BALL = sp.Linf(0.1)


@pytest.fixture
def case():
    return testing.small_net(4)


def broker_of(case, *, budget=None, keep=Keep.SMALLEST, batch_size=100, skip_won=False, target=None):
    ledger = Ledger(Region.around(case.images, sp.Linf(0.5)), keep, budget or Budget())
    return QueryBroker(target or case.target, case.goal, ledger, batch_size, skip_won)


def test_decisions_scores_and_gradients_agree(case):
    oracle = Jacobians(broker_of(case))
    margin = case.goal(case.module(case.images)).margin.detach()
    assert torch.equal(oracle.decide(case.images), margin > 0)
    assert torch.equal(oracle.score(case.images).margin, margin)
    assert torch.equal(oracle.gradient(case.images).verdict.margin, margin)
    jacobian = oracle.jacobian(case.images, 9)
    assert jacobian.margins.shape == (4, 3)
    assert torch.equal(jacobian.margins.amax(1), margin)


def test_gradients_are_those_of_autograd(case):
    oracle = Gradients(broker_of(case))
    x = case.images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(case.goal(case.module(x)).loss.sum(), x)
    assert torch.allclose(oracle.gradient(case.images).grad, expected, atol=1e-14)
    (expected,) = torch.autograd.grad((2 * case.goal(case.module(x / 2)).margin + x.sum((1, 2, 3))).sum(), x)

    def twice(verdict, images):
        return 2 * verdict.loss + 2 * images.sum((1, 2, 3))

    answer = oracle.gradient(case.images, render=lambda z: z / 2, objective=twice, loss=Margin())
    assert torch.allclose(answer.grad, expected, atol=1e-13)
    assert torch.equal(answer.images, case.images / 2)


def test_jacobians_are_those_of_autograd(case):
    jacobian = Jacobians(broker_of(case)).jacobian(case.images, 2)
    for row in range(4):
        x = case.images[row : row + 1].clone().requires_grad_()
        z = case.module(x)[0]
        leads = sorted((z[k] - z[case.labels[row]] for k in range(4) if k != case.labels[row]), reverse=True)
        for j in range(2):
            (expected,) = torch.autograd.grad(leads[j], x, retain_graph=True)
            assert torch.allclose(jacobian.grads[row, j], expected[0], atol=1e-13)


def scaled(factor, seen=None):
    """A detour that multiplies gradients, and notes what it was asked."""

    def detour(oracle, variable, render, objective, loss, rows):
        if seen is not None:
            seen.append((type(oracle), render, objective, loss, rows))
        answer = oracle.gradient(variable, render=render, objective=objective, loss=loss, rows=rows)
        return replace(answer, grad=factor(answer.grad))

    return detour


@pytest.mark.parametrize("kind", [Gradients, Jacobians])
def test_a_detour_changes_gradients_and_nothing_else(case, kind):
    plain, x, seen = kind(broker_of(case)), case.images, []
    broker = broker_of(case)
    oracle = kind(broker).with_gradient_transform(scaled(lambda grad: 2 * grad, seen))
    assert type(oracle) is kind
    assert torch.equal(oracle.gradient(x).grad, 2 * plain.gradient(x).grad)
    rows = torch.tensor([1, 1, 3])

    def objective(verdict, images):
        return verdict.margin

    lead = RivalMargin((case.labels + 1) % 4)
    options = {"render": torch.cos, "objective": objective, "loss": take(lead, rows), "rows": rows}
    assert torch.equal(oracle.gradient(x[rows], **options).grad, 2 * plain.gradient(x[rows], **options).grad)
    assert seen == [(kind, None, None, None, None), (kind, *options.values())]
    steered = oracle.with_loss(lead)
    assert type(steered) is kind
    assert torch.equal(steered.gradient(x).grad, 2 * plain.gradient(x, loss=lead).grad)
    again = plain.with_loss(lead).with_gradient_transform(scaled(lambda grad: 2 * grad))
    assert torch.equal(again.gradient(x[rows], rows=rows).grad, steered.gradient(x[rows], rows=rows).grad)
    assert torch.equal(oracle.score(x).loss, plain.score(x).loss)
    assert torch.equal(oracle.rivals(x, 2), plain.rivals(x, 2))
    assert broker.ledger.backwards.tolist() == [2, 6, 2, 4]
    if kind is Jacobians:
        assert torch.equal(oracle.jacobian(x, 2).grads, plain.jacobian(x, 2).grads)
    else:
        with pytest.raises(AccessError, match="asks for 'jacobian' and was granted Gradients only"):
            oracle.jacobian(x, 2)
    with pytest.raises(AccessError, match="asks for 'with_gradient_transform' and was granted Scores only"):
        Scores(broker).with_gradient_transform(scaled(lambda grad: grad))


def test_the_last_detour_is_taken_first(case):
    plain, x = Gradients(broker_of(case)), case.images
    once = plain.with_gradient_transform(scaled(lambda grad: grad + 1))
    both = once.with_gradient_transform(scaled(lambda grad: 2 * grad))
    assert torch.equal(both.gradient(x).grad, 2 * (plain.gradient(x).grad + 1))
    assert torch.equal(once.gradient(x).grad, plain.gradient(x).grad + 1)


def test_answers_are_detached_and_questions_untouched(case):
    oracle, x = Jacobians(broker_of(case)), case.images.clone().requires_grad_()
    answer, jacobian = oracle.gradient(x), oracle.jacobian(x, 2)
    for tensor in (
        oracle.score(x).margin, answer.grad, answer.value, answer.images, answer.verdict.loss, jacobian.grads,
        jacobian.margins, jacobian.verdict.margin,
    ):  # fmt: skip
        assert not tensor.requires_grad
    assert x.grad is None
    assert torch.equal(x, case.images)


def test_rows_may_be_asked_about_several_times_in_batches(case):
    rows = torch.tensor([0, 0, 0, 2, 3, 3])
    asked = (case.images[rows] + 0.01 * torch.arange(6).view(-1, 1, 1, 1)).clamp(0, 1)
    expected = take(case.goal, rows)(case.module(asked)).margin
    for size in (1, 4, 100):
        broker = broker_of(case, batch_size=size)
        assert torch.allclose(Scores(broker).score(asked, rows=rows).margin, expected, atol=1e-13)
        assert broker.ledger.forwards.tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize("question", ["score", "gradient", "jacobian"])
def test_a_budget_closes_rows_in_the_middle_of_a_question(case, question):
    """Rows 0 and 2 get one more forward pass of the three images that they ask about, rows 1 and 3 all."""
    counting = testing.Counting(case.module)
    broker = broker_of(case, budget=Budget(forwards=5), target=sp.Classifier(counting))
    broker.ledger.passes[0] += torch.tensor([4, 0, 4, 2])
    oracle, rows = Jacobians(broker), torch.arange(4).repeat_interleave(3)
    asked = case.images[rows]
    ask = {
        "score": lambda: oracle.score(asked, rows=rows).margin,
        "gradient": lambda: oracle.gradient(asked, rows=rows).verdict.margin,
        "jacobian": lambda: oracle.jacobian(asked, 2, rows=rows).verdict.margin,
    }
    margins = ask[question]().view(4, 3)
    answered = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]]).bool()
    assert torch.equal(margins.isfinite(), answered)
    assert counting.forwards == 8
    assert broker.ledger.forwards.tolist() == [5, 3, 5, 5]
    assert oracle.open().tolist() == [False, True, False, False]
    assert not torch.isfinite(ask[question]().view(4, 3)[[0, 2, 3]]).any()
    assert counting.forwards == 8 + 2  # row 1 had two passes left


def test_an_unanswered_row_has_no_slope(case):
    broker = broker_of(case, budget=Budget(backwards=1))
    broker.ledger.passes[1] += torch.tensor([1, 0, 1, 0])
    answer = Gradients(broker).gradient(case.images, objective=lambda v, images: v.loss + images.sum((1, 2, 3)))
    assert answer.grad.flatten(1).any(1).tolist() == [False, True, False, True]
    assert answer.verdict.loss.isfinite().tolist() == [False, True, False, True]
    assert answer.images.shape == case.images.shape
    assert broker.ledger.backwards.tolist() == [1, 1, 1, 1]


def test_a_jacobian_that_the_budget_cannot_pay_is_refused_and_closes_the_row(case):
    broker = broker_of(case, budget=Budget(backwards=5))
    broker.ledger.passes[1] += torch.tensor([0, 3, 2, 5])
    jacobian = Jacobians(broker).jacobian(case.images, 3)
    assert jacobian.margins.isfinite().all(1).tolist() == [True, False, True, False]
    assert not jacobian.grads[[1, 3]].any()
    assert broker.ledger.backwards.tolist() == [3, 3, 5, 5]
    assert broker.open().tolist() == [True, False, False, False]


class NoEmptyBatches(nn.Module):
    """`view(len(x), -1)`, as in many a user's model, cannot take a batch of no images."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        y = self.module[:2](x)
        return self.module[3:](y.view(len(x), -1))


def test_a_question_of_which_nothing_is_admitted_is_not_put_to_the_target(case):
    counting = testing.Counting(NoEmptyBatches(case.module))
    broker = broker_of(case, budget=Budget(forwards=0), target=sp.Classifier(counting))
    oracle = Jacobians(broker)
    assert not oracle.decide(case.images).any()
    answer = oracle.gradient(case.images, objective=lambda v, images: v.margin)
    assert not answer.grad.any()
    assert not answer.verdict.margin.isfinite().any()
    jacobian = oracle.jacobian(case.images, 3)
    assert not jacobian.grads.any()
    assert counting.calls == 0


@pytest.mark.parametrize("budget", [Budget(forwards=0), Budget(backwards=0), Budget(backwards=1), Budget(forwards=1)])
@pytest.mark.parametrize("attack", [
    sp.attacks.FGSM(sp.Linf(0.01)), sp.attacks.PGD(sp.L2(0.01), steps=3), sp.attacks.DeepFool(),
    sp.attacks.CarliniWagner(binary_search_steps=2, steps=3),
    sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.001), steps=2), 2),
], ids=lambda attack: attack.name)  # fmt: skip
def test_attacks_on_such_a_model_end_within_the_smallest_budgets(case, attack, budget):
    counting = testing.Counting(NoEmptyBatches(case.module))
    outcome = sp.run(attack, sp.Classifier(counting), case.goal, case.images, budget=budget)
    assert counting.forwards == int((outcome.passes.forwards + outcome.passes.checks).sum())
    assert set(outcome.reasons) <= {Reason.BUDGET, Reason.FOUND, Reason.EXHAUSTED}


def test_with_skip_won_a_won_row_is_asked_no_more(case):
    broker = broker_of(case, keep=Keep.FIRST, skip_won=True)
    broker.ledger.won[1] = True
    margin = Scores(broker).score(case.images).margin
    assert margin.isfinite().tolist() == [True, False, True, True]
    assert broker.ledger.forwards.tolist() == [1, 0, 1, 1]


def test_narrowing_keeps_rows_and_goals_together(case):
    broker = broker_of(case)
    broker.narrow(torch.tensor([False, True, False, True]))
    broker.narrow(torch.tensor([False, True]))
    margin = Scores(broker).score(case.images[3:]).margin
    assert torch.allclose(margin, case.goal(case.module(case.images)).margin[3:].detach(), atol=1e-13)
    assert broker.ledger.forwards.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("repeated", [False, True])
def test_slopes_are_noted_row_by_row(case, repeated):
    """Zero and non-finite gradients, also where a row asks several times."""
    broker = broker_of(case)
    rows = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]) if repeated else None
    scale = torch.tensor([1.0, 0.0, torch.nan, 0.0], dtype=torch.float64)
    if repeated:
        scale = torch.tensor([1.0, 0.0, 0.0, 0.0, torch.nan, 1.0, 0.0, 0.0], dtype=torch.float64)
    x = case.images if rows is None else case.images[rows]
    answer = Gradients(broker).gradient(x, objective=lambda v, images: v.loss * scale, rows=rows)
    assert answer.grad.isfinite().all()
    assert broker.ledger.nonzero_gradient.tolist() == (
        [True, False, True, False] if repeated else [True, False, False, False]
    )
    assert broker.ledger.non_finite_gradient.tolist() == [False, False, True, False]


@dataclass(frozen=True)
class Nothing:
    x: Tensor


@dataclass(frozen=True)
class Peek(Attack[Scores, Nothing]):
    """Declares Scores and reaches for a gradient."""

    ball: sp.Linf = BALL
    steps: int = 1

    def init(self, oracle: Scores, batch: Batch) -> Nothing:
        return Nothing(batch.x)

    def step(self, oracle: Scores, state: Nothing, t: int) -> Nothing:
        oracle.gradient(state.x)
        return state


def test_a_door_that_was_not_granted_stays_shut(case):
    with pytest.raises(AccessError, match=r"asks for 'gradient' and was granted Scores only; declare .*Attack\[Access"):
        sp.run(Peek(), case.target, case.goal, case.images)
    for level, missing in ((Decisions, "score"), (Scores, "gradient"), (Gradients, "jacobian")):
        with pytest.raises(AccessError, match=f"asks for '{missing}' and was granted {level.__name__} only"):
            getattr(level(broker_of(case)), missing)
    with pytest.raises(AccessError, match="PGD needs Gradients, and Sequential grants Decisions only; use"):
        sp.run(sp.attacks.PGD(sp.Linf(0.1)), sp.Restricted(case.target, Decisions), case.goal, case.images)


@dataclass(frozen=True)
class Wander(Attack[Gradients, Nothing]):
    """Asks for one slope per step and goes nowhere."""

    ball: sp.Linf = BALL
    steps: int = 3

    def init(self, oracle: Gradients, batch: Batch) -> Nothing:
        return Nothing(batch.x)

    def step(self, oracle: Gradients, state: Nothing, t: int) -> Nothing:
        return replace(state, x=state.x + 0 * oracle.gradient(state.x).grad)


def reasons(case, model, attack=None):
    return sp.run(attack or Wander(), sp.Classifier(model), case.goal, case.images).reasons


def test_zero_gradients_are_the_reason(case):
    assert reasons(case, case.module) == [Reason.EXHAUSTED] * 4
    assert reasons(case, lambda x: case.module(x.detach()) + 0 * x.sum((1, 2, 3))[:, None]) == [Reason.NO_GRADIENT] * 4


def test_answers_that_are_not_finite_are_the_reason(case):
    calls = []

    def breaks_later(x):
        calls.append(len(x))
        z = case.module(x)
        return z if len(calls) == 1 else torch.cat((z[:1] * torch.nan, z[1:]))

    assert reasons(case, breaks_later) == [Reason.NON_FINITE, *[Reason.EXHAUSTED] * 3]
    bad = torch.zeros(4, 1, dtype=torch.float64)
    bad[2] = torch.nan
    clean = sp.run(Wander(), sp.Classifier(lambda x: case.module(x) + bad[: len(x)]), case.goal, case.images)
    assert clean.reasons[2] is Reason.NON_FINITE
    assert clean.passes.forwards.tolist()[2] == 0


@pytest.mark.parametrize("blind", ["detached", "weights only"])
def test_a_model_without_gradients_is_refused(case, blind):
    """Detached outputs, and outputs that depend on weights alone."""
    layer = nn.Linear(192, 4).double()

    def model(x):
        return case.module(x.detach()).detach() if blind == "detached" else layer(x.detach().flatten(1))

    goal = sp.Misclassify(model(case.images).argmax(1))
    for attack in (
        sp.attacks.PGD(sp.Linf(0.1)),
        sp.attacks.DeepFool(),
        sp.attacks.CarliniWagner(binary_search_steps=1, steps=1),
    ):
        with pytest.raises(AccessError, match=r"the target gives no gradient.*\(Square, HopSkipJump\)"):
            sp.run(attack, sp.Classifier(model), goal, case.images)
    assert sp.run(sp.attacks.Square(sp.Linf(0.4), n_queries=60), sp.Classifier(model), goal, case.images).success.any()
