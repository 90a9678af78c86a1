"""Boundary and SurFree: their laws, their geometry, where they start, and their peers at equal queries."""

import math

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Reason
from sparring.attacks.cosine_transform import cosine_basis
from sparring.attacks.decision.boundary import Boundary
from sparring.attacks.decision.surfree import SurFree
from sparring.errors import ConfigError, InputError, ThreatError
from sparring.rows import take

BOTH = pytest.mark.parametrize("kind", [Boundary, SurFree])


@BOTH
def test_rows_are_equal_to_the_bit(kind):
    testing.check_batch_law(kind(steps=12), tolerance=0.0)


def asked(attack, case):
    """Every image that the first row asks about after its start, one query at a time, and the outcome."""
    calls = []

    def watching(x):
        calls.append(x.detach().clone())
        return case.module(x)

    outcome = sp.run(attack, sp.Classifier(watching), case.goal, case.images)
    assert all(len(call) == 1 for call in calls)
    return torch.cat(calls[-1 - attack.steps : -1]), outcome  # the last call confirms


def test_surfree_asks_on_the_circle_over_the_segment_to_its_winner():
    """|z - x|^2 = <z - x, x_b - x>, Thales' circle; and a lost angle is asked again on the other side."""
    case = testing.linear(2, count=1)
    x, goal = case.images[0], case.goal
    images, _ = asked(SurFree(steps=60), case)
    won = (take(goal, torch.zeros(60, dtype=torch.long))(case.module(images)).margin > 0).tolist()
    delta = (images - x).flatten(1)
    length, i, circles = delta.norm(dim=1), 0, 0
    lost = 0
    widest = math.radians(30)
    while i + 4 <= 60:  # one direction after another, by the rule of two sides and two refinements
        first = i if won[i] else i + 1
        attempt = [i] if won[i] else [i, i + 1]
        last = first + 2 if won[first] else first
        circle = list(range(i, last + 1))
        diameter = length[i] / math.cos(widest)
        on_circle = [length[j] / diameter for j in circle]
        assert max(on_circle) < 1
        assert len(attempt) == 1 or float(length[i]) == pytest.approx(float(length[i + 1]), rel=1e-9)
        if won[first]:
            widest, circles = widest / 0.98, circles + 1
        else:
            widest, lost = widest * 0.98, lost + 1
        i = last + 1
        if i < 60:  # the next diameter is the distance of the best that won on this circle
            best = min([float(length[j]) for j in circle if won[j]], default=float(diameter))
            assert float(length[i]) / math.cos(widest) == pytest.approx(best, rel=1e-9)
    assert circles > 1
    assert lost > 1


def test_boundary_stays_on_its_sphere_or_moves_straight_inwards():
    case = testing.linear(2, count=1)
    images, outcome = asked(Boundary(steps=200), case)
    delta = (images - case.images).flatten(1)
    length = delta.norm(dim=1)
    won = (take(case.goal, torch.zeros(200, dtype=torch.long))(case.module(images)).margin > 0).tolist()
    inward, moves, where = False, 0, None
    for i in range(200):
        if inward:
            assert float(delta[i] @ delta[i - 1] / length[i] / length[i - 1]) == pytest.approx(1, abs=1e-9)
            assert length[i] < length[i - 1]
            moves += won[i]
        elif where is not None:
            assert float(length[i]) == pytest.approx(float(where), rel=1e-9)  # nothing is clipped at mid-grey
        if won[i]:
            where = length[i]
        inward = won[i] and not inward
    assert moves > 5
    assert float(outcome.distance) == pytest.approx(float(length[torch.tensor(won)].min()), rel=1e-9)


@BOTH
def test_pitfall_27_step_sizes_are_each_rows_own(kind):
    """Two rows at their own paces: one on a net with a near boundary, one without any nearer point."""
    case = testing.small_net(3)
    attack = kind(steps=30)
    together = sp.run(attack, case.target, case.goal, case.images)
    for row in range(3):
        indices = torch.tensor([row])
        goal = take(case.goal, indices)
        alone = sp.run(attack, case.target, goal, case.images[indices], indices=indices)
        assert torch.equal(alone.examples[0], together.examples[row])
    assert len(set(together.distance.tolist())) == 3


