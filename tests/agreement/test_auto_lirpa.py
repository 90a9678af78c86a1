"""Bounds beside auto_LiRPA's, on the same networks.

It is no dependency, not even of the tests: one that runs with a current torch is on GitHub only
(Verified-Intelligence/auto_LiRPA, from 0.7 on).
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses.certification import certify_bounds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own
    lirpa = pytest.importorskip("auto_LiRPA", reason="auto_LiRPA is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")


def convolutional(padding: int) -> nn.Module:
    torch.manual_seed(0)
    side = 4 if padding else 3
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, padding), nn.ReLU(), nn.Conv2d(4, 6, 3, 1, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * side**2, 20), nn.ReLU(), nn.Linear(20, 5),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "ball"),
    [
        ("ibp", "IBP", sp.Linf(0.05)),
        *((ours, ours.upper(), ball) for ours in ("crown-ibp", "crown") for ball in (sp.Linf(0.05), sp.L2(0.3))),
    ],
)
def test_bounds_are_those_of_auto_lirpa(ours, theirs, ball):
    net = convolutional(padding=1 if isinstance(ball, sp.Linf) else 0)  # in L2 theirs does not see the border
    images = 0.35 + 0.3 * torch.rand(3, 1, 8, 8)  # so that [0, 1], which theirs do not know, limits nothing
    labels = torch.tensor([0, 3, 1])
    goal = sp.Misclassify(labels)
    found = certify_bounds(net, goal, images, ball, method=ours)
    functions = torch.eye(5)[labels][:, None] - torch.eye(5)[found.rivals]
    bounded = lirpa.BoundedModule(net, images)
    perturbation = lirpa.PerturbationLpNorm(norm=ball.p, eps=ball.eps)
    lower, _ = bounded.compute_bounds(
        x=(lirpa.BoundedTensor(images, perturbation),), C=functions, method=theirs, bound_upper=False
    )
    assert torch.allclose(found.lower.detach().float(), lower.detach(), atol=1e-5)
