"""Where a look would wait for the device, answers are written some steps later: with the same end."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Budget, Keep, Ledger, deferred_writes, ledger
from sparring.attacks import APGD, DDN, FGSM, PGD, Boundary, CarliniWagner, HopSkipJump, Restarts, Square, Sweep
from sparring.engine import Engine
from sparring.geometry.region import Region
from sparring.goals import Verdict
from sparring.targets import Defended
from sparring.transforms import Stage

BALL = sp.Linf(0.05)


class Noise(Stage):
    stochastic = True

    def __call__(self, images, key):
        return images + 0.05 * key.normal("noise", images.shape[1:], dtype=images.dtype)


@pytest.fixture
def both(monkeypatch):
    """Run something where answers are looked at, and where they wait."""

    def run(call):
        outcomes = []
        for late in (False, True):
            monkeypatch.setattr(ledger, "defers", lambda x, late=late: late)
            outcomes.append(call())
        return outcomes

    return run


def same(one, other):
    for name in ("examples", "success", "distance", "queries_to_success", "reason"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("numbers", [deferred_writes.NUMBERS, 2000], ids=["steps", "numbers"])
@pytest.mark.parametrize(("attack", "options"), [
    (FGSM(BALL), {}),
    (PGD(BALL, steps=20), {}),
    (PGD(BALL, steps=20), {"keep": Keep.HIGHEST_LOSS}),
    (PGD(BALL, steps=20), {"keep": Keep.SMALLEST}),
    (PGD(BALL, steps=20), {"budget": Budget(forwards=9)}),
    (PGD(BALL, steps=20), {"budget": Budget(backwards=5)}),
    (PGD(sp.Linf(0.001), steps=20), {}),
    (Restarts(PGD(BALL, steps=5), 3), {}),
    (APGD(BALL, steps=20), {}),
    (CarliniWagner(binary_search_steps=3, steps=20, learning_rate=0.05), {}),
    (DDN(steps=20), {}),
    (Square(BALL, n_queries=50), {}),
    (Boundary(steps=20), {}),
    (HopSkipJump(steps=2), {}),
    (Sweep(sp.L2(0.5), blocks=1, odi_steps=2, gradient_steps=5, n_queries=10), {}),
], ids=str)  # fmt: skip
def test_the_end_is_the_same(attack, options, numbers, both, monkeypatch):
    monkeypatch.setattr(deferred_writes, "NUMBERS", numbers)
    case = testing.small_net(12)
    now, late = both(lambda: sp.run(attack, case.target, case.goal, case.images, **options))
    same(now, late)
    assert bool((late.passes.forwards >= now.passes.forwards).all())
    assert not options.get("budget") or int(late.passes.forwards.max()) <= 9 or int(late.passes.backwards.max()) <= 5


def test_the_end_is_the_same_where_answers_are_random(both):
    case = testing.small_net(8)
    defended = Defended(case.target, Noise(), votes=2).adaptive_view(3)
    engine = Engine(compact=False)  # a row that has left is asked no more, and asked rows draw on
    same(*both(lambda: sp.run(PGD(BALL, steps=10), defended, case.goal, case.images, engine=engine)))


def test_a_gradient_that_is_zero_or_not_finite_is_noted(both):
    class Bent(torch.nn.Module):
        def forward(self, images):
            flat = images.flatten(1)
            if flat.requires_grad:  # of the second image the slope is lost
                flat.register_hook(lambda grad: torch.where(flat[:, 1:2] > 0.5, torch.nan, grad))
            return torch.cat([flat[:, :1] * 0 + 2, flat[:, 2:3] * 0], 1)

    x = torch.full((2, 1, 4, 4), 0.3, dtype=torch.float64)
    x[1, 0, 0, 1] = 0.7
    goal = sp.Misclassify(torch.zeros(2, dtype=torch.long))
    now, late = both(lambda: sp.run(PGD(BALL, steps=11), sp.Classifier(Bent(), classes=2), goal, x))
    same(now, late)
    assert [sp.access.Reason(one).name for one in late.reason.tolist()] == ["NO_GRADIENT", "NON_FINITE_GRADIENT"]


def test_an_image_that_is_changed_after_it_was_asked_about_is_kept_as_it_was(monkeypatch):
    monkeypatch.setattr(ledger, "defers", lambda x: True)
    x = torch.full((2, 1, 2, 2), 0.5)
    book = Ledger(Region.around(x, sp.Linf(0.2)), Keep.FIRST, Budget())
    rows = torch.arange(2)
    for step in range(3):
        asked = x + 0.05 * (step + 1)
        margin = torch.tensor([-1.0, 1.0 if step == 1 else -1.0])
        book.record(rows, None, asked, Verdict(margin, margin), 1)
        asked.zero_()
    assert not book.won.any()  # nothing is written yet
    book.settle()
    assert book.won.tolist() == [False, True]
    assert book.queries_to_success.tolist() == [-1, 2]
    assert book.forwards.tolist() == book.backwards.tolist() == [3, 3]
    torch.testing.assert_close(book.best[1], x[1] + 0.1)
    assert torch.equal(book.best[0], x[0])


def test_a_checkpoint_holds_what_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "defers", lambda x: True)
    case = testing.small_net(12)
    attack = PGD(BALL, steps=20)

    def interrupt(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine = Engine(checkpoint=tmp_path, checkpoint_seconds=-1, progress=interrupt)
        sp.run(attack, case.target, case.goal, case.images, engine=engine)
    again = sp.run(attack, case.target, case.goal, case.images, engine=Engine(checkpoint=tmp_path))
    same(sp.run(attack, case.target, case.goal, case.images), again)
