"""What holds of every stage of the room, whatever it does to an image."""

import re

import pytest
import torch
from torch import nn

from sparring.defenses.purification import (
    HGD,
    BitDepth,
    DefenseGAN,
    Denoiser,
    DenoisingAutoencoder,
    Diffusion,
    JPEGCompression,
    Median,
    NonLocalMeans,
    Quilting,
    TotalVariation,
    UNet,
    VAEGenerator,
    Wavelet,
    clean_patches,
    linear_betas,
    table,
)
from sparring.random import Key
from sparring.transforms import Stage, apply_with_bpda


def drawn(stream, shape, dtype=torch.float64):
    return Key(torch.arange(shape[0]), 7).uniform(stream, shape[1:], dtype=dtype)


def key(count, seed=3, first=0):
    return Key(torch.arange(first, first + count), seed)


def settled(net):
    """The net with weights from a fixed seed, batch norm at work and no layer at 0."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        for weight in net.parameters():
            nn.init.normal_(weight, std=0.3)
        for buffer in net.buffers():
            if buffer.is_floating_point():
                nn.init.uniform_(buffer, 0.5, 1.5)
    return net.double().eval().requires_grad_(False)


class Predictor(nn.Module):
    """A smooth guess at the noise that depends on the time."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, t):
        return torch.tanh(self.layer(x)) * (1 + t / 1000)[:, None, None, None]


def made(name, channels, size):
    """A stage of that name for images (channels, *size)."""
    kinds = {
        "bit-depth": lambda: BitDepth(3),
        "jpeg": lambda: JPEGCompression(60),
        "median": lambda: Median(3),
        "total-variation": lambda: TotalVariation(steps=25),
        "non-local-means": lambda: NonLocalMeans(3, 3, 0.2),
        "wavelet": lambda: Wavelet(sigma=0.1),
        "quilting": lambda: Quilting(clean_patches(drawn("base", (3, channels, 12, 12)), 5, 40), neighbors=4),
        "denoiser": lambda: Denoiser(settled(DenoisingAutoencoder(channels, 2))),
        "hgd": lambda: HGD(settled(UNet(channels, 2, 1))),
        "defense-gan": lambda: DefenseGAN(settled(VAEGenerator(channels, size, 4, 2)), 4, 6, 3, lr=1.0),
        "diffusion": lambda: Diffusion(settled(Predictor(channels)), linear_betas(50), t_star=0.1),
    }
    return kinds[name]()


STOCHASTIC = {"total-variation", "quilting", "defense-gan", "diffusion"}
EXACT = {"median", "non-local-means", "wavelet", "denoiser", "hgd", "diffusion"}  # their own slope
every = pytest.mark.parametrize("name", list(table))
SIZES = [(1, (13, 10)), (3, (9, 16))]


def test_the_table_names_every_stage_in_kebab_case():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in table)
    assert all(issubclass(kind, Stage) for kind in table.values())
    assert all(type(made(name, 1, (8, 8))) is kind for name, kind in table.items())


@every
@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_images_in_and_images_out(name, channels, size):
    images = drawn("images", (4, channels, *size))
    before = images.clone()
    answer = made(name, channels, size)(images, key(4))
    assert answer.shape == images.shape
    assert answer.dtype == images.dtype
    assert float(answer.amin()) >= 0
    assert float(answer.amax()) <= 1
    assert not torch.equal(answer, images)
    assert torch.equal(images, before)


@every
def test_float_images_stay_float(name):
    images = drawn("images", (2, 1, 8, 8), torch.float32)
    assert made(name, 1, (8, 8))(images, key(2)).dtype == torch.float32


@every
def test_a_batch_is_what_its_images_are_alone(name):
    images, stage = drawn("images", (5, 3, 9, 11)), made(name, 3, (9, 11))
    together = stage(images, key(5))
    alone = torch.cat([stage(images[i : i + 1], key(1, first=i)) for i in range(5)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)
    smooth = torch.cat([stage.differentiable_approximation(images[i : i + 1], key(1, first=i)) for i in range(5)])
    assert torch.allclose(stage.differentiable_approximation(images, key(5)), smooth, rtol=0, atol=1e-12)


@every
def test_randomness_is_from_the_key_alone(name):
    images, stage = drawn("images", (3, 1, 12, 12)), made(name, 1, (12, 12))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = stage(images, key(3)), stage(images, key(3)), stage(images, key(3, seed=4))
    x = images.clone().requires_grad_()
    torch.autograd.grad(apply_with_bpda(stage, x, key(3)).sum(), x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert stage.stochastic == (name in STOCHASTIC)
    assert torch.equal(first, other) == (name not in STOCHASTIC)


@every
def test_forward_is_exact_and_has_a_slope(name):
    images, stage = drawn("images", (2, 3, 10, 10)), made(name, 3, (10, 10))
    x = images.clone().requires_grad_()
    through = apply_with_bpda(stage, x, key(2))
    assert torch.equal(through, stage(images, key(2)))
    (slope,) = torch.autograd.grad(through.square().sum(), x)
    assert bool(slope.isfinite().all())
    assert bool((slope.flatten(1).abs().amax(1) > 0).all())
    assert stage.differentiable == (name in EXACT)


@every
def test_gradient_is_that_of_the_stage_or_of_its_approximation(name):
    stage = made(name, 3, (4, 5))
    images = (0.1 + 0.8 * drawn("slope", (1, 3, 4, 5))).requires_grad_()
    function = stage if stage.differentiable else stage.differentiable_approximation
    assert torch.autograd.gradcheck(lambda x: function(x, key(1)), images, eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rounding", ["mean", "cubic", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_smooth_jpeg_has_its_slope(rounding, channels):
    images = drawn("jpeg", (1, channels, 3, 9)).requires_grad_()
    stage = JPEGCompression(80, rounding)
    assert torch.autograd.gradcheck(
        lambda x: stage.differentiable_approximation(x, key(1)), images, eps=1e-7, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BitDepth(2), BitDepth(3)),
        (JPEGCompression(70), JPEGCompression(71)),
        (Wavelet("BayesShrink"), Wavelet("VisuShrink")),
        (Quilting(torch.zeros(20, 1, 5, 5)), Quilting(torch.ones(20, 1, 5, 5))),
        (Denoiser(nn.Conv2d(1, 1, 1)), Denoiser(nn.Conv2d(1, 1, 1), residual=True)),
        (Diffusion(nn.Identity(), linear_betas(50)), Diffusion(nn.Identity(), linear_betas(60))),
    ],
)
def test_stages_that_differ_have_another_identity(one, other):
    def plain(stage):
        return [part.tolist() if isinstance(part, torch.Tensor) else part for part in stage.identity()]

    assert plain(one) == plain(one)
    assert plain(one) != plain(other)


def test_networks_are_shown_to_whoever_holds_them_still():
    net = nn.Conv2d(1, 1, 1)
    assert Denoiser(net).modules == HGD(net).modules == (net,)
    assert DefenseGAN(net, 2).modules == Diffusion(net).modules == (net,)
    assert Median().modules == ()
