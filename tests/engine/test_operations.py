"""What a step of an attack costs beside its passes, counted in torch's operations, which no other load changes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sparring as sp
from sparring import testing
from sparring.engine import Engine

CASE = testing.small_net(8)
NET, IMAGES, LABELS = CASE.module.float(), CASE.images.float(), CASE.labels


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += 1
        return function(*args, **(kwargs or {}))


def of_run(ball, steps, engine):
    attack, target = sp.attacks.PGD(ball, steps=steps, step_size=ball.eps / 10), sp.Classifier(NET)
    with Counting() as counting:
        outcome = sp.run(attack, target, sp.Misclassify(LABELS), IMAGES, engine=engine)
    assert not outcome.success.any()
    return counting.operations


def of_pass():
    with Counting() as counting:
        images = IMAGES.detach().requires_grad_()
        torch.autograd.grad(NET(images), images, torch.zeros(len(IMAGES), 4))
    return counting.operations - 1  # the zeros


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(("ball", "most"), [(sp.Linf(1e-4), 33), (sp.L2(1e-4), 72)])
def test_a_step_takes_few_operations_beside_its_pass(ball, most, compact):
    """Those of the verdict, its gradient and the ledger are the same in both norms; the rest is the projected step."""
    NET.requires_grad_(False)
    engine = Engine(compact=compact)
    operations = (of_run(ball, 30, engine) - of_run(ball, 20, engine)) / 10 - of_pass()
    assert operations <= most
