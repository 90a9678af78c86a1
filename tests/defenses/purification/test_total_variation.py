"""Total variation: closed forms, the objective against a general solver, and what is left of a dropped pixel."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sparring.defenses.purification import TotalVariation
from sparring.defenses.purification.total_variation import (
    divergence,
    forward_differences,
    minimize_total_variation,
    total_variation_objective,
)
from sparring.random import Key

KEY = Key(torch.arange(3), 5)


def drawn(stream, shape):
    return Key(torch.arange(shape[0]), 1).uniform(stream, shape[1:], dtype=torch.float64)


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    z, p = drawn("z", (2, 3, 5, 4)), drawn("p", (2, 2, 3, 5, 4))
    assert torch.allclose((forward_differences(z) * p).sum(), -(z * divergence(p)).sum())
    assert forward_differences(torch.ones(1, 1, 3, 3)).abs().sum() == 0


@pytest.mark.parametrize("strength", [0.05, 0.4])
def test_two_halves_come_nearer_by_the_strength_over_their_width(strength):
    """Left of 3 columns at 0.2, right of 5 at 0.9: each row's cut costs strength * jump, so they move by it / width."""
    images = torch.full((1, 1, 6, 8), 0.2, dtype=torch.float64)
    images[..., 3:] = 0.9
    found = minimize_total_variation(images, torch.ones_like(images), strength, 2000)
    left, right = 0.2 + strength / 3, 0.9 - strength / 5
    wanted = torch.full_like(images, left)
    wanted[..., 3:] = right
    assert left < right
    assert torch.allclose(found, wanted, rtol=0, atol=1e-4)


def test_a_great_strength_leaves_the_mean():
    images = drawn("x", (1, 2, 6, 6))
    found = minimize_total_variation(images, torch.ones_like(images), 50.0, 4000)
    assert torch.allclose(found, images.mean((2, 3), keepdim=True).expand_as(images), atol=1e-3)


def test_default_steps_come_near_what_a_general_solver_finds():
    images, keep = drawn("x", (1, 1, 6, 7)), (drawn("keep", (1, 1, 6, 7)) > 0.5).double()

    def smoothed(values):
        z = torch.from_numpy(values).view(1, 1, 6, 7).requires_grad_()
        steep = (forward_differences(z).square().sum(0) + 1e-10).sqrt().sum()
        value = (keep * (z - images)).square().sum() / 2 + 0.03 * steep
        (slope,) = torch.autograd.grad(value, z)
        return float(value.detach()), slope.flatten().numpy()

    found = minimize(smoothed, np.full(42, 0.5), jac=True, method="L-BFGS-B", options={"maxiter": 600})
    ours = total_variation_objective(
        minimize_total_variation(images, keep, 0.03, TotalVariation().steps), images, keep, 0.03
    )
    assert float(ours) < 1.01 * found.fun
    assert float(ours) > 0.99 * found.fun


def test_nothing_of_a_dropped_pixel_is_left():
    images, stage = drawn("x", (3, 2, 9, 9)), TotalVariation(steps=40)
    kept = KEY.uniform("kept", (2, 9, 9), dtype=torch.float64) >= 0.5
    other = torch.where(kept, images, drawn("other", (3, 2, 9, 9)))
    assert not torch.equal(images, other)
    assert torch.equal(stage(images, KEY), stage(other, KEY))
    assert 0.3 < float(kept.double().mean()) < 0.7


def test_an_image_without_any_kept_pixel_is_no_error():
    found = minimize_total_variation(drawn("x", (1, 1, 6, 6)), torch.zeros(1, 1, 6, 6, dtype=torch.float64), 0.03, 20)
    assert torch.equal(found, torch.zeros_like(found))


def test_without_drops_it_is_not_random():
    images, stage = drawn("x", (3, 1, 5, 5)), TotalVariation(drop_prob=0.0, steps=30)
    assert not stage.stochastic
    assert torch.equal(stage(images, KEY), minimize_total_variation(images, torch.ones_like(images), 0.03, 30))


def test_the_stand_in_is_the_problem_with_all_pixels():
    images, stage = drawn("x", (3, 1, 8, 8)), TotalVariation()
    assert torch.equal(
        stage.differentiable_approximation(images, KEY),
        minimize_total_variation(images, torch.ones_like(images), 0.03, 10),
    )
