"""Detectors around a net some of whose classes have a logit of -inf, as where ImageNet is cut down to a subset."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import PGD
from sparring.errors import TargetError
from sparring.random import Key
from sparring.targets import Defended

from .conftest import DETECTORS


class WithUnused(nn.Sequential):
    """The net with two more classes, whose logit is always -inf."""

    def forward(self, images):
        logits = super().forward(images)
        return torch.cat((logits, logits.new_full((len(logits), 2), -torch.inf)), 1)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_class_of_minus_infinity_changes_no_detector(name, task):
    detector, key = DETECTORS[name], Key(torch.arange(len(task.validation)), 1)
    alarms = []
    for net in (WithUnused(*task.net), task.net):
        target = sp.Classifier(net)
        if name == "extra-class":
            with pytest.raises(TargetError, match="changes its logits behind the last layer"):
                detector.fit(task.clean, task.made, target=target, labels=task.labels)
            return
        fitted = detector.fit(task.clean, task.made, target=target, labels=task.labels).calibrate(task.validation)
        x = task.validation.clone().requires_grad_()
        alarm = fitted.alarm(x, key)
        (grad,) = torch.autograd.grad(alarm.sum(), x)
        assert alarm.isfinite().all()
        assert grad.isfinite().all()
        alarms.append(alarm.detach())
        if net is not task.net:
            view = Defended(target, fitted).adaptive_view(draws=2 if fitted.stochastic else None)
            outcome = sp.run(PGD(sp.Linf(0.2), steps=4), view, sp.Misclassify(task.labels[:12]), task.clean[:12])
            assert not {"NON_FINITE", "NON_FINITE_GRADIENT"} & {reason.name for reason in outcome.reasons}
    assert torch.allclose(*alarms, rtol=1e-3, atol=1e-6)
