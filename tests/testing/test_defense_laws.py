"""The laws of a defence tell a sound part from one that is declared wrongly."""

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


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Undeclared(), "declares stochastic=False"),
        (Global(), "global random state has moved"),
        (Coupled(), "a row alone differs"),
        (HiddenStairs(), "off by .* from a difference quotient"),
        (Masking(), "no gradient comes through"),
        (InPlace(), "the images have changed"),
        (Doubling(), "float32 comes out as torch.float64"),
        (Mute(), "no gradient leads from the alarm"),
    ],
)
def test_a_part_that_is_not_what_it_declares_is_told(part: Stage | Detector, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_defense(part)
