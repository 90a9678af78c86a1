"""A network on a box, as a classifier: its bounds hold, and its goal is that of the constraints."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.defenses.certification import Network, certify_bounds
from sparring.defenses.certification.properties import Constraint
from sparring.defenses.certification.properties.box_network import BoxNetwork
from sparring.targets.onnx_module import OnnxModule

from ....targets.test_onnx_module import CASES, model

READ = ("activations", "clips", "convolutions", "shapes", "parts", "padding", "sums", "constants")  # numbers are read


@pytest.mark.parametrize("case", READ)
def test_bounds_of_onnx_networks_hold_at_random_points(case):
    module = OnnxModule(model(*CASES[case]), case)
    n, rng = module.in_size, np.random.default_rng(0)
    centre = rng.standard_normal(n) * 0.5
    constraints = [Constraint((n + k, 0), (1.0, -0.5), 0.25, False) for k in range(min(module.out_size, 8))]
    box = BoxNetwork(module, centre - 0.2, centre + 0.2, constraints, every=False)
    middle = torch.full((1, n), 0.5, dtype=torch.float64)
    network = Network(box.classifier(case), middle)
    with torch.no_grad():
        points = torch.from_numpy(rng.random((500, n)))
        values = box.values(box(points))
        x = box.points(points)
        outputs = module(x.reshape(-1, *module.in_shape))[:, : len(constraints)]
    assert torch.allclose(values, outputs - 0.5 * x[:, :1] + 0.25, atol=1e-9)
    for method in ("ibp", "crown"):
        highest = -certify_bounds(network, box.goal(), middle, sp.Linf(0.5), method=method).lower[0].detach()
        assert bool((values <= highest + 1e-9).all())
        assert float(highest.amax()) < 100


def test_the_goal_is_reached_where_the_constraints_are_met():
    module = OnnxModule(model([("Neg", "x", "y", {})], {}, [1, 3]), "negative")
    constraints = [Constraint((3,), (1.0,), 0.5, False), Constraint((4, 0), (2.0, 1.0), 0.0, True)]
    u = torch.rand(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = -1 + 2 * u.numpy()
    met = np.array([[one.holds(np.concatenate((row, -row))) for one in constraints] for row in x])
    for every, wanted in ((True, met.all(1)), (False, met.any(1))):
        box = BoxNetwork(module, np.full(3, -1.0), np.full(3, 1.0), constraints, every)
        logits = box(u)
        assert ((box.goal(200).margin(logits) > 0).numpy() == wanted).all()
        assert ((box.margin(logits) > 0).numpy() == wanted).all()
        assert 10 < wanted.sum() < 190
