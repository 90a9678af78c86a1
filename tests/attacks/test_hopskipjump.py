"""HopSkipJump: where it starts, what a failed start costs whom, and the constants of its estimate."""

import math

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Reason
from sparring.attacks import HopSkipJump
from sparring.errors import InputError


def test_pitfall_26_a_failed_start_is_that_rows_affair():
    """Rows that ask for a class that is never given end alone; the others are as without them."""
    case = testing.small_net(5)
    target = torch.zeros_like(case.labels)
    starting_pool = pool_of(case, 0)
    attack = HopSkipJump(steps=2, init_size=4, starting_pool=starting_pool)
    plain = sp.run(attack, case.target, sp.ClassifyAs(target), case.images)
    assert plain.success.all()
    rare = sp.Classifier(lambda x: torch.cat((case.module(x), x.new_full((len(x), 1), -99)), 1))
    mixed = torch.tensor([0, 4, 0, 4, 0])
    outcome = sp.run(attack, rare, sp.ClassifyAs(mixed), case.images)
    assert outcome.reasons == [Reason.FOUND, Reason.NO_START] * 2 + [Reason.FOUND]
    assert outcome.passes.forwards[1] == len(starting_pool) + 4  # the tries, and nothing after them
    alike = torch.tensor([0, 2, 4])
    assert float((outcome.examples[alike] - plain.examples[alike]).abs().max()) < 1e-9
    assert torch.equal(outcome.examples[1], case.images[1])


def pool_of(case, label):
    """Images that are taken for `label`, by ascent of its logit."""
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    goal = sp.ClassifyAs(torch.tensor([label]))
    found = sp.run(sp.attacks.PGD(sp.Linf(1.0), steps=60), case.target, goal, x)
    assert found.success.all()
    return torch.cat((x * 0, found.examples))  # the first does not win: it must be passed over


def test_a_targeted_goal_starts_from_its_pool():
    case = testing.small_net(4)
    goal = sp.ClassifyAs(torch.zeros_like(case.labels))
    starting_pool = pool_of(case, 0)
    asked = []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    attack = HopSkipJump(steps=1, starting_pool=starting_pool)
    few = sp.run(attack, sp.Classifier(watching), goal, case.images)
    many = sp.run(HopSkipJump(steps=12, starting_pool=starting_pool), case.target, goal, case.images)
    assert torch.equal(asked[1], starting_pool[:1].expand(4, -1, -1, -1))
    assert torch.equal(asked[2], starting_pool[1:].expand(4, -1, -1, -1))
    assert (few.queries_to_success == 2).all()
    assert (few.distance < (starting_pool[1] - case.images).flatten(1).norm(dim=1)).all()
    assert (many.distance < few.distance).all()


def test_a_pool_of_another_shape_is_told():
    case = testing.small_net(2)
    with pytest.raises(InputError, match=r"starting_pool has shape \(2, 1, 8, 8\), and the images are \(3, 8, 8\)"):
        sp.run(HopSkipJump(starting_pool=torch.zeros(2, 1, 8, 8)), case.target, case.goal, case.images)


@pytest.mark.parametrize("ball", [sp.L2(), sp.Linf()], ids=str)
def test_pitfall_26_rows_that_win_already_are_at_distance_zero(ball):
    case = testing.small_net(4)
    labels = (case.labels + torch.tensor([0, 1, 0, 1])) % 4
    outcome = sp.run(HopSkipJump(ball, steps=2), case.target, sp.Misclassify(labels), case.images)
    assert outcome.distance[[1, 3]].tolist() == [0, 0]
    assert outcome.passes.forwards[[1, 3]].tolist() == [0, 0]
    assert outcome.success.all()
    assert outcome.examples.isfinite().all()


def questions(ball, steps):
    """Every image that one row asks about, in calls: [(call size, images)]."""
    case, calls = testing.linear(2, count=1), []

    def watching(x):
        calls.append(x.detach().clone())
        return case.module(x)

    engine = sp.Engine(batch_size=1000)
    outcome = sp.run(HopSkipJump(ball, steps=steps), sp.Classifier(watching), case.goal, case.images, engine=engine)
    return case, calls[1:-1], outcome


@pytest.mark.parametrize("ball", [sp.L2(), sp.Linf()], ids=str)
def test_pitfall_26_directions_grow_as_the_root_and_probes_shrink_with_the_distance(ball):
    """B_t = B_0 sqrt(t) probes at |delta_t| = 0.1 first, then |x_t - x| / d; every one is counted."""
    case, calls, outcome = questions(ball, 5)
    estimates = [(i, call) for i, call in enumerate(calls) if len(call) > 1]
    assert [len(call) for _, call in estimates] == [int(100 * math.sqrt(t)) for t in range(1, 6)]
    assert sum(map(len, calls)) == int(outcome.passes.forwards)
    d = case.images[0].numel()
    for t, (_, call) in enumerate(estimates, start=1):
        edge = (call.amax(0) + call.amin(0)) / 2  # the middle of random signs
        radius = (call - edge).flatten(1).norm(dim=1)
        expected = 0.1 if t == 1 else float(ball.norm(edge[None] - case.images)) / d
        assert float(radius.min()) == pytest.approx(expected, rel=1e-6)
        assert float(radius.max()) == pytest.approx(expected, rel=1e-6)
        assert float((call - edge).mean(0).abs().max()) < expected  # two-sided


@pytest.mark.parametrize(("ball", "power"), [(sp.L2(), 1.5), (sp.Linf(), 2.0)], ids=["L2", "Linf"])
def test_the_boundary_is_met_to_the_papers_width(ball, power):
    """d^(-3/2) of the segment in L2, d^-2 in Linf, from the winning side."""
    case, calls, _ = questions(ball, 1)
    halvings = math.ceil(power * math.log2(48))
    singles = [len(call) == 1 for call in calls]
    start = singles.index(False)
    assert singles[start - halvings : start] == [True] * halvings
    edge = (calls[start].amax(0) + calls[start].amin(0)) / 2
    lead = case.goal(case.module(edge[None]).detach()).margin
    assert 0 < float(lead) < 0.05 * float(case.goal(case.module(calls[0]).detach()).margin.abs() + 0.05)


def test_a_finite_radius_asks_for_examples_within_it():
    case = testing.small_net(6)
    free = sp.run(HopSkipJump(steps=6), case.target, case.goal, case.images)
    eps = float(free.distance.median())
    bound = sp.run(HopSkipJump(sp.L2(eps), steps=6), case.target, case.goal, case.images)
    assert torch.equal(bound.success, free.distance <= eps)
    assert (bound.distance[bound.success] <= eps).all()


def test_more_steps_come_nearer():
    case = testing.small_net(4)
    sizes = [sp.run(HopSkipJump(steps=n), case.target, case.goal, case.images).distance for n in (1, 5, 15)]
    assert (sizes[1] < sizes[0]).all()
    assert (sizes[2] < sizes[1]).all()


def test_memory_stays_flat_whatever_the_number_of_directions():
    """The directions of one estimate are asked in sets, so no call grows with B_t."""
    case, seen = testing.small_net(2), []

    def watching(x):
        seen.append(len(x))
        return case.module(x)

    attack = HopSkipJump(steps=1, init_num_evals=3000)
    outcome = sp.run(attack, sp.Classifier(watching), case.goal, case.images, engine=sp.Engine(batch_size=64))
    assert max(seen) <= 64
    assert (outcome.passes.forwards > 3000).all()
