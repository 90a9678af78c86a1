"""The tanh change of variable: there and back, in every kind of range."""

import math

import pytest
import torch

from sparring.perturbations import from_tanh, to_tanh

INF = math.inf
X = torch.tensor([[-0.5, 0.0, 0.25, 1.0, 3.0]], dtype=torch.float64)


def test_images_go_there_and_back():
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.allclose(from_tanh(to_tanh(x)), x, atol=1e-6)
    assert to_tanh(x).isfinite().all()
    assert torch.equal(to_tanh(x, 0.0, 1.0), to_tanh(x))
    per_component = torch.zeros_like(x), torch.ones_like(x)
    assert torch.allclose(to_tanh(x, *per_component), to_tanh(x))
    assert torch.allclose(from_tanh(x, *per_component), from_tanh(x))


@pytest.mark.parametrize(("low", "high"), [(-INF, INF), (-1.0, 4.0), (-1.0, INF), (-INF, 4.0)])
def test_any_range_goes_there_and_back(low, high):
    w = to_tanh(X, low, high)
    assert w.isfinite().all()
    assert torch.allclose(from_tanh(w, low, high), X, atol=1e-5)
    if math.isinf(high - low):
        assert torch.equal(w, X)
    wide = from_tanh(100 * torch.tensor([-1.0, 1.0]), low, high)
    assert wide.isfinite().all()
    assert (wide >= low).all()
    assert (wide <= high).all()


def test_each_component_may_have_its_own_range():
    low = torch.tensor([-1.0, 0.0, 0.25, -INF, 0.0], dtype=torch.float64)
    high = torch.tensor([INF, 2.0, 0.25, INF, 4.0], dtype=torch.float64)  # the third may not move
    w = to_tanh(X, low, high)
    assert w.isfinite().all()
    assert torch.allclose(from_tanh(w, low, high), X, atol=1e-5)
    moved = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(from_tanh(moved, low, high).sum(), moved)
    assert slope.isfinite().all()
    assert (slope[0] != 0).tolist() == [True, True, False, True, True]
    assert float(from_tanh(w + 5, low, high)[0, 2]) == 0.25