@BOTH
def test_pitfall_27_a_targeted_goal_starts_from_its_pool_and_a_failed_start_is_that_rows_affair(kind):
    case = testing.small_net(12)
    label = int(case.labels[case.labels != case.labels[0]][0])
    starting_pool = case.images[case.labels == label][:1]
    rows = (case.labels != label).nonzero().squeeze(1)[:3]
    images, target = case.images[rows], torch.tensor([label, 4, label])  # the fifth class is never given
    rare = sp.Classifier(lambda x: torch.cat((case.module(x), x.new_full((len(x), 1), -99)), 1))
    outcome = sp.run(kind(steps=40, init_size=3, starting_pool=starting_pool), rare, sp.ClassifyAs(target), images)
    assert outcome.reasons == [Reason.FOUND, Reason.NO_START, Reason.FOUND]
    assert int(outcome.passes.forwards[1]) == 1 + 3  # the tries, and nothing after them
    far = (starting_pool - images).flatten(1).norm(dim=1)
    assert (outcome.distance < far)[[0, 2]].all()


def test_pitfall_27_waves_need_no_square_images():
    images = torch.full((2, 3, 8, 5), 0.3, dtype=torch.float64)

    def bright(x):
        lead = x.mean((1, 2, 3)) - 0.5
        return torch.stack((-lead, lead), dim=1)

    outcome = sp.run(SurFree(steps=60), sp.Classifier(bright), sp.Misclassify(torch.zeros(2).long()), images)
    assert outcome.success.all()
    assert (outcome.distance < 1.5 * 0.2 * math.sqrt(120)).all()  # the optimum is 0.2 everywhere


@pytest.mark.parametrize(("n", "count"), [(5, 5), (28, 14), (7, 1)])
def test_the_cosines_are_orthonormal_and_lowest_first(n, count):
    waves = cosine_basis(n, count, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(waves @ waves.T, torch.eye(count, dtype=torch.float64))
    assert [int((row[1:] * row[:-1] < 0).sum()) for row in waves] == list(range(count))  # changes of sign


@BOTH
def test_the_budget_is_spent_to_the_query_and_more_of_it_comes_nearer(kind):
    case = testing.small_net(6)
    few, many = (sp.run(kind(), case.target, case.goal, case.images, budget=sp.Budget(forwards=n)) for n in (60, 400))
    assert few.passes.forwards.tolist() == [60] * 6
    assert many.passes.forwards.tolist() == [400] * 6
    assert (many.distance < few.distance).all()


def test_a_row_with_nothing_left_to_gain_ends():
    """Where the boundary is a sphere around the image, no angle wins: two queries per direction until 1e-3."""
    image = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)

    def outside(x):
        lead = (x - 0.5).flatten(1).norm(dim=1) - 2
        return torch.stack((-lead, lead), dim=1)

    outcome = sp.run(SurFree(steps=3000), sp.Classifier(outside), sp.Misclassify(torch.tensor([0])), image)
    directions = math.ceil(math.log(1e-3 / math.radians(30)) / math.log(0.98))
    least = 1 + 8 + 2 * directions  # more for what the halving of the start has left
    assert least <= int(outcome.passes.forwards) < least + 60
    assert 2 < float(outcome.distance) < 2 * (1 + 2**-7)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SurFree(sp.Linf()), ThreatError, "SurFree knows L2, not Linf; use HopSkipJump"),
        (lambda: Boundary(sp.L1()), ThreatError, "Boundary knows L2, not L1; use HopSkipJump"),
        (lambda: SurFree(freq_dims=0.0), ConfigError, "SurFree freq_dims=0.0; pass a finite number > 0 and <= 1"),
        (lambda: SurFree(search_iter=0), ConfigError, "SurFree search_iter=0; pass an integer >= 1"),
        (lambda: Boundary(step_adaptation=1.0), ConfigError, "Boundary step_adaptation=1.0; pass a finite number > 1"),
        (lambda: Boundary(steps=0), ConfigError, "Boundary steps=0; pass an integer >= 1"),
    ],
)
def test_senseless_parameters_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


@BOTH
def test_a_pool_of_another_shape_is_told(kind):
    case = testing.small_net(2)
    with pytest.raises(InputError, match=rf"{kind.__name__}'s starting_pool has shape \(2, 1, 8, 8\)"):
        sp.run(kind(starting_pool=torch.zeros(2, 1, 8, 8)), case.target, case.goal, case.images)


@BOTH
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_nearer_than_foolbox_at_equal_queries(kind):
    import foolbox  # here, so that its warnings stay inside the test

    case, queries = testing.small_net(12), 300
    counted = testing.Counting(case.module).eval()
    torch.manual_seed(0)
    model = foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu")
    starts = torch.stack([case.images[case.labels != label][0] for label in case.labels])
    theirs = foolbox.attacks.BoundaryAttack(steps=queries).run(model, case.images, case.labels, starting_points=starts)
    assert counted.forwards >= 12 * queries
    attack, budget = kind(starting_pool=starts), sp.Budget(forwards=queries)
    outcome = sp.run(attack, case.target, case.goal, case.images, budget=budget)
    distance = (theirs - case.images).flatten(1).norm(dim=1)
    assert float(outcome.distance.median()) <= float(distance.median())
