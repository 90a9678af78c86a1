"""Diffusion against the optimal denoiser of Gaussian images, for which every step is known in closed form."""

import pytest
import torch
from torch import nn

from sparring.defenses.purification import Diffusion, linear_betas
from sparring.errors import ConfigError, TargetError
from sparring.random import Key

MEAN, SPREAD = 0.2, 0.15  # of a pixel, on the scale from -1 to 1
BETAS = linear_betas(200)
KEPT = torch.cumprod(1 - BETAS, 0)


class Optimal(nn.Module):
    """E(noise | x_t) where every pixel is N(MEAN, SPREAD^2)."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, t):
        self.calls += 1
        kept = KEPT.to(x)[t][:, None, None, None]
        return (1 - kept).sqrt() * (x - kept.sqrt() * MEAN) / (kept * SPREAD**2 + 1 - kept)


def key(count, seed=0):
    return Key(torch.arange(count), seed)


def drawn(stream, shape):
    return Key(torch.arange(shape[0]), 6).uniform(stream, shape[1:], dtype=torch.float64)


def by_hand(x, noise, times, eta, fresh):
    """The formulas of the module's docstring, on numbers from -1 to 1."""
    kept = [float(KEPT[t]) for t in times] + [1.0]
    x = kept[0] ** 0.5 * x + (1 - kept[0]) ** 0.5 * noise
    for step, t in enumerate(times):
        now, after = kept[step], kept[step + 1]
        e = Optimal()(x, torch.full((len(x),), t))
        s = eta * ((1 - after) / (1 - now)) ** 0.5 * (1 - now / after) ** 0.5
        clean = (x - (1 - now) ** 0.5 * e) / now**0.5
        x = after**0.5 * clean + (1 - after - s * s) ** 0.5 * e + (s * fresh(step) if s else 0)
    return x


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [None, 7, 1])
def test_the_steps_are_those_of_the_formulas(eta, steps):
    images = drawn("x", (3, 2, 4, 4))
    stage, keys = Diffusion(Optimal(), BETAS, 0.2, steps, eta), key(3)
    noise = keys.normal("forward", (2, 4, 4), dtype=torch.float64)
    wanted = by_hand(
        2 * images - 1, noise, stage.times(), eta, lambda s: keys.normal("reverse", (2, 4, 4), s, dtype=torch.float64)
    )
    assert torch.allclose(stage(images, keys), ((wanted + 1) / 2).clamp(0, 1), rtol=0, atol=1e-12)


def test_the_times_fall_to_the_first():
    assert Diffusion(nn.Identity(), BETAS, 0.05).times() == list(range(9, -1, -1))
    assert Diffusion(nn.Identity(), BETAS, 0.05, 5).times() == [9, 7, 5, 3, 1]
    assert Diffusion(nn.Identity(), BETAS, 0.05, 1).times() == [9]
    assert Diffusion(nn.Identity()).times() == list(range(99, -1, -1))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_gaussian_images_stay_gaussian_images(eta):
    """Images from the denoiser's own distribution come back with its mean and spread, though each is another one."""
    x = MEAN + SPREAD * Key(torch.arange(400), 9).normal("x", (1, 8, 8), dtype=torch.float64)
    images = (x + 1) / 2
    back = 2 * Diffusion(Optimal(), BETAS, 0.3, eta=eta)(images, key(400)) - 1
    assert abs(float(back.mean()) - MEAN) < 0.01
    assert abs(float(back.std()) - SPREAD) < 0.01
    assert float((back - x).abs().mean()) > 0.02


def test_what_is_far_from_the_images_is_drawn_towards_them():
    far = torch.full((50, 1, 4, 4), 0.95, dtype=torch.float64)
    near = (MEAN + 1) / 2
    deeper = [float((Diffusion(Optimal(), BETAS, time)(far, key(50)) - near).abs().mean()) for time in (0.02, 0.1, 0.4)]
    assert 0.35 > deeper[0] > deeper[1] > deeper[2]


def test_the_gradient_is_that_of_the_steps_at_the_memory_of_one():
    """Each step is computed anew on the way back: twice the calls, and the same gradient as without checkpoints."""
    x = drawn("x", (2, 1, 4, 4)).requires_grad_()
    stage, keys = Diffusion(Optimal(), BETAS, 0.2, 10), key(2)
    (slope,) = torch.autograd.grad(stage(x, keys).square().sum(), x)
    assert stage.denoiser.calls == 2 * 10
    noise = keys.normal("forward", (1, 4, 4), dtype=torch.float64)

    def whole(x):
        fresh = lambda s: keys.normal("reverse", (1, 4, 4), s, dtype=torch.float64)  # noqa: E731
        return ((by_hand(2 * x - 1, noise, stage.times(), 1.0, fresh) + 1) / 2).clamp(0, 1)

    (wanted,) = torch.autograd.grad(whole(x).square().sum(), x)
    assert torch.allclose(slope, wanted)


def test_learned_variances_are_not_read():
    class Both(nn.Module):
        def forward(self, x, t):
            return torch.cat((Optimal()(x, t), torch.full_like(x, torch.nan)), 1)

    images = drawn("x", (2, 3, 4, 4))
    assert torch.equal(Diffusion(Both(), BETAS, 0.1)(images, key(2)), Diffusion(Optimal(), BETAS, 0.1)(images, key(2)))


def test_bad_input():
    with pytest.raises(ConfigError, match=r"t_star=0; pass a number above 0 and <= 1"):
        Diffusion(Optimal(), t_star=0)
    with pytest.raises(ConfigError, match=r"steps=21; pass an int from 1 to 20"):
        Diffusion(Optimal(), BETAS, 0.1, 21)
    with pytest.raises(ConfigError, match=r"betas must be \(T,\) numbers between 0 and 1"):
        Diffusion(Optimal(), torch.tensor([0.1, 1.5]))
    with pytest.raises(ConfigError, match=r"eta=2; pass a number >= 0 and <= 1"):
        Diffusion(Optimal(), eta=2)
    with pytest.raises(TargetError, match=r"built around a torch\.nn\.Module, not a function"):
        Diffusion(lambda x, t: x)

    class Wrong(nn.Module):
        def forward(self, x, t):
            return x[:, :1]

    with pytest.raises(TargetError, match=r"gives \(1, 1, 4, 4\) for images \(1, 3, 4, 4\)"):
        Diffusion(Wrong(), BETAS)(torch.zeros(1, 3, 4, 4), key(1))
