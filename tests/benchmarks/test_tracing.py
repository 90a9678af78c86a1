"""Whose image a row is, and after how many rows it fell: by hand, and against what an attack says of itself."""

from math import inf

import pytest
import torch
from benchmarks.compare import _traced
from benchmarks.libraries import Task
from benchmarks.nets import Victim
from benchmarks.suites import Comparison
from benchmarks.tracing import NEVER, Queries, TracedNet
from torch import Tensor, nn

import sparring as sp


class Brightness(nn.Module):
    """Class 1 where the pixels sum to more than 2."""

    def forward(self, images: Tensor) -> Tensor:
        total = images.flatten(1).sum(1)
        return torch.stack((torch.full_like(total, 2.0), total), dim=1)


DARK, STRIPED = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.9]]])


def traced(eps: float = 0.4, norm: str = "Linf") -> TracedNet:
    return TracedNet(Brightness(), torch.stack((DARK, STRIPED)), torch.zeros(2, dtype=torch.long), norm, eps)


def test_rows_are_counted_for_the_image_they_come_from() -> None:
    net = traced()
    net(torch.stack((DARK, STRIPED)))
    net(torch.stack((STRIPED + 0.01, STRIPED - 0.01, DARK + 0.3)).clamp(0, 1))
    net(DARK[None])
    assert net.asked.tolist() == [3, 3]
    assert net.first.tolist() == [NEVER, NEVER]
    assert net.certain


def test_the_first_that_fell_is_counted_with_those_before_it_in_its_batch() -> None:
    net = traced()
    net(torch.stack((DARK, STRIPED)))
    bright = STRIPED + torch.tensor([[[0.0, 0.3], [0.0, 0.0]]])
    net(torch.stack((STRIPED, DARK, bright, bright)))
    net(bright[None])
    assert net.first.tolist() == [NEVER, 3]
    assert net.queries(torch.tensor([False, True])) == Queries(3.0, 3.0)
    assert net.queries(torch.tensor([True, True])) == Queries(2.0, 2.0), "the lower of 2 and 3, the first took all of 2"
    assert net.queries(torch.tensor([False, False])) == Queries()


def test_a_median_over_all_images_is_none_where_most_stand() -> None:
    images = torch.eye(3).reshape(3, 1, 1, 3)
    net = TracedNet(Brightness(), images, torch.zeros(3, dtype=torch.long), "Linf", 0.4)
    net(images)
    assert net.queries(torch.tensor([True, False, False])) == Queries(1.0, None)


def test_a_row_outside_the_ball_is_a_query_but_no_success() -> None:
    net = traced(eps=0.2)
    net((STRIPED + torch.tensor([[[0.0, 0.3], [0.0, 0.0]]]))[None])
    assert net.asked.tolist() == [0, 1]
    assert net.first.tolist() == [NEVER, NEVER]


def test_a_row_far_off_in_one_norm_is_known_by_the_other() -> None:
    """0.6 in one pixel is more than half of the 1 between the images in Linf, and less than half of 1.35 in L2."""
    net = traced(eps=inf, norm="L2")
    net((DARK + torch.tensor([[[0.6, 0.0], [0.0, 0.0]]]))[None])
    assert net.certain
    assert net.asked.tolist() == [1, 0]


def test_a_row_between_two_images_makes_everything_unknown() -> None:
    net = traced(eps=inf, norm="L2")
    net((STRIPED / 2)[None])
    net(STRIPED[None])
    assert not net.certain
    assert net.queries(torch.tensor([True, True])) == Queries()


@pytest.mark.parametrize(("moves", "known"), [([0.3, 0.3], Queries(2.0, 2.0)), ([0.3, 0.4], Queries())])
def test_queries_are_known_where_the_second_run_ends_as_the_first(moves: list[float], known: Queries) -> None:
    images, labels = torch.stack((DARK, STRIPED)), torch.zeros(2, dtype=torch.long)
    victim, comparison = Victim(Brightness(), images, labels, "cpu"), Comparison("", "", 2, "Linf", (), eps=0.4)
    left = iter(moves)

    def attack(task: Task) -> Tensor:
        answer = (task.images + next(left)).clamp(max=1)
        task.net(task.images)
        task.net(answer)
        return answer

    answer = attack(Task(Brightness(), images, labels, 0))
    assert _traced(comparison, victim, attack, {}, 0, answer) == known


@pytest.mark.parametrize("samples", [2, 20])
def test_it_agrees_with_what_an_attack_of_ours_says_of_itself(samples: int) -> None:
    """Apart from the engine's own look before the attack."""
    base = torch.linspace(0.0, 0.12, 8).reshape(8, 1, 1, 1)
    images = base + 0.8 * torch.eye(9)[:8].reshape(8, 1, 3, 3)
    labels = torch.zeros(8, dtype=torch.long)
    net = TracedNet(Brightness(), images, labels, "Linf", 0.12)
    attack = sp.attacks.NES(sp.Linf(0.12), steps=6, n_samples=samples)
    outcome = sp.run(attack, sp.Classifier(net), sp.Misclassify(labels), images)
    assert net.certain
    assert 0 < int(outcome.success.sum()) < 8
    assert torch.equal(net.first[outcome.success], outcome.queries_to_success[outcome.success] + 1)
