import itertools

import pytest
import torch

from sparring.errors import InputError
from sparring.physical.destruction import destruction_rate


def test_a_table_counted_by_hand():
    """Clean right / adversarial right / clean through right / adversarial through right, one picture of each kind."""
    kinds = torch.tensor(list(itertools.product((True, False), repeat=4)))
    # three more that deceive digitally: two are undone and right when clean, one is ruined by the channel
    more = torch.tensor([[True, False, True, True], [True, False, True, True], [True, False, False, False]])
    found = destruction_rate(*torch.cat((kinds, more)).unbind(1))
    # right and deceived: 4 of the 16 kinds and the 3 more; undone of them: 2 of the 4, and 2
    assert found.paper.value == pytest.approx(4 / 7)
    # of those the clean picture is right through the channel: 2 of the 4, and 2; undone of them: 1, and 2
    assert found.paired.value == pytest.approx(3 / 4)
    assert found.survives.value == pytest.approx(1 / 4)
    # right without an attack: 8 of the 16, and 3; through the channel: 4, and 2
    assert found.clean.value == pytest.approx(6 / 11)
    assert found.paper.low < 4 / 7 < found.paper.high


def test_draws_of_one_picture_are_no_independent_trials():
    right = torch.ones(20, dtype=torch.bool)
    undone = torch.arange(20) < 10
    once = destruction_rate(right, ~right, right, undone)
    often = destruction_rate(right, ~right, *(one[:, None].expand(20, 50) for one in (right, undone)))
    assert often == once
    together = destruction_rate(right, ~right, right, undone, clusters=torch.arange(20) // 5)
    assert together.paper.of == 4
    assert together.paper.high - together.paper.low > once.paper.high - once.paper.low


def test_what_all_came_out_one_way_is_not_certain():
    right = torch.ones(10, dtype=torch.bool)
    found = destruction_rate(right, ~right, right, ~right)
    assert (found.paper.value, found.paper.low) == (0.0, 0.0)
    assert found.paper.high == pytest.approx(1 - 0.025 ** (1 / 10))  # Clopper-Pearson's for 0 of 10
    assert destruction_rate(right, right, right, right).paper.of == 0  # nothing deceives: no rate


@pytest.mark.wrong_types
def test_what_is_no_table_is_refused():
    right = torch.ones(4, dtype=torch.bool)
    with pytest.raises(InputError, match="clean_right_through is a tensor of bool"):
        destruction_rate(right, right, None, right)
    with pytest.raises(InputError, match=r"adversarial_right_through is \(N,\) or \(N, draws\)"):
        destruction_rate(right, right, right, right[:3])
    with pytest.raises(InputError, match="labels == predictions"):
        destruction_rate(right.float(), right, right, right)
