"""Pipelines of transforms and detectors before models of every task: votes, draws, keys, what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize

import sparring as sp
from sparring import testing
from sparring.access import Decoupled
from sparring.errors import ConfigError, GoalError
from sparring.goals import DetectorOutputs, Undetected, Vanish
from sparring.random import Key
from sparring.rows import take
from sparring.targets import Classifier, Defended, Model, Pipeline, Restricted, Surrogate
from sparring.tasks import Detection, Detections
from sparring.transforms import ColourCurve, Detector, FlowField, RandomShift, Scene, Stage

MAKERS = {
    "classification": testing.small_net,
    "verification": testing.verifier,
    "segmentation": testing.segmenter,
    "detection": testing.detector,
}


class Noise(Stage):
    stochastic = True

    def __init__(self, sigma: float = 0.1) -> None:
        self.sigma = sigma

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + self.sigma * key.normal("noise", images.shape[1:], dtype=images.dtype)


class Bright(Detector):
    def __init__(self, limit: float = 0.55) -> None:
        self.limit = limit

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return (images.flatten(1).mean(1) - self.limit) * 100


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


@pytest.mark.parametrize("task", MAKERS)
def test_votes_are_fused_by_the_task(task: str) -> None:
    case = MAKERS[task](4)
    key = key_of(4)
    voted = Pipeline(case.target, Noise(), votes=3)(case.images, key)
    single = [Pipeline(case.target, Noise())(case.images, key.reseeded(vote)) for vote in range(3)]
    expected = case.target.task.fuse(single)
    for path, tensor in sp.rows.flatten(expected)[0].items():
        assert torch.equal(sp.rows.flatten(voted)[0][path], tensor)


def test_votes_of_a_verifier_are_no_probabilities() -> None:
    """They were fused by log-softmax, under which every row was won before the attack."""
    case = testing.verifier(8)
    key, target = key_of(8), Pipeline(case.target, Noise(0.005), votes=3)
    assert not bool((case.goal.margin(target(case.images, key)) > 0).any())
    single = torch.stack([Pipeline(case.target, Noise(0.005))(case.images, key.reseeded(vote)) for vote in range(3)])
    assert bool((case.goal.margin(single.log_softmax(2).logsumexp(0)) > 0).all())
    assert torch.allclose(target(case.images, key), normalize(single, dim=2).mean(0))
    assert not bool((sp.run(sp.attacks.PGD(sp.Linf(1e-4), steps=1), target, case.goal, case.images).success).any())


@pytest.mark.parametrize("task", MAKERS)
def test_every_task_is_attacked_over_draws(task: str) -> None:
    """Boxes over draws=3 ended in a TypeError: terms are averaged, and no outputs."""
    case = MAKERS[task](3)
    target = Pipeline(case.target, Noise(0.02), draws=3)
    for attack in (
        sp.attacks.PGD(sp.Linf(0.1), steps=2),
        sp.attacks.DeepFool(steps=2),
        sp.attacks.Square(sp.Linf(0.1), n_queries=3),
    ):
        together = sp.run(attack, target, case.goal, case.images)
        alone = [
            sp.run(
                attack, target, take(case.goal, torch.tensor([row])), case.images[row : row + 1],
                indices=torch.tensor([row]),
            )
            for row in range(3)
        ]  # fmt: skip
        assert float((torch.cat([one.examples for one in alone]) - together.examples).abs().max()) < 1e-9
        assert torch.equal(torch.cat([one.passes.forwards for one in alone]), together.passes.forwards)
        asked = together.passes.forwards[together.reason != sp.Reason.ALREADY]
        assert bool((asked % 3 == 0).all())


SIDE = 6


class Spots(nn.Module):
    """Finds bright squares of 6x6 pixels, wherever they are: one anchor for each place."""

    def forward(self, images: Tensor) -> Detections:
        found = 100 * (avg_pool2d(images, SIDE, stride=1) - 0.97)
        down, right = torch.meshgrid(*(torch.arange(n).to(images) for n in found.shape[2:]), indexing="ij")
        corner = torch.stack((right, down), 2).flatten(0, 1).expand(len(images), -1, 2)
        present = torch.ones(corner.shape[:2], dtype=torch.bool)
        return Detections(torch.cat((corner, corner + SIDE), 2), found.flatten(2).transpose(1, 2), present)


class Unrestored(RandomShift):
    def restore(self, outputs: Any, key: Key, context: Any) -> Any:
        return outputs


def spots(count: int) -> tuple[Tensor, Vanish]:
    corners = key_of(count).integers("corner", (2,), 7) + 3
    images = torch.zeros(count, 1, 18, 18)
    for row, (down, right) in enumerate(corners.tolist()):
        images[row, :, down : down + SIDE, right : right + SIDE] = 1
    boxes = torch.cat((corners.flip(1), corners.flip(1) + SIDE), 1).float()
    return images, Vanish(boxes, iou=0.5)


def test_a_camera_that_is_not_held_still_hides_no_boxes() -> None:
    """Without being brought back, boxes miss their objects by two pixels, and nobody had attacked anything."""
    images, goal = spots(300)
    model = Model(Spots(), Detection())
    assert not bool((goal.margin(model(images)) > 0).any())

    def hidden(camera: RandomShift) -> float:
        return float((goal.margin(Pipeline(model, camera)(images, key_of(300))) > 0).float().mean())

    assert hidden(Unrestored(2)) > 0.25
    assert hidden(RandomShift(2)) == 0.0


def test_what_comes_back_comes_back_inside_others_too() -> None:
    """Beside an alarm, or from a surrogate, boxes stayed where the shift had put them."""
    images, goal = spots(60)
    model = Model(Spots(), Detection())
    rejecting = Pipeline(Pipeline(model, Bright(0.9)), RandomShift(2))
    outputs = rejecting(images, key_of(60))
    assert isinstance(outputs, DetectorOutputs)
    assert not bool((goal.margin(outputs.outputs) > 0).any())
    grey = Pipeline(Surrogate(Restricted(model, sp.Scores), model), RandomShift(2))
    answer = grey(images.clone().requires_grad_(), key_of(60))
    assert isinstance(answer, Decoupled)
    for one in (answer.judged_outputs, answer.gradient_outputs):
        assert not bool((goal.margin(one) > 0).any())


@pytest.mark.parametrize("task", MAKERS)
def test_a_pipeline_in_a_pipeline_is_one(task: str) -> None:
    case = MAKERS[task](3)
    nested = Pipeline(Pipeline(case.target, RandomShift(1)), Noise(), Bright())
    outputs = nested(case.images, key_of(3))
    assert isinstance(outputs, DetectorOutputs)
    assert isinstance(nested.adapt_goal(case.goal), Undetected)
    assert torch.isfinite(nested.adapt_goal(case.goal).margin(outputs)).all()
    key = key_of(3)
    moved = case.images + 0.1 * key.reseeded(0).normal("noise", case.images.shape[1:], dtype=case.images.dtype)
    inner = Pipeline(case.target, RandomShift(1))(moved, key.reseeded(-1))
    for path, tensor in sp.rows.flatten(inner)[0].items():
        assert torch.equal(sp.rows.flatten(outputs.outputs)[0][path], tensor)


def test_the_loudest_alarm_of_all_pipelines_counts_and_votes_have_their_mean() -> None:
    case = testing.small_net(5)
    both = Pipeline(Pipeline(case.target, Bright(0.4)), Bright(0.6), Bright(0.5))
    outputs = both(case.images)
    assert isinstance(outputs, DetectorOutputs)
    assert torch.equal(outputs.outputs, case.module(case.images))
    assert torch.allclose(outputs.alarm, Bright(0.4).alarm(case.images, key_of(5)))
    goal = both.adapt_goal(case.goal)
    assert isinstance(goal, Undetected)
    assert isinstance(goal.goal, sp.Misclassify)
    key, voted = key_of(5), Pipeline(case.target, Noise(), Bright(), votes=4)
    single = [Pipeline(case.target, Noise(), Bright())(case.images, key.reseeded(vote)).alarm for vote in range(4)]
    assert torch.allclose(voted(case.images, key).alarm, torch.stack(single).mean(0))


def test_a_surrogate_with_an_alarm_of_its_own_is_climbed_with_it() -> None:
    case = testing.small_net(5)
    x = case.images.clone().requires_grad_()
    rejecting = Pipeline(case.target, Bright())
    both = Surrogate(Restricted(rejecting, sp.Scores), rejecting)(x)
    for one in (both.judged_outputs, both.gradient_outputs):
        assert isinstance(one, DetectorOutputs)
        assert isinstance(one.outputs, Tensor)
    assert both.gradient_outputs.alarm.requires_grad
    plain = Surrogate(Restricted(case.target, sp.Scores), rejecting)(x)  # the victim has no alarm
    assert isinstance(plain.gradient_outputs, Tensor)
    sp.run(sp.attacks.PGD(sp.Linf(0.1), steps=2), Surrogate(case.target, rejecting), case.goal, case.images)


def test_votes_of_a_surrogate_are_fused_on_both_sides() -> None:
    case = testing.small_net(5)
    grey = Pipeline(Surrogate(Restricted(case.target, sp.Scores), case.target), Noise(0.02), votes=3)
    white = Pipeline(case.target, Noise(0.02), votes=3)
    answer = grey(case.images.clone().requires_grad_(), key_of(5))
    assert torch.allclose(answer.judged_outputs, white(case.images, key_of(5)))
    assert torch.allclose(answer.gradient_outputs, white(case.images, key_of(5)))


@pytest.mark.parametrize("task", MAKERS)
def test_one_key_one_answer_and_rows_alone_are_rows_together(task: str) -> None:
    case = MAKERS[task](4)
    target, key = Pipeline(case.target, RandomShift(1), Noise(), votes=2), key_of(4)
    whole, again = target(case.images, key), target(case.images, key)
    rows = torch.tensor([3, 1])
    part = target(case.images[rows], take(key, rows))
    other = target(case.images, key_of(4, seed=4))
    differ = False
    for path, tensor in sp.rows.flatten(whole)[0].items():
        assert torch.equal(sp.rows.flatten(again)[0][path], tensor)
        assert (sp.rows.flatten(part)[0][path].double() - tensor[rows].double()).abs().max() < 1e-9
        differ |= not torch.equal(sp.rows.flatten(other)[0][path], tensor)
    assert differ


def test_a_flow_through_a_defence_is_confirmed_by_the_defence_in_use() -> None:
    case = testing.small_net(6)
    defended = Defended(case.target, Noise(0.02), votes=3)
    target = Pipeline(defended.adaptive_view(2), FlowField(2.0))
    flow = torch.zeros(6, 2, 8, 8).double()
    outcome = sp.run(sp.attacks.PGD(sp.Linf(2.0), steps=4), target, case.goal, flow, context=Scene(images=case.images))
    seen = FlowField(2.0).apply(outcome.examples, key_of(6), Scene(images=case.images))[0]
    fresh = [case.goal.margin(defended(seen, key_of(6, seed))) > 0 for seed in range(20)]
    rate = torch.stack(fresh).float().mean(0)
    assert torch.equal(rate[outcome.success] > 0.2, torch.ones(int(outcome.success.sum()), dtype=torch.bool))
    assert int(outcome.passes.checks.amax()) >= 20


def test_what_the_target_sees_is_rendered_without_a_trace() -> None:
    case = testing.small_net(3)
    target = Pipeline(case.target, ColourCurve(), RandomShift(1))
    x, scene = torch.zeros(3, 3, 4).double(), Scene(images=case.images)
    seen = target.render(x, key_of(3), scene)
    assert torch.allclose(case.module(seen), target(x, key_of(3), scene))
    assert not torch.equal(target.render(x, None, scene), target.render(x, None, scene))


def test_identities_tell_parts_apart() -> None:
    case = testing.small_net(2)

    class Nested(Stage):
        def __init__(self, inner: Stage, levels: list[int]) -> None:
            self.inner, self.levels = inner, levels

        def __call__(self, images: Tensor, key: Key) -> Tensor:
            return self.inner(images, key)

    def mark(*parts: Any, **options: Any) -> str:
        return sp.engine.fingerprint(*Pipeline(case.target, *parts, **options).identity())

    marks = [
        mark(),
        mark(RandomShift(1)),
        mark(RandomShift(2)),
        mark(RandomShift(2), votes=2),
        mark(RandomShift(2), draws=2),
        mark(RandomShift(2), Noise(0.1)),
        mark(RandomShift(2), Noise(0.2)),
        mark(Noise(0.2), RandomShift(2)),
        mark(Nested(Noise(0.1), [1])),
        mark(Nested(Noise(0.2), [1])),
        mark(Nested(Noise(0.1), [2])),
    ]
    assert len(set(marks)) == len(marks)
    assert mark(RandomShift(2), Noise(0.1)) == mark(RandomShift(2), Noise(0.1))


def test_what_no_pipeline_can_do_is_told() -> None:
    case, verifier = testing.small_net(2), testing.verifier(2)

    class Plain(Classifier):
        @property
        def task(self) -> None:
            return None

    with pytest.raises(ConfigError, match="fuse 'majority' is unknown in verification; pass one of mean"):
        Pipeline(verifier.target, Noise(), votes=3, fuse="majority")
    with pytest.raises(ConfigError, match="votes are fused by the task"):
        Pipeline(Plain(case.module), Noise(), votes=3)
    with pytest.raises(ConfigError, match="draws=2 of what is not random"):
        Pipeline(case.target, Bright(), draws=2)
    with pytest.raises(GoalError, match="a goal of verification"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), Pipeline(case.target, Noise()), verifier.goal, case.images)
