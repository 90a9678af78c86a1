"""Noise on the image: its moments, its range, and the law of batches."""

import math

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from sparring.defenses.randomization import InputNoise, table
from sparring.errors import ConfigError
from sparring.random import Key
from sparring.testing import check_defense
from sparring.transforms import apply_with_bpda


def grey(count: int, shape: tuple[int, ...] = (3, 8, 8), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.full((count, *shape), 0.5, dtype=dtype)


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


@pytest.mark.parametrize(
    ("kind", "law"), [("normal", ("norm", (0, 0.2))), ("uniform", ("uniform", (-0.2 * 3**0.5, 0.4 * 3**0.5)))]
)
def test_the_noise_has_its_law_and_no_mean(kind: str, law: tuple[str, tuple[float, float]]) -> None:
    images = grey(200)
    noise = InputNoise(0.2, kind)(images, key_of(200)) - images
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.2 / math.sqrt(noise.numel()))
    assert float(noise.std()) == pytest.approx(0.2, rel=0.01)
    assert kstest(noise.flatten().numpy(), law[0], law[1]).pvalue > 1e-3


def test_nothing_is_clipped_unless_asked() -> None:
    images = grey(20)
    free = InputNoise(1.0)(images, key_of(20))
    held = InputNoise(1.0, clip=True)(images, key_of(20))
    assert float(free.min()) < 0
    assert float(free.max()) > 1
    assert torch.equal(held, free.clamp(0, 1))


@pytest.mark.parametrize("stage", [InputNoise(0.1), InputNoise(0.1, "uniform"), InputNoise(0.3, clip=True)])
def test_the_laws_of_a_stage_hold(stage: InputNoise) -> None:
    check_defense(stage)
    drawn = stage(grey(2), key_of(2))
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("stage", [InputNoise(0.1), InputNoise(0.1, "uniform"), InputNoise(0.3, clip=True)])
def test_autograd_goes_through(stage: InputNoise) -> None:
    images = grey(2, (1, 4, 4)).requires_grad_()
    assert stage.stochastic
    assert torch.autograd.gradcheck(lambda x: apply_with_bpda(stage, x, key_of(2)), (images,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputNoise(0.0), "sigma=0.0; pass a number above 0"),
        (lambda: InputNoise(float("nan")), "sigma=nan"),
        (lambda: InputNoise("0.1"), "sigma='0.1'"),
        (lambda: InputNoise(0.1, "laplace"), "kind='laplace'; pass one of normal, uniform"),
        (lambda: InputNoise(0.1, clip=1), "clip=1; pass True or False"),
    ],
)
def test_bad_input_is_told_at_the_door(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_table_names_it() -> None:
    assert table["input-noise"] is InputNoise
