"""The alarm of every detector: its gradient, its unit, its independence of the batch."""

from dataclasses import replace

import pytest
import torch

from sparring.random import Key


def numerical(function, x, direction, step=1e-6):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def test_the_gradient_of_every_alarm(one, task):
    """Against differences along random directions, in float64; where a stand-in gives the slope, that of the rest."""
    images = task.made.examples[:4]
    key = Key(torch.arange(4), 5)
    if one.name == "FeatureSqueezing":  # bit depth is flat: its stand-in is tried below
        one = replace(one, detector=replace(one.detector, squeezers=one.squeezers[1:]))
    if one.name == "Mahalanobis" and one.magnitude:  # its noise is constant for the gradient: tried below
        one = replace(one, magnitude=0.0)
    x = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(one.alarm(x, key).sum(), x)
    assert bool(grad.isfinite().all())
    assert bool((grad.flatten(1).abs().amax(1) > 0).all())
    for seed in range(3):
        direction = Key(torch.arange(4), seed).normal("direction", images.shape[1:], dtype=images.dtype)
        with torch.no_grad():
            slope = numerical(lambda at: one.alarm(at, key), images, direction)
        torch.testing.assert_close((grad * direction).flatten(1).sum(1), slope, rtol=1e-4, atol=1e-6)


def test_bit_depth_has_the_slope_of_the_identity(task, fitted):
    f = fitted["feature-squeezing"]
    f = replace(f, detector=replace(f.detector, squeezers=f.squeezers[:1]))
    images, key = task.made.examples[:4], Key(torch.arange(4), 0)
    x = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(f.alarm(x, key).sum(), x)
    a, b = (images.clone().requires_grad_() for _ in range(2))
    coarse = b.round() + (b - b.detach())
    by_hand = (task.net(a).softmax(1) - task.net(coarse).softmax(1)).abs().sum() / f.required_threshold.std
    first, second = torch.autograd.grad(by_hand, (a, b))
    torch.testing.assert_close(grad, first + second)


def test_the_noise_of_mahalanobis_is_a_constant_to_the_climber(task, fitted):
    f = fitted["mahalanobis with noise"]
    images, key = task.made.examples[:4], Key(torch.arange(4), 0)
    x = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(f.alarm(x, key).sum(), x)
    assert bool((grad.flatten(1).abs().amax(1) > 0).all())
    with torch.no_grad():
        moved = f.alarm(images - 1e-4 * grad.sign(), key)
        assert bool((moved < f.alarm(images, key)).all())


def test_the_alarm_is_the_score_over_the_threshold_in_units_of_the_clean_spread(one, task):
    key = Key(torch.arange(len(task.validation)), 0)
    with torch.no_grad():
        alarm = one.alarm(task.validation, key)
    score, limit = one.score(task.validation), one.threshold
    torch.testing.assert_close(alarm, (score - limit.value) / limit.std, rtol=1e-9, atol=1e-9)
    assert float(alarm.std(correction=0)) == pytest.approx(1.0, rel=1e-6)
    assert 0 < float((alarm > 0).double().mean()) <= 0.05


def test_an_image_scores_alone_what_it_scores_among_others(one, task):
    together = one.score(task.validation[:20])
    alone = torch.cat([one.score(task.validation[row : row + 1], indices=torch.tensor([row])) for row in range(20)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.score(task.validation[:20], batch_size=7), together, rtol=1e-9, atol=1e-9)


def test_only_what_draws_depends_on_the_key(one, task):
    first, second = (one.score(task.validation[:10], seed=seed) for seed in (0, 1))
    assert torch.equal(first, second) != one.stochastic


def test_nothing_is_left_on_the_model(one, task):
    task.net.train()
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    generator = torch.get_rng_state()
    try:
        one.score(task.validation[:5])
        assert all(module.training for module in task.net.modules())
    finally:
        task.net.eval()
    assert all(torch.equal(value, before[name]) for name, value in task.net.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in task.net.modules())
    assert all(parameter.grad is None or float(parameter.grad.abs().sum()) >= 0 for parameter in task.net.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_every_network_inside_is_declared(one, task):
    """What is not declared is not held still during an attack."""
    own = [value for value in vars(one).values() if isinstance(value, torch.nn.Module)]
    declared = {id(part) for module in one.modules for part in module.modules()}
    assert all(id(module) in declared for module in own)
    assert id(task.net) in declared or one.target is None
