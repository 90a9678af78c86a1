"""Printers and cameras: the laws, identity at severity 0, light that is kept, noise of the stated variance."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sparring import testing
from sparring.physical import (
    AffinePrinter,
    Camera,
    Exposure,
    GaussianBlur,
    GaussianNoise,
    Illumination,
    Lens,
    PhysicalStage,
    Sensor,
)
from sparring.random import Key
from sparring.rows import flatten
from sparring.testing.cases import draw

STAGES = [
    AffinePrinter(), Exposure(), Illumination(), GaussianBlur(), Lens(), GaussianNoise(), Sensor(), Sensor(bits=None),
]  # fmt: skip
BLURS = [GaussianBlur(), Lens(vignette=0.0)]
IMAGES = (0.5 + 0.12 * draw("images", (4, 3, 15, 18))).clamp(0.2, 0.8)


def named(one: Any) -> str:
    return type(one).__name__


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_laws(stage: PhysicalStage[Any]) -> None:
    testing.check_transform(stage, IMAGES, slope=1e-3)


@pytest.mark.parametrize("stage", STAGES, ids=named)
@pytest.mark.parametrize("channels", [1, 3])
def test_at_severity_0_images_stay_as_they_are(stage: PhysicalStage[Any], channels: int) -> None:
    made = stage.at_severity(0).apply(IMAGES[:, :channels], key_of(4), None)[0]
    assert (made - IMAGES[:, :channels]).abs().max() < 1e-6
    assert not stage.at_severity(0).stochastic


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_parameters_are_values(stage: PhysicalStage[Any]) -> None:
    """One row per image; the same parameters give the same result, and those of twice the severity differ more."""
    drawn = stage.sample(key_of(4), IMAGES)
    assert {len(tensor) for tensor in flatten(drawn)[0].values()} == {4}
    assert torch.equal(stage.apply_parameters(IMAGES, drawn), stage.apply_parameters(IMAGES, drawn))
    changes = [
        (stage.at_severity(severity).apply(IMAGES, key_of(4), None)[0] - IMAGES).abs().mean() for severity in (0.3, 0.6)
    ]
    assert changes[0] < changes[1]


@pytest.mark.parametrize("stage", BLURS, ids=named)
def test_blur_keeps_the_light(stage: PhysicalStage[Any]) -> None:
    x = torch.zeros(4, 3, 41, 41).double()
    x[:, :, 14:27, 14:27] = draw("light", (4, 3, 13, 13)).sigmoid()
    blurred = stage.apply_parameters(x, stage.sample(key_of(4), x))
    assert (blurred.sum((2, 3)) - x.sum((2, 3))).abs().max() < 1e-9
    assert (blurred - x).abs().max() > 0.01


def test_noise_of_a_sensor_has_the_variance_a_x_plus_b() -> None:
    sensor = Sensor(shot=(0.004, 0.004), read=(0.02, 0.02), bits=None)
    for level in (0.2, 0.5, 0.7):
        x = torch.full((1, 1, 400, 400), level).double()
        noise = sensor.apply_parameters(x, sensor.sample(key_of(1), x)) - level
        wanted = 0.004 * level + 0.02**2
        assert float(noise.var()) == pytest.approx(wanted, rel=4 * math.sqrt(2 / 160_000))
        assert abs(float(noise.mean())) < 4 * math.sqrt(wanted / 160_000)


def test_raw_values_are_whole_numbers_and_gradients_pass() -> None:
    sensor = Sensor(bits=3)
    x = IMAGES.clone().requires_grad_()
    made = sensor.apply_parameters(x, sensor.sample(key_of(4), x))
    assert (made * 7 - (made * 7).round()).abs().max() < 1e-9
    smooth = Sensor(bits=None)
    wanted = torch.autograd.grad(smooth.apply_parameters(x, smooth.sample(key_of(4), x)).sum(), x)[0]
    assert torch.equal(torch.autograd.grad(made.sum(), x)[0], wanted)


def test_a_camera_works_in_linear_light_and_in_a_fixed_order() -> None:
    """One stop more is twice the light, whatever the order in which the parts are named."""
    noise, exposure = GaussianNoise(deviation=(0.1, 0.1)), Exposure(stops=1.0, tint=0.0)
    camera = Camera(noise=noise, illumination=exposure)
    drawn = camera.sample(key_of(4), IMAGES)
    dark = IMAGES * 0.3
    made = camera.apply_parameters(dark, drawn)
    curve = lambda x: torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)  # noqa: E731
    gain = drawn.illumination.gain[:, :, None, None]
    light = curve(dark) * gain
    coded = torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert (made - (coded + 0.1 * drawn.noise.normal).clamp(0, 1)).abs().max() < 1e-9


def gradcheck(stage: PhysicalStage[Any], x: Tensor) -> None:
    drawn = stage.sample(key_of(len(x)), x)
    names = [name for name, value in vars(drawn).items() if isinstance(value, Tensor)]

    def ask(x: Tensor, *values: Tensor) -> Tensor:
        return stage.apply_parameters(x, type(drawn)(**dict(zip(names, values, strict=True))))

    given = [x, *(getattr(drawn, name) for name in names)]
    assert torch.autograd.gradcheck(
        ask, [one.detach().contiguous().requires_grad_() for one in given], eps=1e-7, atol=1e-4
    )


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.exact_gradient], ids=named)
def test_gradients_of_image_and_parameters(stage: PhysicalStage[Any]) -> None:
    gradcheck(stage, IMAGES[:1, :, :5, :5])
