"""The ledger: what is kept, counted and closed, entry by entry."""

import math

import pytest
import torch

import sparring as sp
from sparring.access import Budget, Keep, Ledger
from sparring.errors import BudgetError
from sparring.geometry.region import Region
from sparring.goals import Verdict

GREY = 0.5


def ledger(rows=2, keep=Keep.FIRST, ball=None, budget=None, dtype=torch.float64):
    region = Region.around(torch.full((rows, 1, 2, 2), GREY, dtype=dtype), ball or sp.Linf(0.2))
    return Ledger(region, keep, budget or Budget())


def entry(book, rows, offsets, margins, losses=None, backwards=0):
    """Write grey + offset for each of `rows`, as the broker would."""
    rows = torch.tensor(rows)
    repeated = len(rows) > len(rows.unique())
    rank = torch.arange(len(rows)) - torch.searchsorted(rows, rows) if repeated else None
    x = GREY + torch.tensor(offsets, dtype=book.x.dtype).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    margins = torch.tensor(margins, dtype=book.x.dtype)
    losses = margins if losses is None else torch.tensor(losses, dtype=book.x.dtype)
    book.record(rows, rank, x, Verdict(margins, losses), backwards)


def offsets(book):
    return (book.best[:, 0, 0, 0] - GREY).tolist()


def test_first_keeps_the_first_winner_and_closes_the_row():
    book = ledger()
    entry(book, [0, 1], [0.1, 0.1], [-1.0, 2.0])
    entry(book, [0, 1], [0.15, 0.05], [3.0, 9.0])
    assert offsets(book) == pytest.approx([0.15, 0.1])
    assert book.queries_to_success.tolist() == [2, 1]
    assert book.closed().tolist() == [True, True]


def test_smallest_keeps_the_nearest_winner():
    book = ledger(keep=Keep.SMALLEST)
    for offset, margin in ((0.2, 1.0), (0.1, 1.0), (0.15, 9.0), (0.01, -1.0)):
        entry(book, [0, 1], [offset, 0.0], [margin, -1.0])
    assert offsets(book) == pytest.approx([0.1, 0.0])
    assert book.won.tolist() == [True, False]
    assert book.queries_to_success.tolist() == [1, -1]
    assert not book.closed().any()


def test_worst_keeps_the_highest_loss_and_winners_before_others():
    book = ledger(keep=Keep.HIGHEST_LOSS)
    for offset, margin, loss in ((0.05, -1.0, 7.0), (0.06, -1.0, 8.0), (0.07, -1.0, 3.0)):
        entry(book, [0, 1], [offset, offset], [margin, margin], [loss, loss])
    assert offsets(book) == pytest.approx([0.06, 0.06])
    entry(book, [0], [0.1], [0.5], [2.0])  # a winner of a smaller loss
    entry(book, [0], [0.11], [-0.5], [99.0])  # no winner any more
    entry(book, [0], [0.12], [0.1], [2.5])
    assert offsets(book) == pytest.approx([0.12, 0.06])
    assert book.queries_to_success.tolist() == [4, -1]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_worst_tells_large_losses_apart(scale):
    book = ledger(keep=Keep.HIGHEST_LOSS, dtype=torch.float32)
    for i, loss in enumerate((4000.0, 4000.5, 4000.25)):
        entry(book, [0], [0.01 * (i + 1)], [1.0], [loss * scale])
    assert offsets(book)[0] == pytest.approx(0.02)


def test_several_images_of_a_row_in_one_call():
    rows, moves = [0, 0, 0, 1, 1], [0.2, 0.1, 0.15, 0.1, 0.2]
    expected = {Keep.FIRST: [0.1, 0.2], Keep.SMALLEST: [0.1, 0.2], Keep.HIGHEST_LOSS: [0.15, 0.2]}
    for keep, best in expected.items():
        book = ledger(keep=keep)
        entry(book, rows, moves, [-1.0, 1.0, 2.0, -3.0, 4.0], [9.0, 1.0, 2.0, -3.0, 4.0])
        assert offsets(book) == pytest.approx(best), keep
        assert book.forwards.tolist() == [3, 2], keep
        assert book.queries_to_success.tolist() == [2, 2], keep


