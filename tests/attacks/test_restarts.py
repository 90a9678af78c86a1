"""Restarts: survivors only, each round with randomness of its own."""

import torch

import sparring as sp
from sparring import testing
from sparring.access import Keep, Reason
from sparring.attacks import PGD, HopSkipJump, Restarts, Square

ATTACK = PGD(sp.Linf(0.05), steps=3)


def run(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def starts_of(attack, case):
    """What the model is asked about, image by image, after the clean look."""
    asked = []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    sp.run(attack, sp.Classifier(watching), case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    return asked[1:-1]


def test_every_round_begins_elsewhere():
    case = testing.small_net(2)
    asked = starts_of(Restarts(ATTACK, 3), case)
    starts = [asked[i * (ATTACK.steps + 1)] for i in range(3)]
    for i in range(3):
        assert ((starts[i] - case.images).abs() <= 0.05 + 1e-12).all()
        for j in range(i):
            assert not torch.equal(starts[i], starts[j])
    assert torch.equal(starts[0], starts_of(ATTACK, case)[0])  # the first is the attack itself


def test_one_round_is_the_attack_itself():
    case = testing.small_net(6)
    for attack in (ATTACK, Square(sp.Linf(0.2), n_queries=50), HopSkipJump(steps=2)):
        once, plain = run(Restarts(attack, 1), case), run(attack, case)
        assert torch.equal(once.examples, plain.examples)
        assert torch.equal(once.passes.forwards, plain.passes.forwards)


def test_more_rounds_never_lose_a_row_and_only_survivors_pay():
    case = testing.small_net(12)
    attack = PGD(sp.Linf(0.035), steps=2, step_size=0.01)
    one, five = run(attack, case), run(Restarts(attack, 5), case)
    assert (one.success <= five.success).all()
    assert torch.equal(five.passes.forwards[one.success], one.passes.forwards[one.success])
    assert (five.passes.forwards[~five.success] == 5 * 3).all()  # two slopes and a last look each


def test_the_worst_of_all_rounds_is_kept():
    case = testing.small_net(6)
    one, five = (run(a, case, keep=Keep.HIGHEST_LOSS) for a in (ATTACK, Restarts(ATTACK, 5)))
    losses = [case.goal(case.module(o.examples)).loss.detach() for o in (one, five)]
    alike = one.success == five.success
    assert (losses[1] >= losses[0] - 1e-12)[alike].all()


def test_a_row_without_a_start_in_any_round_says_so():
    case = testing.small_net(3)
    rare = sp.Classifier(lambda x: torch.cat((case.module(x), x.new_full((len(x), 1), -99)), 1))
    attack = Restarts(HopSkipJump(steps=1, init_size=2), 2)
    outcome = sp.run(attack, rare, sp.ClassifyAs(torch.full_like(case.labels, 4)), case.images)
    assert outcome.reasons == [Reason.NO_START] * 3


def test_restarts_take_over_what_the_attack_is():
    attack = Restarts(HopSkipJump(sp.Linf(), steps=7), 3)
    assert (attack.access, attack.keep, attack.ball, attack.total_steps) == (sp.Decisions, Keep.SMALLEST, sp.Linf(), 21)
    assert attack.name == "HopSkipJump x 3"
