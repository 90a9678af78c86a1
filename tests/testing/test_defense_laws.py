"""The laws of a defence tell a sound part from one that is declared wrongly."""

import re

import pytest
import torch
from torch import Tensor

from sparring.random import Key
from sparring.testing import check_defense
from sparring.transforms import Detector, Stage


class Fair(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images**2


class Noisy(Stage):
    stochastic = True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + key.normal("n", images.shape[1:], dtype=images.dtype)


class Stairs(Stage):
    differentiable = False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return (images * 7).round() / 7


class Loud(Detector):
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return images.flatten(1).std(1) - 0.2


@pytest.mark.parametrize("part", [Fair(), Noisy(), Stairs(), Loud()])
def test_a_sound_part_passes(part: Stage | Detector) -> None:
    check_defense(part)


class Undeclared(Noisy):
    stochastic = False


class Global(Stage):
    stochastic = True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + torch.rand_like(images)


class Coupled(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images - images.mean()


class HiddenStairs(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + ((images * 7).round() / 7 - images).detach() + images.detach() * 0


class Masking(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images.detach()


class InPlace(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images.mul_(0.5)


class Doubling(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images.double()


class Mute(Detector):
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return images.detach().flatten(1).mean(1)


class Remembering(Stage):
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        self.calls += 1
        return images / self.calls


class OneAlarm(Detector):
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return images.flatten(1).std(1).amax()


class TwoAlarms(Detector):
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return images.flatten(1)[:, :2]


class Rooted(Stage):
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return (images - images.amax((1, 2, 3), keepdim=True)).abs().sqrt()


class Cropped(Stage):
    differentiable = False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images[:2]


@pytest.mark.parametrize(
    ("part", "message", "cure"),
    [
        (Undeclared(), "declares stochastic=False", "set stochastic = True"),
        (Global(), "global random state has moved", "draw from the key"),
        (Coupled(), "a row alone differs", "row by row"),
        (HiddenStairs(), "off by .* from a difference quotient", "differentiable = False"),
        (Masking(), "no gradient comes through", "differentiable_approximation"),
        (InPlace(), "the images have changed", "clone"),
        (Doubling(), "comes out as torch.float64", "return images.dtype"),
        (Mute(), "no gradient leads from the alarm", "detach nothing"),
        (Remembering(), "the same key gives another answer", "keep no state between calls"),
        (OneAlarm(), "OneAlarm", "one number per image|an alarm \\(N,\\)"),
        (TwoAlarms(), "an alarm", "shape \\(images,\\)"),
        (Rooted(), "a gradient that is not finite", "a root or a quotient at zero"),
        (Cropped(), "Cropped", "a row for each|a stage returns images"),
        (Fair, "the class Fair is no part of a defence", "pass an instance"),
    ],
    ids=lambda one: one.name if isinstance(one, Stage | Detector) else "is",
)
@pytest.mark.wrong_types
def test_a_part_that_is_not_what_it_declares_is_told(part: Stage | Detector, message: str, cure: str) -> None:
    with pytest.raises(AssertionError, match=message) as raised:
        check_defense(part)
    assert re.search(cure, str(raised.value)), str(raised.value)