def test_first_is_when_the_row_fell_not_when_its_best_was_found():
    book = ledger(keep=Keep.SMALLEST)
    entry(book, [0, 0, 0], [0.2, 0.15, 0.1], [1.0, 1.0, 1.0])
    assert offsets(book)[0] == pytest.approx(0.1)
    assert book.queries_to_success.tolist() == [1, -1]


@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("together", [True, False])
def test_ties_keep_the_earliest(keep, together):
    book = ledger(keep=keep)
    for rows, moves in [([0, 0], [0.1, -0.1])] if together else [([0], [0.1]), ([0], [-0.1])]:
        entry(book, rows, moves, [1.0] * len(rows))
    assert offsets(book)[0] == pytest.approx(0.1)


@pytest.mark.parametrize("keep", Keep)
def test_what_lies_outside_is_never_recorded(keep):
    for offset, ball in ((0.3, sp.Linf(0.2)), (0.6, sp.Linf()), (-0.6, sp.Linf()), (math.nan, sp.Linf())):
        book = ledger(keep=keep, ball=ball)
        entry(book, [0, 1], [offset, 0.1], [5.0, 5.0])
        assert book.won.tolist() == [False, True]
        assert offsets(book) == pytest.approx([0.0, 0.1])
        assert book.forwards.tolist() == [1, 1]  # asked is asked


def test_one_pixel_outside_is_outside():
    book = ledger(ball=sp.L2())
    x = book.x.clone()
    x[0, 0, 1, 1] = 1.001
    x[1, 0, 0, 1] = -0.001
    book.record(torch.arange(2), None, x, Verdict(torch.ones(2).double(), torch.ones(2).double()), 0)
    assert not book.won.any()


def test_rounding_is_no_offence():
    book = ledger()
    entry(book, [0], [0.2 + 5e-7], [1.0])
    assert book.won.tolist() == [True, False]


@pytest.mark.parametrize("keep", [Keep.FIRST, Keep.SMALLEST])
def test_a_margin_of_zero_or_nan_is_no_win(keep):
    book = ledger(rows=3, keep=keep)
    entry(book, [0, 1, 2], [0.1, 0.1, 0.1], [0.0, math.nan, -math.inf])
    assert not book.won.any()
    assert book.non_finite.tolist() == [False, True, False]  # -inf: the class that is needed is never answered


def test_worst_passes_over_a_loss_that_is_nan():
    book = ledger(keep=Keep.HIGHEST_LOSS)
    entry(book, [0], [0.1], [1.0], [math.nan])
    assert offsets(book)[0] == 0.0


def test_a_nan_among_several_images_of_a_row_is_noted():
    book = ledger()
    entry(book, [0, 0, 1, 1], [0.1] * 4, [math.nan, -1.0, -1.0, -1.0])
    assert book.non_finite.tolist() == [True, False]


def test_a_finished_row_keeps_what_it_has():
    book = ledger(keep=Keep.SMALLEST)
    entry(book, [0, 1], [0.1, 0.1], [1.0, 1.0])
    book.finished[0] = True
    entry(book, [0, 1], [0.05, 0.05], [1.0, 1.0])
    assert offsets(book) == pytest.approx([0.1, 0.05])


def test_the_callers_images_are_not_the_ledgers():
    x = torch.full((1, 1, 2, 2), GREY, dtype=torch.float64)
    book = Ledger(Region.around(x, sp.Linf(0.2)), Keep.FIRST, Budget())
    book.record(torch.tensor([0]), None, x + 0.1, Verdict(torch.ones(1).double(), torch.ones(1).double()), 0)
    assert torch.equal(x, torch.full_like(x, GREY))


@pytest.mark.parametrize("limits", [{"forwards": -1}, {"backwards": 1.5}, {"forwards": "10"}])
@pytest.mark.wrong_types
def test_a_budget_that_is_none(limits):
    name, value = next(iter(limits.items()))
    with pytest.raises(BudgetError, match=f"budget {name}={value!r} is not a number of passes; pass an int >= 0"):
        Budget(**limits)
