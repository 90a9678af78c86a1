"""Printers and cameras: the laws, identity at severity 0, light that is kept, noise of the stated variance."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sparring import testing
from sparring.errors import ConfigError, InputError
from sparring.physical import (
    AffinePrinter,
    AutoBalance,
    BayerMosaic,
    BoxAnchor,
    Camera,
    DifferentiableJPEG,
    Exposure,
    GamutPrinter,
    GaussianBlur,
    GaussianNoise,
    Homography,
    Illumination,
    LandmarkAnchor,
    Lens,
    LibJPEG,
    PalettePrinter,
    Parabola,
    PhysicalStage,
    Resize,
    Sensor,
    ThinPlate,
    ToneCurve,
    fit_printer,
)
from sparring.physical.colour import to_linear, to_srgb
from sparring.random import Key
from sparring.rows import flatten
from sparring.testing.cases import draw

STAGES = [
    AffinePrinter(), GamutPrinter(), Exposure(), Illumination(), GaussianBlur(), Lens(), GaussianNoise(), Sensor(),
    Sensor(bits=None), BayerMosaic(), BayerMosaic(method="bilinear"), AutoBalance(), ToneCurve(),
    DifferentiableJPEG(), DifferentiableJPEG(rounding="straight"), LibJPEG(),
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
def test_at_severity_0_images_stay_as_they_are(stage: PhysicalStage[Any]) -> None:
    neutral = stage.at_severity(0)
    assert not neutral.stochastic
    for images in [IMAGES] if isinstance(stage, BayerMosaic) else [IMAGES, IMAGES[:, :1]]:
        assert (neutral.apply(images, key_of(4), None)[0] - images).abs().max() < 1e-6


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_grey_images_stay_grey_images(stage: PhysicalStage[Any]) -> None:
    if isinstance(stage, BayerMosaic):
        with pytest.raises(InputError, match="3, H, W"):
            stage.apply(IMAGES[:, :1], key_of(4), None)
    else:
        assert stage.apply(IMAGES[:, :1], key_of(4), None)[0].shape == IMAGES[:, :1].shape


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
    names = [name for name, value in vars(drawn).items() if value.is_floating_point()]

    def ask(x: Tensor, *values: Tensor) -> Tensor:
        return stage.apply_parameters(x, replace(drawn, **dict(zip(names, values, strict=True))))

    given = [x, *(getattr(drawn, name) for name in names)]
    leaves = [one.detach().contiguous().requires_grad_() for one in given]
    assert torch.autograd.gradcheck(ask, leaves, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.exact_gradient], ids=named)
def test_gradients_of_image_and_parameters(stage: PhysicalStage[Any]) -> None:
    gradcheck(stage, IMAGES[:1, :, :5, :5])


def test_a_flat_field_passes_the_mosaic_unchanged_and_a_ramp_too() -> None:
    """Interpolation of a linear function is exact away from the border."""
    down, across = torch.meshgrid(torch.arange(12).double(), torch.arange(14).double(), indexing="ij")
    ramp = (0.2 + 0.02 * down + 0.03 * across).expand(4, 3, 12, 14)
    for method in ("bilinear", "malvar"):
        mosaic = BayerMosaic(method=method)
        made = mosaic.apply_parameters(ramp, mosaic.sample(key_of(4), ramp))
        assert (made - ramp)[:, :, 2:-2, 2:-2].abs().max() < 1e-12


def test_malvars_demosaic_is_nearer_to_a_smooth_picture_than_the_bilinear_one() -> None:
    down, across = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    smooth = 0.5 + 0.4 * torch.sin(down / 2.5).mul(torch.cos(across / 3)).double().expand(1, 3, 40, 40)
    errors = []
    for method in ("bilinear", "malvar"):
        mosaic = BayerMosaic(method=method)
        errors.append((mosaic.apply_parameters(smooth, mosaic.sample(key_of(1), smooth)) - smooth).abs().mean())
    assert errors[1] < 0.7 * errors[0]


def test_full_correction_gives_a_grey_mean_of_the_wanted_luminance() -> None:
    balance = AutoBalance(white=(1.0, 1.0), exposure=(1.0, 1.0), grey=0.2)
    made = balance.apply_parameters(IMAGES * 0.4, balance.sample(key_of(4), IMAGES))
    assert (made.mean((2, 3)) - 0.2).abs().max() < 1e-6


def test_a_printed_white_is_the_paper_and_a_printed_black_the_ink() -> None:
    printer = GamutPrinter(gamma=0.0, variation=0.0)
    x = torch.stack((torch.ones(3, 8, 8), torch.zeros(3, 8, 8))).double()
    light = to_linear(printer.apply_parameters(x, printer.sample(key_of(2), x))).mean((2, 3))
    assert (light[0] - torch.tensor(printer.paper)).abs().max() < 1e-6
    assert (light[1] - torch.tensor(printer.ink)).abs().max() < 1e-6


def test_palettes_lie_in_what_the_printer_prints() -> None:
    affine, inks = AffinePrinter().palette(3), GamutPrinter().palette(3)
    assert affine.shape == inks.shape == (27, 3)
    assert (affine.amin(), affine.amax()) == (pytest.approx(0.06), pytest.approx(0.9))
    assert inks.amax() < 0.96
    assert (inks[13] - 0.5).abs().max() < 0.15  # dots grow: mid-grey is printed a little darker


def test_bad_parameters_are_refused() -> None:
    for make in (
        lambda: AffinePrinter(black=0.9, white=0.1),
        lambda: Exposure(severity=-1.0),
        lambda: LibJPEG(quality=(90, 50)),
        lambda: DifferentiableJPEG(rounding="hard"),
        lambda: BayerMosaic(method="nearest"),
        lambda: Sensor(bits=0),
        lambda: Lens(family=""),
        lambda: GaussianBlur(sigma=(2.0, 1.0)),
        lambda: Camera(lens="sharp"),
        lambda: GamutPrinter(paper=0.9),
        lambda: GamutPrinter(dot_gain=0.1),
        lambda: DifferentiableJPEG(rounding=["mean"]),
        lambda: Resize(size=224),
        lambda: Homography(distance=("near", "far")),
        lambda: Homography(distance=(0.5, 2.0)),
        lambda: Parabola(pitch=17.0),
        lambda: Parabola(curvature=(-1.0, 1.0)),
        lambda: BoxAnchor(offset=(1.0, 2.0, 3.0)),
        lambda: LandmarkAnchor(offset=0.1),
        lambda: ThinPlate(points=1),
    ):
        with pytest.raises(ConfigError):
            make()


def test_a_printer_is_fitted_to_what_it_printed() -> None:
    """Of a printer of that form matrix, offset and exponent are found again; of inks most is explained."""
    sent = torch.cartesian_prod(*[torch.linspace(0, 1, 4).double()] * 3)
    matrix = torch.tensor([[0.8, 0.05, 0.02], [0.03, 0.7, 0.04], [0.01, 0.06, 0.75]]).double()
    offset = torch.tensor([0.02, 0.03, 0.025]).double()
    seen = to_srgb(to_linear(sent).clamp_min(1e-6) ** 1.2 @ matrix.T + offset)
    fitted = fit_printer(sent, seen)
    assert (fitted.matrix - matrix).abs().max() < 1e-9
    assert (fitted.offset - offset).abs().max() < 1e-9
    assert (fitted.gamma, fitted.residual) == (pytest.approx(1.2), pytest.approx(0, abs=1e-9))
    inks = GamutPrinter().palette(4).double()
    fitted = fit_printer(sent, inks)
    before = (sent - inks).square().mean().sqrt()
    assert fitted.residual < 0.3 * float(before)
    assert (fitted.palette(4).double() - inks).square().mean().sqrt() == pytest.approx(fitted.residual, rel=1e-3)
    testing.check_transform(fitted, IMAGES, slope=1e-3)
    assert (fitted.at_severity(0).apply(IMAGES, key_of(4), None)[0] - IMAGES).abs().max() < 1e-6


@pytest.mark.wrong_types
def test_measurements_that_fit_no_printer_are_refused() -> None:
    grey = torch.linspace(0, 1, 10)[:, None].expand(10, 3)
    for sent, seen, match in (
        (grey, grey, "span"),
        (grey[:4], grey[:4], "at least 8"),
        (grey * 255, grey, "255"),
        (grey, grey[:, :2], "colours"),
        (grey, None, "colours"),
    ):
        with pytest.raises(InputError, match=match):
            fit_printer(sent, seen)


def test_no_severity_turns_colours_around() -> None:
    for printer in (AffinePrinter(), GamutPrinter()):
        ramp = torch.linspace(0, 1, 20).view(1, 1, 1, 20).expand(1, 3, 4, 20)
        made = printer.at_severity(12.0).apply(ramp, key_of(1), None)[0]
        assert made.isfinite().all()
        assert (made.diff(dim=3) > -1e-6).all()


def test_jpeg_with_straight_rounding_is_libjpegs_but_for_bytes() -> None:
    """Two roundings to bytes inside the codec are all that is left, with the slope of the smooth codec."""
    soft = interpolate(0.3 + 0.4 * draw("soft", (4, 3, 8, 8)).sigmoid(), (32, 32), mode="bicubic")
    x = soft.mul(255).round().div(255).requires_grad_()
    drawn = LibJPEG().sample(key_of(4), x)
    hard, smooth = (DifferentiableJPEG(rounding=word).apply_parameters(x, drawn) for word in ("straight", "mean"))
    true = LibJPEG().apply_parameters(x.detach(), drawn)
    assert (hard - true).abs().mean() * 255 < 2
    assert (hard - true).abs().mean() < 0.6 * (smooth - true).abs().mean()
    slopes = [torch.autograd.grad(one.sum(), x)[0] for one in (hard, smooth)]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-9


def test_a_palette_printer_of_no_temperature_prints_the_nearest_colour() -> None:
    colours = draw("colours", (5, 3)).sigmoid()
    printer = PalettePrinter(colours=colours, temperature=1e-3)
    made = printer.apply_parameters(IMAGES, printer.sample(key_of(4), IMAGES))
    nearest = (IMAGES.movedim(1, -1)[..., None, :] - colours).square().sum(-1).argmin(-1)
    assert (made - colours[nearest].movedim(-1, 1)).abs().max() < 0.3  # a pixel halfway between two is their mean
    assert ((made - colours[nearest].movedim(-1, 1)).abs() < 1e-6).double().mean() > 0.95
    smooth = PalettePrinter(colours=colours)
    testing.check_transform(smooth, IMAGES)
    assert torch.equal(smooth.at_severity(0).apply(IMAGES, key_of(4), None)[0], IMAGES)
